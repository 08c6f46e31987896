"""Closing and exporting a day of a million rows: `python -m bench.ledger [ROWS]`.

The facts lie in a FACTS.jsonl as finance gets them: a count of every SKU the day before, and on the day a sale, a
return, a move, an adjustment or a reservation for each. Everything is timed on the clock, one process, no broker:

1. read and admit: the file → the facts of each SKU (a day is closed of all facts known, not of a day's alone)
2. reckon: SKU by SKU, then columns
3. close: invariants, both dates written as Parquet with manifest, lines and settlement
4. export: the closed table of the day → Parquet bytes, best of three
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atp.ledger.close import Closing, close
from atp.ledger.days import closable, ledger_days
from atp.ledger.encode import parquet_bytes, read_parquet
from atp.ledger.gather import gather
from atp.ledger.origins import FileOrigin
from atp.ledger.store import Store

ROWS = 1_000_000
CLOSE_MS = 1_767_769_200_000  # 2026-01-07T07:00:00Z
TOPIC = "inventory.stock.v1"


def lines(rows: int) -> Iterator[dict[str, Any]]:
    """A node, a count of every SKU, and a movement of every SKU on the day after."""
    yield {"topic": "reference.nodes.v1", "value": {"node": "n1", "region": "uk"}}
    for number in range(rows):
        body = {"type": "stock.counted", "as_of": "2026-01-05T10:00:00Z", "quantities": {"sellable": number % 90}}
        yield _fact(f"c{number}", number, "2026-01-05T10:00:00Z", body)
    kinds = (
        {"type": "stock.shipped", "quantity": 2},
        {"type": "stock.returned", "quantity": 1},
        {"type": "stock.adjusted", "state": "sellable", "delta": -1, "reason": "found"},
        {"type": "stock.moved", "from_state": "sellable", "to_state": "damaged", "quantity": 1, "reason": "broken"},
    )
    for number in range(rows):
        yield _fact(f"m{number}", number, "2026-01-06T12:00:00Z", kinds[number % len(kinds)])


def _fact(event_id: str, number: int, at: str, body: dict[str, Any]) -> dict[str, Any]:
    envelope = {"event_id": event_id, "schema_version": "1.0", "source": "wms", "sku": f"SKU-{number:07d}"}
    return {"topic": TOPIC, "value": {**envelope, "occurred_at": at, "recorded_at": at, "node": "n1", **body}}


class Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def lap(self) -> float:
        """Seconds since then."""
        before, self._at = self._at, time.perf_counter()
        return self._at - before


def main() -> None:
    """Make the facts, close them, export the day; print seconds and rates."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory(prefix="ledger-bench-") as folder:
        path = Path(folder) / "facts.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines(rows))
        print(f"{rows} SKUs, {2 * rows} facts, {path.stat().st_size / 1e6:.0f} MB")
        gc.disable()  # as the command does
        clock = Clock()
        origin = FileOrigin(path)
        gathered = gather(origin.records(), origin.world(), CLOSE_MS)
        read_s = clock.lap()
        store = Store(f"{folder}/ledger")
        manifests = list(close(closable(ledger_days(gathered, CLOSE_MS)), store, Closing(CLOSE_MS, gathered.inputs)))
        close_s = clock.lap()
        table = read_parquet(store.rows_of(manifests[-1]))
        clock.lap()
        export_s = min(_timed(table, clock) for _ in range(3))
    closed = ", ".join(f"{manifest.business_date} {manifest.status}" for manifest in manifests)
    print(f"read and admit     {read_s:7.1f} s  {2 * rows / read_s:12,.0f} facts/s")
    print(f"reckon and close   {close_s:7.1f} s  {rows / close_s:12,.0f} rows/s, two dates written ({closed})")
    print(f"together           {read_s + close_s:7.1f} s")
    print(f"export to Parquet  {export_s:7.2f} s  {table.num_rows / export_s:12,.0f} rows/s")
    print(f"RSS at most        {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:7.0f} MiB")


def _timed(table: Any, clock: Clock) -> float:
    parquet_bytes(table)
    return clock.lap()


if __name__ == "__main__":
    main()

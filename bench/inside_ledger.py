"""What a row of the day close costs a SKU task, in one process without a broker: `python -m bench.inside_ledger`.

Every SKU is counted once and then moves three times a day in every region; every date is closed when all its facts
have come, in portions as large as a turn of the worker closes, from the tables to the encoded record batches. After
the journal's horizon what is past is settled with the close: the last dates cost what a date costs for ever. Printed:
processor time per row of each date, and the digest of all published rows, which no change for speed may change.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import os
import tempfile
import time
from contextlib import nullcontext
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import xxhash

os.environ.setdefault("ATP_CACHED_ROWS", "200")  # of a million SKUs hardly one is at hand when its date closes

from atp.domain.facts import STOCK_TOPIC
from atp.domain.times import DAY_MS, HOUR_MS, rfc3339
from atp.topics import LEDGER
from bench.inside import TURN_FACTS, Inside
from bench.inside_snapshot import HEAD, Parts

FIRST = date(2026, 9, 21)
FIRST_MS = (FIRST.toordinal() - date(1970, 1, 1).toordinal()) * DAY_MS
REGIONS = ("uk", "de", "fr", "es")
MOVES: tuple[dict[str, Any], ...] = (
    {"type": "stock.shipped", "quantity": 2},
    {"type": "stock.returned", "quantity": 1},
    {"type": "stock.adjusted", "state": "sellable", "delta": -1, "reason": "found"},
)


def facts_of(day: int, skus: int, regions: int) -> list[list[Any]]:
    """A day's facts by partition; on the first one a count of every SKU before them."""
    from bench.load import partition_of

    parts = Parts()
    for number, region in product(range(skus), REGIONS[:regions]):
        sku = f"SKU-{number:07d}"
        partition = partition_of(sku.encode())
        body: list[dict[str, Any]] = [{"type": "stock.counted", "quantities": {"sellable": 100}}] if day == 0 else []
        for at, kind in enumerate([*body, *MOVES]):
            at_ms = FIRST_MS + day * DAY_MS + (8 + at) * HOUR_MS
            times = {"occurred_at": rfc3339(at_ms), "recorded_at": rfc3339(at_ms + 2_000)}
            as_of = {"as_of": rfc3339(at_ms)} if kind["type"] == "stock.counted" else {}
            head = {"event_id": f"{sku}|{region}|{day}|{at}", "sku": sku, "node": f"{region}-1"}
            parts.add(STOCK_TOPIC, partition, sku, at_ms + 2_000, {**head, **times, **as_of, **kind})
    return parts.found


def ask(day: int, regions: int) -> int:
    """The date is asked for, and its sources have passed its midnight; the instant of it."""
    from atp.app import control
    from atp.domain.closing import LedgerDay, Stand
    from atp.domain.ledger_close import Status
    from atp.domain.nodes import Node, NodeBook
    from bench.load import PARTITIONS

    now_ms = FIRST_MS + (day + 1) * DAY_MS + HOUR_MS
    control.world.nodes = NodeBook({f"{region}-1": Node(f"{region}-1", region) for region in REGIONS[:regions]})
    asked = date.fromordinal(FIRST.toordinal() + day)
    told = {"status": Status.PROVISIONAL, "stand": Stand.CLOSING, "asked_at": rfc3339(now_ms)}
    control.asked = [
        LedgerDay(region=region, business_date=asked, revision=1, **told) for region in REGIONS[:regions]
    ]
    for partition in range(PARTITIONS):
        for _ in range(2):
            passed = {(HEAD["source"], region): now_ms for region in REGIONS}
            control.sightings[partition].look(passed, now_ms, now_ms)
    return now_ms


class Rows:
    """Published rows: how many, and their digest."""

    def __init__(self, inside: Inside) -> None:
        self.count, self._sum, self._build = 0, 0, inside.build
        inside.build = self.build  # type: ignore[method-assign]

    def build(self, batch: Any) -> None:
        """Count what is published of the ledger, then encode it as a task does."""
        if batch.topic == LEDGER.name:
            self.count += len(batch.records)
            for out in batch.records:
                self._sum += xxhash.xxh3_64_intdigest(out.key + out.value)
        self._build(batch)

    def digest(self) -> str:
        """Of all rows, in whatever order they were published."""
        return f"{self._sum % 2**64:016x}"


async def close(inside: Inside, now_ms: int, regions: int) -> None:
    """Until every partition has answered for each region: a worker goes on to the next one with its next turn."""
    for _ in range(regions):
        going = list(inside.tasks)
        while going:
            going = [task for task in going if await inside.go_on(task, now_ms)]


async def main() -> None:
    """Run, and print what a row costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skus", type=int, default=5_000)
    parser.add_argument("--days", type=int, default=6)
    parser.add_argument("--regions", type=int, default=1, help="at most 4; a row of each for every SKU")
    parser.add_argument("--profile", type=Path, help="of the last date's close")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atp-inside-") as folder:
        inside = Inside(Path(folder))
        rows = Rows(inside)
        for day in range(options.days):
            now_ms = ask(day, options.regions)
            await feed(inside, facts_of(day, options.skus, options.regions))
            gc.collect()
            profile = cProfile.Profile() if options.profile and day == options.days - 1 else None
            known, written, began_s = rows.count, inside.written, time.process_time()
            with profile or nullcontext():
                await close(inside, now_ms, options.regions)
            cpu_s, closed = time.process_time() - began_s, rows.count - known
            cost, state = cpu_s / closed * 1e6, inside.written - written
            print(f"day {day}: {closed:,} rows  {cost:.1f} us/row  state {state:,} B")
            if profile:
                profile.dump_stats(options.profile)
    print(f"rows {rows.digest()}")


async def feed(inside: Inside, facts: list[list[Any]]) -> None:
    """A day's facts, while nothing is asked for."""
    from atp.app import control

    asked, control.asked = control.asked, []
    await inside.work_off(facts, TURN_FACTS)
    control.asked = asked


if __name__ == "__main__":
    asyncio.run(main())

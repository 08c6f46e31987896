"""What a row of a snapshot costs the worker, in one process without a broker: `python -m bench.inside_snapshot`.

Every (SKU, node) is counted; then a snapshot of all of them is taken in, compared and searched, in turns of as many
rows as the worker takes at once. Printed: processor time per row, and what was written for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from atp.domain.facts import STOCK_TOPIC
from atp.domain.snapshots import WMS_SNAPSHOTS_TOPIC
from atp.domain.times import MINUTE_MS, rfc3339
from bench.inside import TURN_FACTS, Inside

PLACES = [("uk", "uk-1"), ("uk", "uk-2"), ("de", "de-1"), ("de", "de-2")]
BEGIN_MS = 1_790_000_000_000
AS_OF_MS, SENT_MS = BEGIN_MS + MINUTE_MS, BEGIN_MS + 2 * MINUTE_MS
HEAD = {"schema_version": "1.0", "source": "wms"}


class Parts:
    """Records by partition."""

    def __init__(self) -> None:
        from bench.load import PARTITIONS

        self.found: list[list[Any]] = [[] for _ in range(PARTITIONS)]

    def add(self, topic: str, partition: int, key: str, at_ms: int, value: dict[str, Any]) -> None:
        """One record at the end of its partition."""
        from atp.lane.ports import Record

        part = self.found[partition]
        part.append(Record(topic, partition, len(part), at_ms, key.encode(), json.dumps({**HEAD, **value}).encode()))


def records(rows: int) -> tuple[Parts, Parts]:
    """The opening counts, and the snapshot of both regions with its markers."""
    from bench.load import partition_of

    counts, snapshot, closed = Parts(), Parts(), Counter[tuple[int, str]]()
    begin = rfc3339(BEGIN_MS)
    for number in range(rows // len(PLACES)):
        sku = f"SKU-{number:07d}"
        partition = partition_of(sku.encode())
        for region, node in PLACES:
            where = {"sku": sku, "region": region, "node": node, "quantities": {"sellable": 100}}
            times = {"occurred_at": begin, "recorded_at": begin, "as_of": begin}
            fact = {"event_id": f"{sku}|{node}", "type": "stock.counted", **times, **where}
            counts.add(STOCK_TOPIC, partition, sku, BEGIN_MS, fact)
            row = {"type": "snapshot.row", **_of(region), **where}
            snapshot.add(WMS_SNAPSHOTS_TOPIC, partition, sku, SENT_MS, row)
            closed[partition, region] += 1
    for (partition, region), count in closed.items():
        marker = {"type": "snapshot.closed", **_of(region), "rows": count, "units": 100 * count}
        snapshot.add(WMS_SNAPSHOTS_TOPIC, partition, region, SENT_MS, marker)
    return counts, snapshot


def _of(region: str) -> dict[str, str]:
    return {"snapshot_id": f"{region}-1", "region": region, "as_of": rfc3339(AS_OF_MS)}


def pass_as_of() -> None:
    """The source and we have passed the as_of in every partition."""
    from atp.app import control
    from atp.domain.nodes import Node, NodeBook
    from bench.load import PARTITIONS

    control.world.nodes = NodeBook({node: Node(node, region) for region, node in PLACES})
    watermarks = {("wms", region): SENT_MS for region in ("uk", "de")}
    for partition in range(PARTITIONS):
        for _ in range(2):
            control.sightings[partition].look(watermarks, SENT_MS, SENT_MS)


async def main() -> None:
    """Run, and print what a row costs."""
    from atp.app import config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turn", type=int, default=config.snapshot_rows_at_once)
    options = parser.parse_args()
    counts, snapshot = records(options.rows)
    with tempfile.TemporaryDirectory(prefix="atp-inside-") as folder:
        inside = Inside(Path(folder))
        pass_as_of()
        await inside.work_off(counts.found, TURN_FACTS)
        began_s, rows, size = time.process_time(), inside.rows, inside.written
        await inside.work_off(snapshot.found, options.turn)
        while [task for task in inside.tasks if await inside.go_on(task, SENT_MS)]:
            pass
        cpu_s = time.process_time() - began_s
    print(
        f"{options.rows / cpu_s:,.0f} rows/CPU-s  {cpu_s / options.rows * 1e6:.1f} us/row  "
        f"written {inside.rows - rows:,} rows, {inside.written - size:,} bytes"
    )


if __name__ == "__main__":
    asyncio.run(main())

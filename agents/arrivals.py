"""Arrivals: the partitions' counts and numbers of each source joined, and held against what it says it sent."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app, region_control, region_lane
from atp.domain.arrivals import Arrivals
from atp.domain.balances import SourceArrivals, balance
from atp.topics import RESULTS
from tables.arrivals import arrivals as rows


@app.agent(region_lane.stage("arrivals"), concurrency=1)
async def arrivals(batches: Any) -> None:
    """Take counts and numbers in; with a tick, tell every balance that changed."""
    async for batch in batches:
        with batch:
            for said in batch:
                row = rows.get((said.region, said.source)) or SourceArrivals(Arrivals())
                row.arrivals.hear(said, batch.now_ms)
                rows[said.region, said.source] = row
            if batch.is_tick:
                for region, source in [key for key, _ in rows.scan()]:
                    tell(batch, region, source)


def tell(batch: Any, region: str, source: str) -> None:
    """Publish a balance, if it is another than before."""
    world, row = region_control.world, rows[region, source]
    grace_ms = world.policies.of_region(region).heartbeat_timeout_ms
    found = balance(row, region, source, world.watermarks.beats.get((source, region)), batch.now_ms, grace_ms)
    if found is not None:
        rows[region, source] = row
        batch.send(RESULTS.name, region.encode(), msgspec.json.encode(found))

"""Freshness per region: what SKU tasks measured, merged, checked against the target and published."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app, region_control, region_lane
from atp.domain.slo import RegionFreshness, check, take
from atp.topics import FRESHNESS
from tables.freshness import freshness as rows


@app.agent(region_lane.stage("freshness"), concurrency=1)
async def freshness(batches: Any) -> None:
    """Take measurements in; with a tick, check every region of this partition."""
    async for batch in batches:
        with batch:
            for measured in batch:
                state = rows.get((measured.region,)) or RegionFreshness()
                take(state, measured, batch.now_ms)
                rows[measured.region,] = state
            if batch.is_tick:
                for region in region_control.world.nodes.regions:
                    if batch.owns(region):
                        publish(batch, region)


def publish(batch: Any, region: str) -> None:
    """Check a region if it is time for it, and publish how fresh it is."""
    world = region_control.world
    state = rows.get((region,)) or RegionFreshness()
    row = check(state, region, world.watermarks, world.policies.of_region(region), batch.now_ms)
    if row is not None:
        rows[region,] = state
        batch.send(FRESHNESS.name, region.encode(), msgspec.json.encode(row))

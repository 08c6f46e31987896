"""Lags: from a fact's recording to its publication, told to the region tasks every few seconds."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app, control, lane
from atp.domain.lags import Lags
from atp.domain.routing import places_of
from atp.topics import REGION_PARTIALS

# By partition. Measured, not booked: what a turn that failed has measured is measured again with its next attempt.
measured: dict[int, Lags] = {}


@app.agent(lane.stage("lags"), concurrency=1)
async def lags(batches: Any) -> None:
    """Measure the sampled facts of a batch: they are published with this very turn."""
    async for batch in batches:
        with batch:
            found = measured.setdefault(batch.partition, Lags())
            for weight, admitted in batch:
                measure(found, weight, admitted, batch.now_ms)
            for partial in found.tick(batch.partition, batch.now_ms) if batch.is_tick else ():
                batch.send_to_owner(REGION_PARTIALS.name, partial.region, msgspec.json.encode(partial))


def measure(found: Lags, weight: int, admitted: Any, now_ms: int) -> None:
    """One fact, in every region that it concerns; not one that was filled in later, which says nothing of lags."""
    if admitted.fact.backfill:
        return
    world = control.world
    for region in world.nodes.regions_among(set(places_of(admitted))):
        target_ms = world.policies.of_region(region).freshness_target_ms
        found.add(region, admitted.fact.source, now_ms - admitted.recorded_ms, target_ms, weight)

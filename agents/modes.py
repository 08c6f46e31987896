"""Modes: one decision per region, told as rows, as facts of change, and as verdicts on the snapshots behind them."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app, region_control, region_lane
from atp.domain.switching import RegionModes, decide, hear
from atp.topics import MODE_CHANGES, MODES, RESULTS
from tables.modes import regions

encode = msgspec.json.encode


@app.agent(region_lane.stage("modes"), concurrency=1)
async def modes(batches: Any) -> None:
    """Decide on every region of which something was said; with every tick, on all of them."""
    async for batch in batches:
        with batch:
            regions_seen = batch.dirty | (known_to(batch) if batch.is_tick else set())
            said: dict[str, list[Any]] = {region: [] for region in regions_seen}
            for one in batch:
                said.setdefault(one.region, []).append(one)
            for region in sorted(said):
                switch(batch, region, said[region])


def known_to(batch: Any) -> set[str]:
    """The regions of this partition: those with a node, and those of which anything was ever said."""
    named = region_control.world.nodes.regions
    return {region for region in named if batch.owns(region)} | {key[0] for key, _ in regions.scan()}


def switch(batch: Any, region: str, said: list[Any]) -> None:
    """Hear what was said of a region, decide, and tell what follows."""
    world, now_ms = region_control.world, batch.now_ms
    policy = world.policies.of_region(region)
    state = regions.get((region,)) or RegionModes()
    verdicts = [verdict for one in said for verdict in hear(state, one, policy, now_ms)]
    decision = decide(state, region, world.watermarks, policy, now_ms, batch.consumed_ms)
    if said or any(decision):
        regions[region,] = state
    for verdict in [*verdicts, *decision.verdicts]:
        batch.send(RESULTS.name, region.encode(), encode(verdict))
    for row in decision.rows:  # one partition, so that a reader of modes follows one log
        batch.send(MODES.name, f"{region}|{row.channel}".encode(), encode(row), partition=0)
    for change in decision.changes:
        batch.send(MODE_CHANGES.name, f"{region}|{change.channel}".encode(), encode(change))

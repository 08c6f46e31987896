"""The day close of a region: what its partitions answered, what is due, and what became of a date."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from atp.app import app, region_control, region_lane
from atp.domain.closing import RegionDays, Stand, control_totals, decide, hear, may_act
from atp.domain.ledger_rules import policy_of
from atp.topics import LEDGER_DAYS
from tables.arrivals import arrivals
from tables.closing import days

logger = structlog.get_logger("atp.ledger")


@app.agent(region_lane.stage("closing"), concurrency=1)
async def closing(batches: Any) -> None:
    """Take answers in; with a tick, decide on every region of this partition."""
    async for batch in batches:
        with batch:
            for said in batch:
                state = days.get((said.region,)) or RegionDays()
                hear(state, said)
                days[said.region,] = state
            if batch.is_tick:
                for region in region_control.world.nodes.regions:
                    if batch.owns(region):
                        close(batch, region)


def close(batch: Any, region: str) -> None:
    """Close what was answered, ask for what is due, and publish both."""
    world, state = region_control.world, days.get((region,)) or RegionDays()
    policy = policy_of(world, region)
    if not may_act(state, region, world.watermarks, policy, batch.partitions, batch.now_ms):
        return
    came = {(key[0], key[1]): row for key, row in arrivals.scan((region,))}
    totals = control_totals(region, world.watermarks, came)
    found = list(decide(state, region, totals, policy, batch.partitions, batch.now_ms))
    if found:
        days[region,] = state
    for day in found:
        if day.stand is Stand.BROKEN:
            logger.error("ledger_day_broken", region=region, problem=day.problem)
        key = f"{day.business_date}|{region}|{day.revision}"
        batch.send(LEDGER_DAYS.name, key.encode(), msgspec.json.encode(day), partition=0)

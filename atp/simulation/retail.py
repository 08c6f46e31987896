"""Real wishes: a day of Online Retail, minute by minute. Regions are drawn, since the source knows countries only."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import msgspec

from atp.simulation.chance import Chance
from atp.simulation.plan import Plan
from atp.simulation.shoppers import Wish
from atp.sources.retail_rows import Row, RowKind, rows_of
from atp.sources.retail_world import channel_of

FIRST_DAY, DAYS = date(2011, 11, 1), 30
SATURDAY = 5  # the seller is closed


def trading_days() -> list[date]:
    """The November before the peak."""
    days = [FIRST_DAY + timedelta(number) for number in range(DAYS)]
    return [day for day in days if day.weekday() != SATURDAY]


def real_day(plan: Plan, seed: int) -> tuple[Plan, list[Wish]]:
    """A trading day by seed: the plan for it, and its sales of the SKUs that sold most often."""
    days = trading_days()
    day = days[seed % len(days)]
    sales = [row for row in rows_of(day.isoformat(), day.isoformat()) if row.kind is RowKind.SALE and row.goods]
    lines = Counter(row.sku for row in sales)
    kept = {sku for sku, _ in lines.most_common(plan.world.skus)}
    world = msgspec.structs.replace(plan.world, day=day)
    chance, regions = Chance(seed), plan.world.regions
    wishes = [_wish(row, regions, chance) for row in sales if row.sku in kept]
    wishes.sort(key=lambda wish: (wish.at_ms, wish.number))
    return msgspec.structs.replace(plan, world=world), wishes


def _wish(row: Row, regions: list[str], chance: Chance) -> Wish:
    region = regions[chance.whole((0, len(regions)), row.customer or row.invoice, "region")]
    channel = channel_of(row.customer, chance.whole((0, 100), row.invoice, "channel"))
    return Wish(row.position, row.time_ms, row.sku, region, channel, row.units)

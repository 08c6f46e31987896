"""The ledger's questions, answered by the node reference and the policies."""

from __future__ import annotations

from functools import cache

from atp.domain.daily_ledger import Rules
from atp.domain.fold import World
from atp.domain.intake import Horizons
from atp.domain.policy import RecordPolicy
from atp.domain.times import Calendar


def policy_of(world: World, region: str) -> RecordPolicy:
    """What holds for a region as a whole: no SKU has a day of its own in the ledger."""
    return world.policies.resolve("", region)


def rules_of(world: World, horizons: Horizons, until_ms: int) -> Rules:
    """The rules of a world, for dates up to an instant."""

    @cache
    def calendar_of(region: str) -> Calendar:
        return policy_of(world, region).calendar

    @cache
    def window_ms(region: str) -> int:
        return policy_of(world, region).correction_ms

    def is_late(region: str, time_ms: int, recorded_ms: int) -> bool:
        if recorded_ms <= time_ms + window_ms(region):
            return False
        return recorded_ms > calendar_of(region).day(time_ms).end_ms + window_ms(region)

    def first_open(region: str, recorded_ms: int) -> int:
        return recorded_ms - window_ms(region) - 1

    def region_of(node: str) -> str | None:
        found = world.nodes.get(node)
        return found.region if found is not None else None

    return Rules(horizons, region_of, calendar_of, is_late, first_open, until_ms)

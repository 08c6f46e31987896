"""The ledger's questions, answered by the node reference and the policies."""

from __future__ import annotations

from functools import cache

from atp.domain import lateness
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
    def policy(region: str) -> RecordPolicy:
        return policy_of(world, region)

    @cache
    def calendar_of(region: str) -> Calendar:
        return policy(region).calendar

    def is_late(region: str, time_ms: int, recorded_ms: int) -> bool:
        return lateness.is_late(time_ms, recorded_ms, policy(region))

    def first_open(region: str, recorded_ms: int) -> int:
        return recorded_ms - policy(region).correction_ms - 1

    @cache
    def region_of(node: str) -> str | None:
        found = world.nodes.get(node)
        return found.region if found is not None else None

    return Rules(horizons, region_of, calendar_of, is_late, first_open, until_ms)

"""The committed world file, `black_friday.toml`: what every seed draws from, and the policy under test."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from importlib import resources
from typing import Any

import msgspec

from atp.domain.times import to_ms

Span = tuple[float, float]


class WorldPlan(msgspec.Struct, forbid_unknown_fields=True):
    """Where and when."""

    day: date
    regions: list[str]
    warehouses: int
    stores: int
    skus: int
    partitions: int
    close_minute: int
    shoppers_leave_minute: int
    cycle_minutes: int
    closing_cycles: int
    snapshot_lag_s: int
    heartbeat_s: int


class DemandPlan(msgspec.Struct, forbid_unknown_fields=True):
    """Who wants what."""

    lines: int
    load: float
    popularity: float
    units: list[int]
    hours: list[int]
    substitute_share: float
    channels: dict[str, int]


class StockPlan(msgspec.Struct, forbid_unknown_fields=True):
    """What lies where, and what else comes and goes."""

    cover: Span
    inbound_share: float
    inbound_part: float
    inbound_minutes: Span
    nodes: list[float]
    returned_share: float
    resold_share: float
    dispose_minutes: Span
    damages: int


class OrderPlan(msgspec.Struct, forbid_unknown_fields=True):
    """The life of an order line."""

    cart_share: float
    abandoned_share: float
    soft_ttl_minutes: int
    confirm_minutes: Span
    allocate_minutes: Span
    ship_minutes: Span
    cancelled_share: float
    cancel_minutes: Span


class MessagePlan(msgspec.Struct, forbid_unknown_fields=True):
    """Messages on a good day."""

    delay_ms: Span
    repeated_share: float


class ReleasesPlan(msgspec.Struct, forbid_unknown_fields=True):
    """Releases that are told late."""

    lasts_minutes: Span


class ReturnsPlan(msgspec.Struct, forbid_unknown_fields=True):
    """Store returns that are told days late."""

    lasts_minutes: Span
    late_hours: Span
    returns_factor: float


class DamagePlan(msgspec.Struct, forbid_unknown_fields=True):
    """Bursts of damage that are told late."""

    lasts_minutes: Span
    bursts: int
    skus_share: float
    units_share: Span


class SubstitutionPlan(msgspec.Struct, forbid_unknown_fields=True):
    """Rules that change in the middle of the day."""

    rules: int


class BackfillPlan(msgspec.Struct, forbid_unknown_fields=True):
    """A region whose messages are lost, sent later, and sent twice."""

    lasts_minutes: Span
    catch_up_minutes: Span
    repeat_minutes: int
    doubled_share: float
    doubled_minutes: Span


class TroublePlan(msgspec.Struct, forbid_unknown_fields=True):
    """The five named troubles."""

    late_minutes: Span
    start_minutes: Span
    delayed_releases: ReleasesPlan
    late_returns: ReturnsPlan
    damage_burst: DamagePlan
    substitution_change: SubstitutionPlan
    region_backfill: BackfillPlan


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    world: WorldPlan
    demand: DemandPlan
    stock: StockPlan
    orders: OrderPlan
    messages: MessagePlan
    troubles: TroublePlan
    policy: list[dict[str, Any]]

    @property
    def start_ms(self) -> int:
        """Midnight UTC, when the day begins."""
        return to_ms(datetime.combine(self.world.day, time(), tzinfo=UTC))

    def minute_ms(self, minute: float) -> int:
        """The instant of a minute of the day."""
        return self.start_ms + int(minute * 60_000)

    @property
    def cycle_ms(self) -> int:
        """From one snapshot to the next."""
        return self.world.cycle_minutes * 60_000

    @property
    def close_ms(self) -> int:
        """When the world stands still and is scored."""
        return self.minute_ms(self.world.close_minute)


def load_plan() -> Plan:
    """The committed file."""
    return msgspec.toml.decode(
        resources.files("atp.simulation").joinpath("black_friday.toml").read_bytes(), type=Plan
    )

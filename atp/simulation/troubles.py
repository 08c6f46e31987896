"""The five named troubles of a Black Friday. Each knows when it began and which records it touches."""

from __future__ import annotations

from typing import Protocol

import msgspec

from atp.domain.facts import Damage, Fact, LineState, Reservation, StockMoved, StockReturned, StockState
from atp.domain.times import HOUR_MS, MINUTE_MS, from_ms, to_ms
from atp.simulation.places import STORES
from atp.simulation.plan import Span
from atp.simulation.post import Post
from atp.simulation.shoppers import Key, Substitutions
from atp.simulation.world import TrueWorld


class Trouble(Protocol):
    """A trouble of one region. `keys`: when it first touched each (SKU, region)."""

    name: str
    region: str
    begins_ms: int
    ends_ms: int
    keys: dict[Key, int]

    def takes(self, fact: Fact, region: str, sent_ms: int) -> bool: ...


class _Trouble:
    """Where and when, drawn from the seed."""

    name = ""

    def __init__(self, world: TrueWorld, post: Post, lasts: Span) -> None:
        self.world, self.post, self.chance = world, post, world.chance
        self.late: Span = world.plan.troubles.late_minutes
        regions = world.places.regions
        self.region = regions[self.chance.whole((0, len(regions)), self.name, "region")]
        begins = self.chance.between(world.plan.troubles.start_minutes, self.name, "begins")
        self.begins_ms = world.plan.minute_ms(begins)
        self.ends_ms = world.plan.minute_ms(begins + self.chance.between(lasts, self.name, "lasts"))
        self.keys: dict[Key, int] = {}

    def _concerns(self, region: str, sent_ms: int) -> bool:
        return region == self.region and self.begins_ms <= sent_ms < self.ends_ms

    def _touch(self, sku: str, at_ms: int) -> None:
        self.keys.setdefault((sku, self.region), at_ms)

    def _late_ms(self, fact: Fact, sent_ms: int) -> int:
        return sent_ms + int(self.chance.between(self.late, fact.event_id, "late") * MINUTE_MS)

    def takes(self, fact: Fact, region: str, sent_ms: int) -> bool:
        return False


class DelayedReleases(_Trouble):
    """What OMS gives free is told late: we promise less than there is."""

    name = "delayed-releases"

    def __init__(self, world: TrueWorld, post: Post, _: Substitutions) -> None:
        super().__init__(world, post, world.plan.troubles.delayed_releases.lasts_minutes)

    def takes(self, fact: Fact, region: str, sent_ms: int) -> bool:
        if not (isinstance(fact, Reservation) and fact.released and self._concerns(region, sent_ms)):
            return False
        self._touch(fact.sku, sent_ms)
        self.post.carry_late(fact, region, self._late_ms(fact, sent_ms))
        return True


class LateReturns(_Trouble):
    """A store books what comes back at once and tells it days late: we promise less than there is."""

    name = "late-returns"

    def __init__(self, world: TrueWorld, post: Post, _: Substitutions) -> None:
        self.plan = world.plan.troubles.late_returns
        super().__init__(world, post, self.plan.lasts_minutes)
        self._bring_more()

    def _bring_more(self) -> None:
        stock = self.world.plan.stock
        keys = [key for key in self.world.keys if key[1] == self.region]
        hours = (self.ends_ms - self.begins_ms) / HOUR_MS
        ordinary = self.world.plan.demand.lines * self.world.plan.demand.load * stock.returned_share / 15
        for number in range(int(ordinary * hours * self.plan.returns_factor / len(self.world.places.regions))):
            key = keys[int(self.chance.part(self.name, number, "key") * len(keys))]
            at_ms = int(self.chance.between((self.begins_ms, self.ends_ms), self.name, number))
            self.world.agenda.plan(at_ms, self.world.bring_back, key, f"{self.name}-{number}")

    def takes(self, fact: Fact, region: str, sent_ms: int) -> bool:
        is_return = isinstance(fact, StockReturned) or (
            isinstance(fact, StockMoved) and fact.from_state is StockState.RETURN_HOLD
        )
        if not (is_return and fact.source == STORES and self._concerns(region, sent_ms)):
            return False
        self._touch(fact.sku, sent_ms)
        late_ms = int(self.chance.between(self.plan.late_hours, fact.event_id, "late") * HOUR_MS)
        self.post.carry_late(fact, region, sent_ms + late_ms)
        return True


class DamageBurst(_Trouble):
    """Pallets fall in a warehouse, again and again; the damages are told late: we promise more than there is.

    What was allocated to an order stands in its tote and is not hit.
    """

    name = "damage-burst"

    def __init__(self, world: TrueWorld, post: Post, _: Substitutions) -> None:
        self.plan = world.plan.troubles.damage_burst
        super().__init__(world, post, self.plan.lasts_minutes)
        self._bursting = False
        for number in range(self.plan.bursts):
            at_ms = int(self.chance.between((self.begins_ms, self.ends_ms), self.name, number))
            world.agenda.plan(at_ms if number else self.begins_ms, self._burst, number)

    def _burst(self, number: int) -> None:
        place = self.world.places.by_region[self.region][number % 2]
        self._bursting = True
        for sku, region in self.world.keys:
            if region == self.region and self.chance.happens(self.plan.skus_share, self.name, sku, number):
                part = self.chance.between(self.plan.units_share, self.name, sku, number, "part")
                units = round(part * self.world.oms.room((sku, place.node)))
                self.world.damage(sku, place, f"{self.name}-{number}-{sku}", units)
        self._bursting = False

    def takes(self, fact: Fact, region: str, sent_ms: int) -> bool:
        if not (self._bursting and isinstance(fact, Damage)):
            return False
        self._touch(fact.sku, sent_ms)
        self.post.carry_late(fact, region, self._late_ms(fact, sent_ms))
        return True


class SubstitutionChange:
    """Merchandising changes its rules in the middle of the day: shoppers wander, core ATP must not notice."""

    name = "substitution-change"
    region = ""

    def __init__(self, world: TrueWorld, post: Post, substitutions: Substitutions) -> None:
        plan = world.plan.troubles
        minute = world.chance.between(plan.start_minutes, self.name)
        self.begins_ms = self.ends_ms = world.plan.minute_ms(minute)
        self.keys: dict[Key, int] = {}
        self.post, self.substitutions = post, substitutions
        world.agenda.plan(self.begins_ms, self._change, plan.substitution_change.rules)

    def _change(self, rules: int) -> None:
        for sku in self.substitutions.change(rules, 1):
            self.post.announce({"sku": sku, "substitutes": [self.substitutions.rules[sku]]})

    def takes(self, fact: Fact, region: str, sent_ms: int) -> bool:
        return False


class RegionBackfill(_Trouble):
    """A region's OMS messages are lost. Later all of them are sent, what had come is sent again, and some lines
    come back under a second number: first we promise more than there is, then less."""

    name = "region-backfill"

    def __init__(self, world: TrueWorld, post: Post, _: Substitutions) -> None:
        self.plan = world.plan.troubles.region_backfill
        super().__init__(world, post, self.plan.lasts_minutes)
        catch_up = self.chance.between(self.plan.catch_up_minutes, self.name, "catch-up")
        self.backfills_ms = self.ends_ms + int(catch_up * MINUTE_MS)
        self._lost: list[Reservation] = []
        self._came: list[Reservation] = []
        world.agenda.plan(self.backfills_ms, self._backfill)

    def takes(self, fact: Fact, region: str, sent_ms: int) -> bool:
        if not isinstance(fact, Reservation) or region != self.region:
            return False
        if self._concerns(region, sent_ms):
            self._touch(fact.sku, sent_ms)
            self.post.say(fact, region)  # OMS has sent it
            self._lost.append(fact)
            return True
        if 0 <= self.begins_ms - sent_ms <= self.plan.repeat_minutes * MINUTE_MS:
            self._came.append(fact)
        return False

    def _backfill(self) -> None:
        """Everything within ten minutes, in no order."""
        for fact in self._lost:
            sent = msgspec.structs.replace(fact, backfill=True)
            self.world.agenda.deliver(self._soon_ms(fact), self.post.hand_over, sent)
            if fact.type == "reservation.placed" and self.chance.happens(
                self.plan.doubled_share, fact.event_id, "doubled"
            ):
                self._double(fact)
        for fact in self._came:
            self.post.carry_again(msgspec.structs.replace(fact, backfill=True), self._soon_ms(fact))

    def _soon_ms(self, fact: Fact) -> int:
        return self.backfills_ms + self.chance.whole((0, 10 * MINUTE_MS), fact.event_id, "soon")

    def _double(self, fact: Reservation) -> None:
        """The line under a second number, and hours later its cancellation. OMS itself never knew it."""
        placed_ms = self._soon_ms(fact)
        twin = msgspec.structs.replace(
            fact, event_id=f"{fact.event_id}-again", reservation_id=f"{fact.reservation_id}-again", backfill=True,
            state=LineState.FIRM, expires_at=None, recorded_at=from_ms(placed_ms),
        )  # fmt: skip
        self.world.agenda.deliver(placed_ms, self.post.hand_over, twin)
        ended_ms = placed_ms + int(self.chance.between(self.plan.doubled_minutes, twin.event_id) * MINUTE_MS)
        end = msgspec.structs.replace(
            twin, event_id=f"{twin.event_id}-end", type="reservation.cancelled", version=2, state=LineState.CLOSED,
            open=0, released=twin.requested, occurred_at=from_ms(ended_ms), recorded_at=from_ms(ended_ms),
        )  # fmt: skip
        self.world.agenda.deliver(ended_ms, self.post.hand_over, end)
        assert to_ms(end.recorded_at) > to_ms(twin.recorded_at)


TROUBLES = {
    kind.name: kind for kind in (DelayedReleases, LateReturns, DamageBurst, SubstitutionChange, RegionBackfill)
}
ALL_TROUBLES = tuple(TROUBLES)

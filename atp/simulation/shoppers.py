"""Shoppers: when they come, what they want, and what they do when it is refused.

The wishes of a seed are drawn beforehand, so they are the same under every policy.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import accumulate
from typing import NamedTuple, Protocol

from atp.simulation.agenda import Agenda
from atp.simulation.chance import Chance
from atp.simulation.oms import Oms
from atp.simulation.plan import Plan

Key = tuple[str, str]  # SKU, region


class Wish(NamedTuple):
    """Somebody wants so many units at an instant."""

    number: int
    at_ms: int
    sku: str
    region: str
    channel: str
    units: int


class Offer(Protocol):
    """What a channel may sell, as the product under test says."""

    def sellable(self, sku: str, region: str, channel: str, now_ms: int) -> int: ...


def wishes_of(plan: Plan, seed: int) -> list[Wish]:
    """A day's wishes by the curve, `load` times those of an ordinary day."""
    drawn = random.Random(seed)
    demand, world = plan.demand, plan.world
    count = int(demand.lines * demand.load)
    skus = [f"S{number:03d}" for number in range(1, world.skus + 1)]
    wanted = list(accumulate(rank**-demand.popularity for rank in range(1, world.skus + 1)))
    favourites = {region: drawn.sample(skus, len(skus)) for region in world.regions}
    channels, shares = list(demand.channels), list(accumulate(demand.channels.values()))
    minutes = drawn.choices(range(24), demand.hours, k=count)
    times = sorted(hour * 60 + drawn.random() * 60 for hour in minutes)
    wishes = []
    for number, minute in enumerate(t for t in times if t < world.shoppers_leave_minute):
        region = drawn.choice(world.regions)
        sku = drawn.choices(favourites[region], cum_weights=wanted)[0]
        channel = drawn.choices(channels, cum_weights=shares)[0]
        wishes.append(Wish(number, plan.minute_ms(minute), sku, region, channel, drawn.choice(demand.units)))
    return wishes


class Substitutions:
    """What a channel offers instead; core ATP never hears of it."""

    def __init__(self, skus: list[str], chance: Chance) -> None:
        self._skus, self._chance = skus, chance
        self.rules: dict[str, str] = {}
        self.change(len(skus), 0)

    def change(self, count: int, revision: int) -> list[str]:
        """Draw new rules for some SKUs; answers which."""
        order = sorted(self._skus, key=lambda sku: self._chance.part(sku, "rule", revision))
        changed = order[:count]
        self.rules.update({sku: order[at - 1] for at, sku in enumerate(changed)})
        return changed


class Shoppers:
    """Comes, asks, takes what is offered."""

    def __init__(
        self, plan: Plan, chance: Chance, agenda: Agenda, offer: Offer, oms: Oms, substitutions: Substitutions
    ) -> None:
        self._plan, self._chance, self._agenda = plan.demand, chance, agenda
        self._offer, self._oms, self._substitutions = offer, oms, substitutions
        self.refused: Counter[Key] = Counter()
        self.accepted_units = self.wanted_units = 0

    def come(self, wishes: list[Wish]) -> None:
        """Put a day's wishes on the agenda."""
        for wish in wishes:
            self._agenda.plan(wish.at_ms, self._ask, wish)

    def _ask(self, wish: Wish) -> None:
        self.wanted_units += wish.units
        refused = wish.units - self._take(wish, wish.sku, wish.units)
        if not refused:
            return
        self.refused[wish.sku, wish.region] += refused
        if self._chance.happens(self._plan.substitute_share, wish.number, "substitute"):
            self._take(wish, self._substitutions.rules[wish.sku], refused)

    def _take(self, wish: Wish, sku: str, wanted: int) -> int:
        units = min(wanted, self._offer.sellable(sku, wish.region, wish.channel, self._agenda.now_ms))
        if units > 0:
            self.accepted_units += units
            self._oms.place(wish, sku, units)
        return max(0, units)

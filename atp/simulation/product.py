"""The product under test, in one process: the pure domain fed with facts, asked by channels.

`Pipeline` is what all policies share. It decides nothing: facts go to `atp.domain.fold`, answers come from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from atp.domain.availability import Reckoning, Waterfall
from atp.domain.facts import Fact
from atp.domain.fold import State, World, apply, reckon, regions_of
from atp.domain.freshness import Heartbeat
from atp.domain.nodes import Node
from atp.domain.policy import Policy, parse_policy
from atp.domain.record import content_bytes
from atp.domain.refusals import Refusal
from atp.simulation.places import Places
from atp.simulation.plan import Plan
from atp.simulation.shoppers import Key
from atp.simulation.snapshots import Document

if TYPE_CHECKING:
    from atp.simulation.world import TrueWorld


class Pipeline:
    """Facts in, records out; channels sell one column of the record, whatever happens."""

    column = "confident"
    reconciles = False

    def __init__(self, plan: Plan, places: Places) -> None:
        self.state, self.world = State.in_memory(), World()
        for document in plan.policy:
            self.world.policies.put(self._policy(document))
        for place in places.by_node.values():
            self.world.nodes[place.node] = Node(place.node, place.region)
        self.horizons = self.world.policies.horizons()
        self.refused: Counter[str] = Counter()
        self.moved_records = 0  # by what must change no record

    def _policy(self, document: dict[str, Any]) -> Policy:
        return parse_policy(document)

    def enter(self, world: TrueWorld) -> None:
        """The world around it; only a yardstick may look at it."""

    def take(self, fact: Fact, now_ms: int) -> None:
        """A fact arrives."""
        outcome = apply(fact, self.state, self.horizons, now_ms)
        if isinstance(outcome, Refusal):
            self.refused[outcome.reason] += 1

    def take_again(self, fact: Fact, now_ms: int) -> None:
        """A fact arrives that had come before: no record may change."""
        before = self._contents(fact.sku, now_ms)
        self.take(fact, now_ms)
        self.moved_records += self._contents(fact.sku, now_ms) != before

    def announce(self, document: dict[str, Any], now_ms: int) -> None:
        """A record of a topic that core ATP does not read."""

    def hear(self, heartbeat: Heartbeat) -> None:
        """A heartbeat; a pipeline without modes does not listen."""

    def compare(self, snapshot: Iterable[Document], now_ms: int) -> None:
        """A snapshot arrives; a pipeline without reconciliation does not read it."""

    def look(self, now_ms: int) -> None:
        """A minute has passed."""

    def _contents(self, sku: str, now_ms: int) -> list[bytes]:
        found = reckon(sku, self.state, self.world, self.horizons, now_ms)
        return [content_bytes(reckoning.content) for _, reckoning in found]

    def sellable(self, sku: str, region: str, channel: str, now_ms: int) -> int:
        """What a channel may sell."""
        reckoning = self.reckoning((sku, region), now_ms)
        units: int = getattr(reckoning.content.channels[channel], self.column)
        return units

    def reckoning(self, key: Key, now_ms: int) -> Reckoning:
        """A record with the figures behind it."""
        sku, region = key
        _, found = next(reckon(sku, self.state, self.world, self.horizons, now_ms, [region]))
        return found

    def believed(self, key: Key, now_ms: int) -> int:
        """Units in stock that nobody was promised, as the product has it."""
        fall: Waterfall = self.reckoning(key, now_ms).waterfall
        return fall.sellable - sum(fall.demand) - fall.holds

    def knows(self, key: Key) -> bool:
        """Whether there is a record."""
        return key[1] in regions_of(key[0], self.state, self.world)


class AlwaysConfident(Pipeline):
    """What a plain stock-minus-reserved pipeline does: the confident column, nothing is reconciled."""

    column = "confident"


class AlwaysConservative(Pipeline):
    """The conservative column all day long; nothing is reconciled."""

    column = "conservative"

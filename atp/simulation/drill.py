"""One day of one policy: shoppers, sources, troubles and snapshots around one product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from atp.domain.freshness import Heartbeat
from atp.domain.times import MINUTE_MS, from_ms
from atp.simulation.agenda import Agenda
from atp.simulation.chance import Chance
from atp.simulation.places import SOURCES, Places
from atp.simulation.plan import Plan
from atp.simulation.post import Post
from atp.simulation.product import Pipeline
from atp.simulation.scoring import AtClose, Score, score
from atp.simulation.shoppers import Shoppers, Substitutions, Wish
from atp.simulation.snapshots import snapshot
from atp.simulation.troubles import TROUBLES, Trouble
from atp.simulation.world import TrueWorld

# A source has sent all that it recorded so long ago.
WATERMARK_LAG_MS = 10_000


class Sample(NamedTuple):
    """A region when a snapshot has been compared: units that nobody was promised, in truth and as believed."""

    at_ms: int
    region: str
    truth: int
    believed: int


class Day:
    """A day of the true world with one product in it."""

    def __init__(
        self,
        plan: Plan,
        seed: int,
        wishes: list[Wish],
        product: type[Pipeline],
        troubles: Sequence[str],
        sampled: bool = False,
    ) -> None:
        chance = Chance(seed)
        self.plan, self._sampled = plan, sampled
        self.agenda = Agenda(plan.start_ms - 10 * MINUTE_MS, plan.close_ms)
        self.product = product(plan, Places(plan))
        self.post = Post(plan.messages, chance, self.agenda, self.product)
        self.world = TrueWorld(plan, chance, self.agenda, self.post)
        self.product.enter(self.world)
        self.world.open(wishes)
        substitutions = Substitutions(sorted({sku for sku, _ in self.world.keys}), chance)
        self.troubles: list[Trouble] = [TROUBLES[name](self.world, self.post, substitutions) for name in troubles]
        self.post.detours = list(self.troubles)
        self.shoppers = Shoppers(plan, chance, self.agenda, self.product, self.world.oms, substitutions)
        self.shoppers.come(wishes)
        self.samples: list[Sample] = []

    def run(self) -> Score:
        """Let the day pass, cycle by cycle; the score at its close."""
        self._beat()
        for as_of_ms in self._cycles():
            self._cycle(as_of_ms)
        return self.score()

    def settle(self) -> None:
        """After the close the world stands still: the last cycles, then every message that is still on its way."""
        for as_of_ms in self._closing_cycles():
            self._cycle(as_of_ms)

    def deliver_the_rest(self) -> None:
        """Whatever is days late arrives."""
        self.agenda.run()

    def _cycles(self) -> Iterator[int]:
        every_ms = self.plan.cycle_ms
        yield from range(self.plan.start_ms + every_ms, self.plan.close_ms + 1, every_ms)

    def _closing_cycles(self) -> Iterator[int]:
        every_ms, close_ms = self.plan.cycle_ms, self.plan.close_ms
        yield from (close_ms + number * every_ms for number in range(1, self.plan.world.closing_cycles + 1))

    def _cycle(self, as_of_ms: int) -> None:
        self.agenda.run(as_of_ms + 1)  # what happens at the as_of is seen
        rows = list(snapshot(self.world, as_of_ms)) if self.product.reconciles else []
        self.agenda.run(as_of_ms + self.plan.world.snapshot_lag_s * 1000)
        self.product.compare(rows, self.agenda.now_ms)
        if self._sampled:
            self._sample()

    def _beat(self) -> None:
        """Every source says that it is alive, and the product looks around."""
        now_ms, world = self.agenda.now_ms, self.plan.world
        for region in self.world.places.regions:
            for source in SOURCES:
                self.product.hear(self._heartbeat(source, region, now_ms))
        self.product.look(now_ms)
        if now_ms < self.plan.close_ms + (world.closing_cycles + 1) * self.plan.cycle_ms:
            self.agenda.deliver(now_ms + world.heartbeat_s * 1000, self._beat)

    def _heartbeat(self, source: str, region: str, now_ms: int) -> Heartbeat:
        totals = self.post.books[source, region].totals
        return Heartbeat(source, region, from_ms(now_ms - WATERMARK_LAG_MS), totals=totals)

    def _sample(self) -> None:
        now_ms, keys = self.agenda.now_ms, self.world.keys
        for region in self.world.places.regions:
            mine = [key for key in keys if key[1] == region]
            truth = sum(self.world.deliverable(key) for key in mine)
            believed = sum(self.product.believed(key, now_ms) for key in mine)
            self.samples.append(Sample(now_ms, region, truth, believed))

    def score(self) -> Score:
        """What was sold and refused, against what lies on the shelves."""
        oms, refused = self.world.oms, self.shoppers.refused
        return score(
            AtClose(oms.sold_units[key], oms.open_units[key], self.world.lying(key), refused[key])
            for key in self.world.keys
        )

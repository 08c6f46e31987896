"""What comes of each source against what it says it has sent, by partition and by region, as in the worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from atp.domain.arrivals import Arrivals
from atp.domain.balances import SourceArrivals, SourceBalance, balance
from atp.domain.facts import CORRECTION_SOURCE, Fact
from atp.domain.fold import World
from atp.domain.partials import Partial, SourceCounted, SourceNumbered
from atp.domain.rows import MemoryRows
from atp.domain.times import to_ms
from atp.domain.totals import SourceTotals, Tally, report
from atp.simulation.books import topic_of
from atp.simulation.places import SOURCES, Places


class Ears:
    """What one partition has heard of every source."""

    def __init__(self) -> None:
        self._rows: MemoryRows[SourceTotals] = MemoryRows()
        self._tally = Tally()

    def take(self, fact: Fact, places: Places) -> None:
        """A fact came that had not come before."""
        if fact.source != CORRECTION_SOURCE:
            self._tally.take(fact, topic_of(fact), places.region_of(fact), to_ms(fact.recorded_at))

    def report(self, partition: int, now_ms: int) -> Iterator[Partial]:
        """What is new since the last report."""
        self._tally.settle(self._rows, homeless=MemoryRows())  # a simulated node is known from the start
        self._tally = Tally()
        for (source, region), row in list(self._rows.items()):
            yield from report(source, region, row, partition, now_ms)


class Balances:
    """Every region's side: what the partitions heard, joined, against the heartbeats. `rows`: by (region, source)."""

    def __init__(self, regions: Sequence[str]) -> None:
        self.rows = {(region, source): SourceArrivals(Arrivals()) for region in regions for source in SOURCES}

    def hear(self, said: Iterable[Partial], now_ms: int) -> None:
        """Take in what a partition reports."""
        for partial in said:
            assert isinstance(partial, SourceCounted | SourceNumbered)
            self.rows[partial.region, partial.source].arrivals.hear(partial, now_ms)

    def judge(self, world: World, now_ms: int) -> Iterator[SourceBalance]:
        """The balances that are others than before."""
        for (region, source), row in self.rows.items():
            grace_ms = world.policies.of_region(region).heartbeat_timeout_ms
            found = balance(row, region, source, world.watermarks.beats.get((source, region)), now_ms, grace_ms)
            if found is not None:
                yield found

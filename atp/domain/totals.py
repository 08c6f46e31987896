"""What came from each source, as one partition sees it: distinct facts and units by hour, and the numbers they bore.

    every batch    tally = Tally(); tally.take(fact, topic, region, recorded_ms) for each fact that came
                   (admitted, or refused as TOO_OLD or FUTURE; no duplicates); tally.settle(rows) once
    every tick     for each row of a node that is known by now: join it to its region's
                   for key, row in rows: send report(*key, row, partition, now_ms), put the row back where it said any

Rows lie in a table of their own, key (source, region). `arrivals.py` is the region's side. A source numbers its facts
per region over all topics and partitions, so a partition knows some of the numbers only: it tells which, as bitmaps
of blocks, which the region's task joins in any order and however often they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from atp.domain.facts import (
    Damage,
    Fact,
    Receipt,
    Reservation,
    StockAdjusted,
    StockCounted,
    StockMoved,
    StockReturned,
    StockShipped,
)
from atp.domain.partials import Partial, SourceCounted, SourceNumbered
from atp.domain.rows import Rows
from atp.domain.times import HOUR_MS, rfc3339

KEPT_HOURS = 48  # as many as a heartbeat's control totals name
REPORT_MS = 10_000
BLOCK = 1024  # numbers a bitmap holds
HIGHEST_SEQ = 2**62

_UNITS: dict[type, Callable[[Any], int]] = {
    StockCounted: lambda fact: sum(fact.quantities.values()),
    StockAdjusted: lambda fact: fact.delta,
    StockMoved: lambda fact: fact.quantity,
    StockShipped: lambda fact: fact.quantity,
    StockReturned: lambda fact: fact.quantity,
    Reservation: lambda fact: fact.requested,
    Receipt: lambda fact: fact.expected,
    Damage: lambda fact: fact.reported,
}


def units_of(fact: Fact) -> int:
    """Units that a fact carries in its source's control totals, whatever it changes: of a count Σ quantities, of an
    adjustment its delta, of a reservation `requested`, of a receipt `expected`, of a damage `reported`, of every
    other fact its quantity."""
    return _UNITS[type(fact)](fact)


class SourceTotals(msgspec.Struct, array_like=True):
    """A source in a region as one partition has seen it. Numbers are kept until they are reported."""

    hours: dict[int, dict[str, list[int]]] = {}  # hour of recorded_at (ms) → topic → facts, units; the latest 48
    changed: set[int] = set()  # hours that changed since the last report
    blocks: dict[int, bytes] = {}  # block → bitmap of the numbers that came since the last report
    reported_ms: int = 0

    def add(self, hour_ms: int, topic: str, facts: int, units: int) -> None:
        """Count facts of an hour; one that lies further back than is kept counts no more."""
        if self.hours and hour_ms <= max(self.hours) - KEPT_HOURS * HOUR_MS:
            return
        sums = self.hours.setdefault(hour_ms, {}).setdefault(topic, [0, 0])
        sums[0] += facts
        sums[1] += units
        self.changed.add(hour_ms)

    def number(self, numbers: list[int]) -> None:
        """Note the numbers of facts that came."""
        came: dict[int, int] = {}
        for seq in numbers:
            came[seq // BLOCK] = came.get(seq // BLOCK, 0) | 1 << seq % BLOCK
        for block, bits in came.items():
            self._mark(block, bits)

    def _mark(self, block: int, bits: int) -> None:
        self.blocks[block] = bitmap(bits | int.from_bytes(self.blocks.get(block, b""), "little"))

    def join(self, other: SourceTotals) -> None:
        """Add what was counted elsewhere."""
        for hour_ms, topics in other.hours.items():
            for topic, (facts, units) in topics.items():
                self.add(hour_ms, topic, facts, units)
        for block, seen in other.blocks.items():
            self._mark(block, int.from_bytes(seen, "little"))
        self.forget()

    def forget(self) -> None:
        """Let go of hours that no heartbeat names any more."""
        oldest_ms = max(self.hours, default=0) - (KEPT_HOURS - 1) * HOUR_MS
        self.hours = {hour_ms: topics for hour_ms, topics in self.hours.items() if hour_ms >= oldest_ms}
        self.changed &= self.hours.keys()


def bitmap(bits: int) -> bytes:
    """A bitmap as it is kept and sent: least significant bit first, no longer than it needs to be."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


Place = tuple[str, str, str]  # source, region, and the node where no region is known


class Tally:
    """The facts of one batch, summed up before any row is touched."""

    __slots__ = ("_numbers", "_sums")

    def __init__(self) -> None:
        self._sums: dict[Place, dict[tuple[int, str], list[int]]] = {}
        self._numbers: dict[Place, list[int]] = {}

    def take(self, fact: Fact, topic: str, region: str, recorded_ms: int) -> None:
        """Count a fact that came. `region`: of its node, or its own where no node decides; empty if none is known."""
        place = (fact.source, region, "" if region else fact.node or "")
        sums = self._sums.get(place)
        if sums is None:
            sums, self._numbers[place] = self._sums.setdefault(place, {}), []
        hour = (recorded_ms // HOUR_MS, topic)
        found = sums.get(hour)
        if found is None:
            found = sums[hour] = [0, 0]
        found[0] += 1
        found[1] += _UNITS[type(fact)](fact)
        if fact.source_seq is not None and 0 <= fact.source_seq < HIGHEST_SEQ:
            self._numbers[place].append(fact.source_seq)

    def settle(self, rows: Rows[SourceTotals], homeless: Rows[SourceTotals]) -> None:
        """Add what was counted to the rows. `homeless`: by source and node, until the region of the node is known."""
        for place, sums in self._sums.items():
            source, region, node = place
            book, key = (rows, (source, region)) if region else (homeless, (source, node))
            row = book.get(key) or SourceTotals()
            for (hour, topic), (facts, units) in sums.items():
                row.add(hour * HOUR_MS, topic, facts, units)
            row.number(self._numbers[place])
            row.forget()
            book[key] = row


def report(source: str, region: str, row: SourceTotals, partition: int, now_ms: int) -> Iterator[Partial]:
    """What changed since the last report, at most every ten seconds; the row then remembers that it was said."""
    if not (row.changed or row.blocks) or now_ms < row.reported_ms + REPORT_MS:
        return
    for hour_ms in sorted(row.changed):
        for topic, (facts, units) in sorted(row.hours[hour_ms].items()):
            yield SourceCounted(
                source=source,
                region=region,
                topic=topic,
                hour=rfc3339(hour_ms),
                partition=partition,
                facts=facts,
                units=units,
            )
    for block, seen in sorted(row.blocks.items()):
        yield SourceNumbered(source=source, region=region, partition=partition, first_seq=block * BLOCK, seen=seen)
    row.changed, row.blocks, row.reported_ms = set(), {}, now_ms

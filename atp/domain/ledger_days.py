"""The business dates of a SKU in its regions: movements by class, closings, units settled with suppliers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from atp.domain.ledger_book import (
    CLASSES,
    COUNT_CORRECTIONS,
    DAMAGES,
    RECEIPTS,
    RETURNS,
    WRITE_OFFS,
    Book,
    Change,
    Posting,
)
from atp.domain.stock import SELLABLE

if TYPE_CHECKING:
    from atp.domain.daily_ledger import Rules

PLACES = ("sellable", "on_hand")
FIGURES = 2 * len(CLASSES)  # sellable and on hand of every class, in the order of CLASSES


class Entry(msgspec.Struct, array_like=True, gc=False):
    """What happened to a SKU on a business date of a region; dates on which nothing happened have none.

    `movements`: sellable and on hand of each class in turn. `reserved, promised`: the change since the date before.
    `closing_…`: at the date's midnight.
    """

    region: str
    ordinal: int
    movements: list[int]
    closing_sellable: int = 0
    closing_on_hand: int = 0
    reserved: int = 0
    promised: int = 0
    difference: int = 0  # closing_sellable − what the facts recorded by midnight said


class Settled(msgspec.Struct, gc=False):
    """Units that came from a supplier, or went back to return hold, on a business date."""

    region: str
    ordinal: int
    supplier: str
    received: int
    returned: int


class Days:
    """Entries by (region, date)."""

    def __init__(self, rules: Rules, settled: Iterable[Entry] = ()) -> None:
        self._rules = rules
        self._found: dict[tuple[str, int], Entry] = {}
        for entry in settled:  # each a copy: what is settled stays as it is
            movements = list(entry.movements)
            self._found[entry.region, entry.ordinal] = msgspec.structs.replace(entry, movements=movements)
        self._supplier = ""  # of the latest receipt
        self.settled: dict[tuple[str, int, str], Settled] = {}

    def entry(self, region: str, ordinal: int) -> Entry:
        """The entry of a date."""
        found = self._found.get((region, ordinal))
        if found is None:
            found = self._found[region, ordinal] = Entry(region, ordinal, [0] * FIGURES)
        return found

    def book(self, posting: Posting, change: Change, book: Book) -> None:
        """Book what a fact did at a node on its date."""
        region = self._rules.region_of(change.node)
        if region is None:
            return
        ordinal = self._rules.calendar_of(region).day(posting.time_ms).ordinal
        entry, movements = self.entry(region, ordinal), [0] * FIGURES
        _say(movements, posting.movement, change.said)
        for state, units in enumerate(change.corrected):
            if units:
                at = 2 * book.corrected_by.get((change.node, state), COUNT_CORRECTIONS)
                movements[at + 1] += units
                movements[at] += units if state == SELLABLE else 0
        for at, units in enumerate(movements):
            entry.movements[at] += units
        self._settle(region, ordinal, posting, movements)

    def _settle(self, region: str, ordinal: int, posting: Posting, movements: list[int]) -> None:
        received, returned = movements[2 * RECEIPTS + 1], movements[2 * RETURNS + 1]
        document = posting.document
        if document is not None and document.supplier:
            self._supplier = document.supplier
        if received or returned:
            supplier = document.supplier if document is not None else self._supplier
            key = (region, ordinal, supplier)
            sums = self.settled.setdefault(key, Settled(region, ordinal, supplier, 0, 0))
            sums.received += received
            sums.returned += returned

    def touch(self, timely: Iterable[Posting], late: Iterable[Posting]) -> None:
        """A fact gives its SKU a row in its region, if only of zeros; one too late only from when it came."""
        for posting in timely:
            self._touch(posting.node, min(posting.time_ms, posting.recorded_ms))
        for posting in late:
            self._touch(posting.node, posting.recorded_ms)

    def _touch(self, node: str, at_ms: int) -> None:
        region = self._rules.region_of(node)
        if region is not None:
            self.entry(region, self._rules.calendar_of(region).day(at_ms).ordinal)

    def ordered(self) -> list[Entry]:
        """All entries by region and date; one on which no stock was booked closes as the one before it."""
        found = [self._found[key] for key in sorted(self._found)]
        region, sellable, on_hand = "", 0, 0
        for entry in found:
            if entry.region != region:
                region, sellable, on_hand = entry.region, 0, 0
            sellable += sum(entry.movements[0::2])
            on_hand += sum(entry.movements[1::2])
            entry.closing_sellable, entry.closing_on_hand = sellable, on_hand
        return found


def _say(movements: list[int], movement: int, said: list[int]) -> None:
    """What a fact says, by class. Of a damage document, what leaves the house is a write-off."""
    sellable, on_hand = said[SELLABLE], sum(said)
    if movement == DAMAGES:
        movements[2 * WRITE_OFFS + 1] += on_hand
        on_hand = 0
    movements[2 * movement] += sellable
    movements[2 * movement + 1] += on_hand

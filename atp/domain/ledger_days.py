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
RECEIVED, RETURNED = 2 * RECEIPTS + 1, 2 * RETURNS + 1  # on hand


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
        self._found: dict[tuple[str, int], Entry] = {(entry.region, entry.ordinal): entry for entry in settled}
        self._settled = set(self._found)  # stay as they are: one that is to be changed is copied before
        self._supplier = ""  # of the latest receipt
        self.settled: dict[tuple[str, int, str], Settled] = {}

    def entry(self, region: str, ordinal: int) -> Entry:
        """The entry of a date."""
        key = (region, ordinal)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Entry(region, ordinal, [0] * FIGURES)
        elif key in self._settled:
            self._settled.remove(key)
            found = self._found[key] = msgspec.structs.replace(found, movements=list(found.movements))
        return found

    def take(self, posting: Posting, book: Book) -> None:
        """Book a fact in the book, and what it did on its date."""
        plain = book.plain(posting)
        if plain is None:
            for change in book.post(posting):
                self._book(posting, change, book)
        else:
            self._add(posting, *plain)

    def _add(self, posting: Posting, sellable: int, on_hand: int) -> None:
        region, movement = self._rules.region_of(posting.node), posting.movement
        if region is None:
            return
        ordinal = self._rules.calendar_of(region).day(posting.time_ms).ordinal
        movements = self.entry(region, ordinal).movements
        movements[2 * movement] += sellable
        movements[2 * movement + 1] += on_hand
        if movement == RETURNS:
            self._settle(region, ordinal, posting, 0, on_hand)

    def _book(self, posting: Posting, change: Change, book: Book) -> None:
        """Book what a fact did at a node on its date."""
        region = self._rules.region_of(change.node)
        if region is None:
            return
        ordinal = self._rules.calendar_of(region).day(posting.time_ms).ordinal
        movements = self.entry(region, ordinal).movements
        received, returned = movements[RECEIVED], movements[RETURNED]
        _say(movements, posting.movement, change.said)
        for state, units in enumerate(change.corrected):
            if units:
                at = 2 * book.corrected_by.get((change.node, state), COUNT_CORRECTIONS)
                movements[at + 1] += units
                movements[at] += units if state == SELLABLE else 0
        self._settle(region, ordinal, posting, movements[RECEIVED] - received, movements[RETURNED] - returned)

    def _settle(self, region: str, ordinal: int, posting: Posting, received: int, returned: int) -> None:
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
            ordinal = self._rules.calendar_of(region).day(at_ms).ordinal
            if (region, ordinal) not in self._found:
                self.entry(region, ordinal)

    def ordered(self) -> list[Entry]:
        """All entries by region and date; one on which no stock was booked closes as the one before it."""
        keys = sorted(self._found)
        region, sellable, on_hand, untouched = "", 0, 0, True
        for key in keys:
            entry = self._found[key]
            if entry.region != region:
                region, sellable, on_hand, untouched = entry.region, 0, 0, True
            untouched = untouched and key in self._settled
            if untouched:
                sellable, on_hand = entry.closing_sellable, entry.closing_on_hand
                continue
            sellable += sum(entry.movements[0::2])
            on_hand += sum(entry.movements[1::2])
            if (entry.closing_sellable, entry.closing_on_hand) != (sellable, on_hand):
                entry = self.entry(region, entry.ordinal)
                entry.closing_sellable, entry.closing_on_hand = sellable, on_hand
        return [self._found[key] for key in keys]


def _say(movements: list[int], movement: int, said: list[int]) -> None:
    """What a fact says, by class. Of a damage document, what leaves the house is a write-off."""
    sellable, on_hand = said[SELLABLE], sum(said)
    if movement == DAMAGES:
        movements[2 * WRITE_OFFS + 1] += on_hand
        on_hand = 0
    movements[2 * movement] += sellable
    movements[2 * movement + 1] += on_hand

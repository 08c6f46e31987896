"""The daily ledger of one SKU: business dates per region with movements, closings and their difference to operations.

Financial truth of a date is the stock of all facts dated before its midnight and recorded by the close. It is
reached by booking the facts in the order of their own times: what a fact says goes to its class; what it changes
beyond that, a count or a fact that a count had already seen, goes to the corrections. So opening + Σ movements is
the closing, and the closing is what a fold of the same facts says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date

import msgspec

from atp.domain.facts import Identity, Sku
from atp.domain.intake import Horizons
from atp.domain.ledger_book import (
    CLASSES,
    COUNT_CORRECTIONS,
    DAMAGES,
    RECEIPTS,
    RETURNS,
    WRITE_OFFS,
    Book,
    Change,
    DocumentVersion,
    Posting,
)
from atp.domain.ledger_close import Status
from atp.domain.ledger_demand import DemandVersion, demand_changes
from atp.domain.ledger_difference import Checkpoint, Line, checkpoints, play
from atp.domain.stock import SELLABLE
from atp.domain.times import Calendar

PLACES = ("sellable", "on_hand")
FIGURES = 2 * len(CLASSES)  # sellable and on hand of every class, in the order of CLASSES


# A row of `atp.ledger.daily.v1`: the columns of a closed revision, units signed.
LedgerRow = msgspec.defstruct(
    "LedgerRow",
    [
        ("schema_version", str),
        ("business_date", date),
        ("region", Identity),
        ("sku", Sku),
        ("revision", int),
        ("status", Status),
        *((f"opening_{place}", int) for place in PLACES),
        *((f"{name}_{place}", int) for name in CLASSES for place in PLACES),
        *((f"closing_{place}", int) for place in PLACES),
        ("reserved_close", int),
        ("promised_close", int),
        ("operational_closing_sellable", int),
        ("difference_explained", int),
    ],
    kw_only=True,
)


class Entry(msgspec.Struct, gc=False):
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


class SkuLedger(msgspec.Struct):
    """The ledger of one SKU."""

    sku: str
    entries: list[Entry]
    lines: list[Line]  # what explains the differences
    settled: list[Settled]
    late: list[Posting]  # facts that came after the correction window of their date


class Rules(msgspec.Struct):
    """What the ledger asks of the world.

    `is_late(region, time_ms, recorded_ms)`: whether the date of a fact took no more facts when it was recorded.
    `first_open(region, recorded_ms)`: an instant of the first date that still did. `until_ms`: the last
    midnight asked for.
    """

    horizons: Horizons
    region_of: Callable[[str], str | None]
    calendar_of: Callable[[str], Calendar]
    is_late: Callable[[str, int, int], bool]
    first_open: Callable[[str, int], int]
    until_ms: int


class Facts(msgspec.Struct):
    """The admitted facts of one SKU as the ledger needs them."""

    sku: str
    postings: list[Posting] = []
    demand: dict[str, list[DemandVersion]] = {}  # by reservation line


def reckon(facts: Facts, rules: Rules) -> SkuLedger:
    """The ledger of a SKU by all its facts that are known."""
    timely, late = _parted(facts.postings, rules)
    days = _Days(rules)
    marks = checkpoints(timely, late, rules)
    _book(facts.sku, timely, days, marks, rules)
    if marks:
        play(facts.sku, facts.postings, marks, rules)
    lines = []
    for mark in marks:
        days.entry(mark.region, mark.ordinal).difference = mark.difference
        lines += mark.lines()
    for region, ordinal, reserved, promised in demand_changes(facts.demand, rules):
        entry = days.entry(region, ordinal)
        entry.reserved += reserved
        entry.promised += promised
    days.touch(timely, late)
    return SkuLedger(facts.sku, days.ordered(), lines, list(days.settled.values()), late)


def _parted(postings: Iterable[Posting], rules: Rules) -> tuple[list[Posting], list[Posting]]:
    """Facts in order of their times; those that came too late for their date stand apart."""
    timely, late = [], []
    for posting in sorted(postings, key=_order):
        region = rules.region_of(posting.node)
        if region is not None and rules.is_late(region, posting.time_ms, posting.recorded_ms):
            late.append(posting)
        else:
            timely.append(posting)
    return timely, late


def _order(posting: Posting) -> tuple[int, int, str]:
    return posting.order


class _Days:
    """Entries by (region, date)."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._found: dict[tuple[str, int], Entry] = {}
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
        if isinstance(posting.act, DocumentVersion) and posting.act.supplier:
            self._supplier = posting.act.supplier
        if received or returned:
            supplier = posting.act.supplier if isinstance(posting.act, DocumentVersion) else self._supplier
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


def _book(sku: str, timely: Iterable[Posting], days: _Days, marks: Sequence[Checkpoint], rules: Rules) -> None:
    """Book all facts in order, past every midnight at which operations knew other facts."""
    book, at = Book(sku, rules.horizons), 0
    for posting in timely:
        while at < len(marks) and marks[at].end_ms <= posting.time_ms:
            marks[at].financial(book)
            at += 1
        for change in book.post(posting):
            days.book(posting, change, book)
    for mark in marks[at:]:
        mark.financial(book)

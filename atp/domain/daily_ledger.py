"""The daily ledger of one SKU: business dates with movements, closings and their difference to operations.

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
from atp.domain.ledger_account import FINANCE, OPERATIONS, Opening
from atp.domain.ledger_book import CLASSES, ORDER, Book, Posting
from atp.domain.ledger_close import Status
from atp.domain.ledger_days import PLACES, Days, Entry, Settled
from atp.domain.ledger_demand import DemandVersion, demand_changes
from atp.domain.ledger_difference import Checkpoint, Line, checkpoints, play
from atp.domain.times import Calendar

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
)


class SkuLedger(msgspec.Struct):
    """The ledger of one SKU."""

    sku: str
    entries: list[Entry]
    lines: list[Line]  # what explains the differences
    settled: list[Settled]
    timely: list[Posting]  # facts that are booked, in the order of their times
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


def reckon(facts: Facts, rules: Rules, opening: Opening | None = None) -> SkuLedger:
    """The ledger of a SKU by all its facts that are known, or by those that are not settled, and what is."""
    opening = opening or Opening.none(facts.sku, rules.horizons)
    settled_ms = opening.account.settled_ms
    timely, late = parted(facts.postings, rules)
    days = Days(rules, opening.account.entries)
    marks = [mark for mark in checkpoints(timely, late, rules) if mark.end_ms > settled_ms]
    _book([p for p in timely if p.time_ms >= settled_ms], opening.book(FINANCE), days, marks)
    if marks:
        known = [posting for posting in facts.postings if posting.recorded_ms >= settled_ms]
        play(known, opening.book(OPERATIONS), marks)
    lines = []
    for mark in marks:
        days.entry(mark.region, mark.ordinal).difference = mark.difference
        lines += mark.lines()
    for region, ordinal, reserved, promised in demand_changes(facts.demand, rules):
        entry = days.entry(region, ordinal)
        entry.reserved += reserved
        entry.promised += promised
    # one that was booked on the date it was recorded on has its row
    days.touch((p for p in timely if p.time_ms < settled_ms or p.document or p.recorded_ms < p.time_ms), late)
    return SkuLedger(facts.sku, days.ordered(), lines, list(days.settled.values()), timely, late)


def parted(postings: Iterable[Posting], rules: Rules) -> tuple[list[Posting], list[Posting]]:
    """Facts in order of their times; those that came too late for their date stand apart."""
    timely, late = [], []
    for posting in sorted(postings, key=ORDER):
        region = rules.region_of(posting.node)
        if region is not None and rules.is_late(region, posting.time_ms, posting.recorded_ms):
            late.append(posting)
        else:
            timely.append(posting)
    return timely, late


def _book(timely: Iterable[Posting], book: Book, days: Days, marks: Sequence[Checkpoint]) -> None:
    """Book all facts in order, past every midnight at which operations knew other facts."""
    at = 0
    for posting in timely:
        while at < len(marks) and marks[at].end_ms <= posting.time_ms:
            marks[at].financial(book)
            at += 1
        days.take(posting, book)
    for mark in marks[at:]:
        mark.financial(book)

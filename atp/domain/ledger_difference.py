"""Operational against financial truth at a midnight, explained fact by fact.

Operational truth is what the facts recorded by midnight said; financial truth is what the facts dated before it say.
A count may swallow a fact, so single facts cannot be summed on their own: late facts are played onto the operational
stock, facts ahead of their time and pending exceptions onto the financial one, and both arrive at the same stock of
all of them. Each step is a line; together they are the difference, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from atp.domain.ledger_book import ARRIVAL, RECONCILIATION_CORRECTIONS, Book, Posting

if TYPE_CHECKING:
    from atp.domain.daily_ledger import Rules


class Cause(StrEnum):
    """Why operations and finance differ. Units are what finance has more than operations."""

    LATE_FACT = "LATE_FACT"  # dated before midnight, recorded after it
    CORRECTION = "CORRECTION"  # the same, posted by a reconciliation
    AHEAD = "AHEAD"  # recorded before midnight, dated after it: a clock that runs ahead
    PENDING_EXCEPTION = "PENDING_EXCEPTION"  # came after its date took no more facts; nobody has settled it yet
    ORDER = "ORDER"  # depends on the order of arrival, beyond the journal's horizon


class Line(msgspec.Struct, gc=False):
    """Units of sellable by which a fact makes the closing differ from what operations knew."""

    region: str
    ordinal: int
    cause: Cause
    event_id: str
    units: int


class Checkpoint:
    """A midnight of a region at which the two sets of facts are not the same."""

    def __init__(self, region: str, ordinal: int, end_ms: int, nodes: set[str]) -> None:
        self.region, self.ordinal, self.end_ms, self.nodes = region, ordinal, end_ms, nodes
        self.late: list[Posting] = []
        self.ahead: list[tuple[Posting, Cause]] = []
        self.difference = 0
        self._missing: list[Line] = []

    def financial(self, book: Book) -> None:
        """Take the financial stock, and what operations knew beyond it."""
        self.difference = book.sellable(self.nodes)
        onward = book.overlay()
        for posting, cause in sorted(self.ahead, key=lambda known: ARRIVAL(known[0])):
            self._line(cause, posting, -self._step(onward, posting))

    def operational(self, book: Book) -> None:
        """Take the operational stock, and what came after midnight."""
        self.difference -= book.sellable(self.nodes)
        onward = book.overlay()
        for posting in sorted(self.late, key=ARRIVAL):
            corrected = posting.movement == RECONCILIATION_CORRECTIONS
            cause = Cause.CORRECTION if corrected else Cause.LATE_FACT
            self._line(cause, posting, self._step(onward, posting))

    def lines(self) -> list[Line]:
        """What explains the difference, summing to it."""
        rest = self.difference - sum(line.units for line in self._missing)
        if rest:
            self._missing.append(Line(self.region, self.ordinal, Cause.ORDER, "", rest))
        return self._missing

    def _step(self, book: Book, posting: Posting) -> int:
        before = book.sellable(self.nodes)
        book.take(posting)
        return book.sellable(self.nodes) - before

    def _line(self, cause: Cause, posting: Posting, units: int) -> None:
        if units:
            self._missing.append(Line(self.region, self.ordinal, cause, posting.event_id, units))


def checkpoints(timely: Sequence[Posting], excluded: Sequence[Posting], rules: Rules) -> list[Checkpoint]:
    """Every midnight at which operations knew other facts than finance books, in order."""
    crossing = [posting for posting in timely if _may_cross(posting, rules)]
    if not crossing and not excluded:
        return []
    nodes = _nodes_by_region(timely, excluded, rules)
    found: dict[tuple[str, int], Checkpoint] = {}

    def at(region: str, ordinal: int, end_ms: int) -> Checkpoint:
        mark = found.get((region, ordinal))
        if mark is None:
            mark = found[region, ordinal] = Checkpoint(region, ordinal, end_ms, nodes[region])
        return mark

    reach = _reach(timely, excluded)
    for posting in crossing:
        for region in _regions(posting, reach, rules):
            for ordinal, end_ms in _midnights(region, posting.time_ms, posting.recorded_ms, rules):
                at(region, ordinal, end_ms).late.append(posting)
            for ordinal, end_ms in _midnights(region, posting.recorded_ms, posting.time_ms, rules):
                at(region, ordinal, end_ms).ahead.append((posting, Cause.AHEAD))
    for posting in excluded:
        for region in _regions(posting, reach, rules):
            for ordinal, end_ms in _midnights(region, posting.recorded_ms, rules.until_ms, rules):
                at(region, ordinal, end_ms).ahead.append((posting, Cause.PENDING_EXCEPTION))
    return sorted(found.values(), key=lambda mark: mark.end_ms)


def _may_cross(posting: Posting, rules: Rules) -> bool:
    """Whether a midnight may lie between a fact and its recording; of a document, in any of its regions."""
    first_ms, last_ms = posting.time_ms, posting.recorded_ms
    if first_ms > last_ms:
        first_ms, last_ms = last_ms, first_ms
    if posting.document is not None or first_ms == last_ms:
        return first_ms != last_ms
    region = rules.region_of(posting.node)
    return region is not None and rules.calendar_of(region).day(first_ms).end_ms <= last_ms


def play(postings: Iterable[Posting], book: Book, marks: Sequence[Checkpoint]) -> None:
    """Play all facts in the order in which they were recorded, past every midnight that asks for it."""
    at = 0
    for posting in sorted(postings, key=ARRIVAL):
        if at == len(marks):
            return
        while at < len(marks) and marks[at].end_ms <= posting.recorded_ms:
            marks[at].operational(book)
            at += 1
        book.take(posting)
    for mark in marks[at:]:
        mark.operational(book)


def _midnights(region: str, first_ms: int, last_ms: int, rules: Rules) -> Iterator[tuple[int, int]]:
    """The midnights after one instant, up to and with the other: (date that ends there, ms)."""
    day = rules.calendar_of(region).day
    found = day(first_ms)
    while found.end_ms <= last_ms:
        yield found.ordinal, found.end_ms
        found = day(found.end_ms)


def _reach(*groups: Iterable[Posting]) -> dict[str, set[str]]:
    """By document: every node that its versions name; a redirected line changes stock at all of them."""
    found: dict[str, set[str]] = {}
    for postings in groups:
        for posting in postings:
            if posting.document is not None:
                found.setdefault(posting.document.name, set()).add(posting.node)
    return found


def _regions(posting: Posting, reach: dict[str, set[str]], rules: Rules) -> set[str]:
    document = posting.document
    nodes = {posting.node} if document is None else reach[document.name]
    return {region for region in map(rules.region_of, nodes) if region is not None}


def _nodes_by_region(timely: Iterable[Posting], excluded: Iterable[Posting], rules: Rules) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for postings in (timely, excluded):
        for posting in postings:
            region = rules.region_of(posting.node)
            if region is not None:
                found.setdefault(region, set()).add(posting.node)
    return found

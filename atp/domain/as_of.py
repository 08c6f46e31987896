"""Our state at an earlier instant, from the journals: what a snapshot of that instant is compared with.

An effect within ±`ambiguity_ms` of the instant cannot be placed, so a quantity is a range: both outcomes are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from atp.domain.facts import LineState
from atp.domain.journal import Entry, Journal
from atp.domain.reservations import Line, LineVersion
from atp.domain.stock import SELLABLE, STATES, NodeStock, StockRows, is_placed


class Range(NamedTuple):
    """What a quantity may have been, both ends included."""

    low: int
    high: int

    def drift(self, truth: int) -> int:
        """Ours − truth for the outcome that lies nearest to the truth."""
        return self.low - truth if truth < self.low else self.high - truth if truth > self.high else 0


def stock_at(
    sku: str, name: str, states: Iterable[int], rows: StockRows, as_of_ms: int, ambiguity_ms: int
) -> dict[int, Range | None]:
    """Quantity of some states of a (SKU, node) at `as_of`; None where a later count hides what was before it."""
    node = rows.nodes.get((sku, name))
    if node is None:
        return dict.fromkeys(states, Range(0, 0))
    journal = Journal((sku, name), node.tail, rows.indexes, rows.chunks, node.sealed)
    later, doubted = _since(node, journal, as_of_ms, ambiguity_ms)
    return {
        state: _quantity(node, state, as_of_ms, ambiguity_ms, later[state], doubted[state], journal)
        for state in states
    }


def _since(
    node: NodeStock, journal: Journal, as_of_ms: int, ambiguity_ms: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Per state: what was placed after the instant, in doubt or not, and the doubt's two extremes."""
    later, doubted = [0] * len(STATES), [(0, 0)] * len(STATES)
    start_ms, sure_ms = as_of_ms - ambiguity_ms, as_of_ms + ambiguity_ms
    for span in journal.spans():
        if span.first_ms > max(sure_ms, node.clear_ms):
            later = [had + added for had, added in zip(later, span.sums, strict=True)]
        elif span.last_ms >= start_ms:
            for entry in journal.entries_of(span):
                _add(node, entry, start_ms, sure_ms, ambiguity_ms, later, doubted)
    for entry in journal.tail:
        _add(node, entry, start_ms, sure_ms, ambiguity_ms, later, doubted)
    return later, doubted


def _add(
    node: NodeStock, entry: Entry, start_ms: int, sure_ms: int, ambiguity_ms: int,
    later: list[int], doubted: list[tuple[int, int]],
) -> None:  # fmt: skip
    time_ms, _, legs = entry
    if time_ms < start_ms:
        return
    placed = is_placed(node, entry, ambiguity_ms)
    for at in range(0, len(legs), 2):
        state, delta = legs[at], legs[at + 1]
        if placed[at // 2]:
            later[state] += delta
        if time_ms <= sure_ms:
            low, high = doubted[state]
            doubted[state] = (low + min(0, delta), high + max(0, delta))


def _quantity(
    node: NodeStock,
    state: int,
    as_of_ms: int,
    ambiguity_ms: int,
    later: int,
    doubted: tuple[int, int],
    journal: Journal,
) -> Range | None:
    baseline = node.baselines[state]
    if baseline is None or baseline[0] <= as_of_ms:
        known: int | None = node.on_hand[state] - later
    else:
        known = _before_counts(node, state, as_of_ms, ambiguity_ms, journal)
    return None if known is None else Range(known + doubted[0], known + doubted[1])


def _before_counts(node: NodeStock, state: int, as_of_ms: int, ambiguity_ms: int, journal: Journal) -> int | None:
    """Sellable before a count: what the first count after the instant should have found, less what lay between."""
    if state != SELLABLE:
        return None
    following = next((count for count in node.counts if count.order[0] > as_of_ms), None)
    if following is None:
        return None
    between = sum(
        legs[at + 1]
        for _, _, legs in journal.between(as_of_ms - ambiguity_ms, following.order[0])
        for at in range(0, len(legs), 2)
        if legs[at] == SELLABLE
    )
    return following.expected - between


def line_at(line: Line, as_of_ms: int) -> LineVersion | None:
    """The highest version of a reservation line that was known to be true at `as_of`."""
    found = None
    for version in line.versions:
        if version.time_ms <= as_of_ms:
            found = version
    return found


def open_at(version: LineVersion | None, region: str, as_of_ms: int) -> int:
    """Open units of a line's version in a region at an instant; a SOFT line past its expiry counts nothing."""
    if (
        version is None
        or version.region != region
        or (version.state is LineState.SOFT and version.expires_ms <= as_of_ms)
    ):
        return 0
    return version.open


def open_range(line: Line, region: str, as_of_ms: int, ambiguity_ms: int) -> Range:
    """Open units of a line in a region at an instant, whichever of the versions close to it had already happened."""
    first_ms, last_ms = as_of_ms - ambiguity_ms, as_of_ms + ambiguity_ms
    instants = {first_ms, last_ms, *(v.time_ms for v in line.versions if first_ms < v.time_ms < last_ms)}
    found = [open_at(line_at(line, at_ms), region, at_ms) for at_ms in instants]
    return Range(min(found), max(found))

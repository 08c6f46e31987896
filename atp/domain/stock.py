"""Stock of a (SKU, node): counts are baselines, effects are placed before or after them.

Quantity of a state = latest count of it + every effect dated after that count, whatever arrived when.
States are never clamped: a negative quantity is kept and flagged where it is published.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from atp.domain.facts import (
    StockAdjusted,
    StockCounted,
    StockMoved,
    StockReturned,
    StockShipped,
    StockState,
)
from atp.domain.intake import Admitted, Horizons
from atp.domain.journal import TAIL_ENTRIES, Chunk, Entry, Journal, JournalIndex
from atp.domain.rows import Rows
from atp.domain.times import FOREVER_MS

STATES = tuple(StockState)
INDEX = {state: at for at, state in enumerate(STATES)}
SELLABLE = INDEX[StockState.SELLABLE]
RECEIVING = INDEX[StockState.RECEIVING]
QC_HOLD = INDEX[StockState.QC_HOLD]
RETURN_HOLD = INDEX[StockState.RETURN_HOLD]
NEVER_MS = -FOREVER_MS
ALL_STATES = frozenset(range(len(STATES)))

# A fact's place in the order: its time, when it was recorded, its event_id.
Order = tuple[int, int, str]


class StockEffect(msgspec.Struct, gc=False):
    """A change of a node's stock at its own time. `replaces`: the document version's earlier share is undone."""

    sku: str
    node: str
    time_ms: int
    legs: tuple[int, ...]
    stream_ms: int
    tag: int = 0
    replaces: bool = False


class StockCount(msgspec.Struct, gc=False):
    """An absolute count of some states of a node."""

    sku: str
    node: str
    order: Order
    counted: dict[int, int]
    stream_ms: int


class SellableCount(msgspec.Struct, array_like=True, gc=False):
    """A count of sellable: its place in the order, what it found, and what the other facts said it would find."""

    order: Order
    counted: int
    expected: int


class NodeStock(msgspec.Struct, array_like=True):
    """State of a (SKU, node)."""

    on_hand: list[int]
    # per state, the latest count's place in the order of facts, or None
    baselines: list[Order | None]
    doubt_units: int = 0  # units of effects too close to a baseline to be placed
    counts: list[SellableCount] = []  # of sellable, in order: those of the window and the one before
    tail: list[Entry] = []
    clear_ms: int = NEVER_MS  # after this instant every effect is after, and clear of, every baseline
    sealed: bool = True  # whether the journal may have chunks; of a row from before this was kept nobody knows

    @staticmethod
    def empty() -> NodeStock:
        """Nothing on hand, nothing ever counted."""
        return NodeStock([0] * len(STATES), [None] * len(STATES), sealed=False)

    def sellable_as_of_ms(self) -> int:
        """`as_of` of the latest count of sellable, or a time before all times."""
        baseline = self.baselines[SELLABLE]
        return NEVER_MS if baseline is None else baseline[0]


class StockRows(msgspec.Struct):
    """The tables in which stock is kept."""

    nodes: Rows[NodeStock]
    indexes: Rows[JournalIndex]
    chunks: Rows[Chunk]


def effect_of(item: Admitted | StockEffect) -> StockEffect | StockCount:
    """What an admitted stock fact does; what a document does already is an effect."""
    if isinstance(item, StockEffect):
        return item
    admitted, fact = item, item.fact
    match fact:
        case StockCounted():
            order = (admitted.time_ms, admitted.recorded_ms, fact.event_id)
            counted = {INDEX[state]: quantity for state, quantity in fact.quantities.items()}
            return StockCount(fact.sku, fact.node, order, counted, admitted.stream_ms)
        case StockShipped():
            legs: tuple[int, ...] = (SELLABLE, -fact.quantity)
        case StockReturned():
            legs = (RETURN_HOLD, fact.quantity)
        case StockAdjusted():
            legs = (INDEX[fact.state], fact.delta)
        case StockMoved():
            legs = (INDEX[fact.from_state], -fact.quantity, INDEX[fact.to_state], fact.quantity)
        case _:
            raise AssertionError(f"no stock fact: {type(fact).__name__}")
    assert fact.node is not None
    return StockEffect(fact.sku, fact.node, admitted.time_ms, legs, admitted.stream_ms)


class Note(StrEnum):
    """What became of a fact that changed less than it says. Neither is an error."""

    SUPERSEDED = "SUPERSEDED"  # an effect that a count had already seen
    STALE_SYNC = "STALE_SYNC"  # a count older than the baseline of every state it names


def apply(effect: StockEffect | StockCount, rows: StockRows, horizons: Horizons) -> Note | None:
    """Place an effect or a count in the state of its node."""
    key = (effect.sku, effect.node)
    node = rows.nodes.get(key) or NodeStock.empty()
    journal = Journal(key, node.tail, rows.indexes, rows.chunks, node.sealed)
    if isinstance(effect, StockCount):
        note = _count(node, journal, effect, horizons)
    else:
        note = _effect(node, journal, effect, horizons)
    rows.nodes[key] = node
    return note


def _effect(node: NodeStock, journal: Journal, effect: StockEffect, horizons: Horizons) -> Note | None:
    ambiguity_ms = horizons.ambiguity_ms
    if effect.replaces:
        old = journal.take(effect.time_ms, effect.tag, len(STATES))
        if old is not None:
            _place(node, old, ambiguity_ms, -1)
    if not effect.legs:
        return None
    entry = (effect.time_ms, effect.tag, effect.legs)
    placed = _place(node, entry, ambiguity_ms, +1)
    journal.tail.append(entry)
    if len(journal.tail) >= TAIL_ENTRIES:
        journal.seal(len(STATES))
        node.sealed = True
        _prune(node, journal, effect.stream_ms - horizons.journal_ms, ambiguity_ms)
    return None if placed else Note.SUPERSEDED


def _place(node: NodeStock, entry: Entry, ambiguity_ms: int, sign: int) -> bool:
    """Add an entry to (or, with sign −1, take it out of) the quantities it belongs to."""
    time_ms, _, legs = entry
    if time_ms > node.clear_ms:
        for at in range(0, len(legs), 2):
            node.on_hand[legs[at]] += sign * legs[at + 1]
        return True
    if node.counts and time_ms <= node.counts[-1].order[0]:
        _expect(node.counts, entry, ambiguity_ms, sign)
    return _place_legs(node, entry, ambiguity_ms, sign, ALL_STATES)


def _place_legs(node: NodeStock, entry: Entry, ambiguity_ms: int, sign: int, states: frozenset[int]) -> bool:
    """Place each leg by the baseline of its own state; whether any leg was placed."""
    time_ms, _, legs = entry
    doubted, choice = _doubt(node.baselines, entry, ambiguity_ms)
    node.doubt_units += sign * doubted
    placed = False
    for at in range(0, len(legs), 2):
        state = legs[at]
        if state in states and _is_after(node.baselines[state], time_ms, ambiguity_ms, choice):
            node.on_hand[state] += sign * legs[at + 1]
            placed = True
    return placed


def _is_after(baseline: Order | None, time_ms: int, ambiguity_ms: int, choice: bool | None) -> bool:
    if baseline is None:
        return True
    distance_ms = time_ms - baseline[0]
    if choice is not None and -ambiguity_ms <= distance_ms <= ambiguity_ms:
        return choice
    return distance_ms > 0


def _doubt(baselines: list[Order | None], entry: Entry, ambiguity_ms: int) -> tuple[int, bool | None]:
    """Units of an entry that cannot be placed, and whether they are taken as after the count.

    Sellable takes the lower outcome and the paired leg follows, so that no unit is counted on both sides;
    without a sellable leg in doubt the order of times stands (None).
    """
    time_ms, _, legs = entry
    units, choice = 0, None
    for at in range(0, len(legs), 2):
        baseline = baselines[legs[at]]
        if baseline is not None and -ambiguity_ms <= time_ms - baseline[0] <= ambiguity_ms:
            units = max(units, abs(legs[at + 1]))
            if legs[at] == SELLABLE:
                choice = legs[at + 1] < 0
    return units, choice


def _sellable_delta(entry: Entry) -> int:
    legs = entry[2]
    return sum(legs[at + 1] for at in range(0, len(legs), 2) if legs[at] == SELLABLE)


def _after(order: Order | None, time_ms: int, delta: int, ambiguity_ms: int) -> bool:
    """Whether a change of sellable is placed after a count."""
    if order is None or time_ms > order[0] + ambiguity_ms:
        return True
    return time_ms >= order[0] - ambiguity_ms and delta < 0


def _expect(counts: list[SellableCount], entry: Entry, ambiguity_ms: int, sign: int) -> None:
    """A late effect changes what the counts after it should have found."""
    delta = _sellable_delta(entry)
    if delta == 0:
        return
    before = None
    for count in counts:
        if entry[0] <= count.order[0] and _after(before, entry[0], delta, ambiguity_ms):
            count.expected += sign * delta
        before = count.order


def _count(node: NodeStock, journal: Journal, count: StockCount, horizons: Horizons) -> Note | None:
    if SELLABLE in count.counted:
        _insert_count(node, journal, count, horizons)
    newer = frozenset(s for s in count.counted if (b := node.baselines[s]) is None or count.order > b)
    if not newer:
        return Note.STALE_SYNC
    _rebase(node, journal, count, newer, horizons.ambiguity_ms)
    return None


def _insert_count(node: NodeStock, journal: Journal, count: StockCount, horizons: Horizons) -> None:
    """Put a count of sellable in its place; its drift and that of the count after it are reckoned anew."""
    counts, order, ambiguity_ms = node.counts, count.order, horizons.ambiguity_ms
    at = sum(other.order < order for other in counts)
    before = counts[at - 1].order if at else None
    following = counts[at] if at < len(counts) else None
    last_ms = following.order[0] if following else FOREVER_MS
    expected = following.expected if following else node.on_hand[SELLABLE]
    onward = count.counted[SELLABLE]
    for entry in journal.between(order[0] - ambiguity_ms, last_ms):
        delta = _sellable_delta(entry)
        if entry[0] > order[0] and _after(before, entry[0], delta, ambiguity_ms):
            expected -= delta
        if _after(order, entry[0], delta, ambiguity_ms):
            onward += delta
    if following:
        following.expected = onward
    counts.insert(at, SellableCount(order, count.counted[SELLABLE], expected))
    cutoff_ms = count.stream_ms - horizons.journal_ms
    while len(counts) > 1 and counts[1].order[0] < cutoff_ms:
        del counts[0]


def _rebase(node: NodeStock, journal: Journal, count: StockCount, newer: frozenset[int], ambiguity_ms: int) -> None:
    """Make a count the baseline of the states it counted last.

    Three spans of the journal matter: near an old baseline (what was in doubt no longer is), near the new one,
    and after it. Chunks wholly clear of every baseline enter with their kept sums.
    """
    as_of_ms = count.order[0]
    edges = {as_of_ms} | {b[0] for b in node.baselines if b is not None}
    clear_ms = max(edges) + ambiguity_ms
    whole = [span for span in journal.spans() if span.first_ms > clear_ms]
    near = list(_near(journal, edges, as_of_ms, clear_ms, ambiguity_ms))
    for entry in near:
        _place_legs(node, entry, ambiguity_ms, -1, ALL_STATES - newer)
    for state in newer:
        node.baselines[state] = count.order
        node.on_hand[state] = count.counted[state] + sum(span.sums[state] for span in whole)
    node.clear_ms = clear_ms
    for entry in near:
        _place_legs(node, entry, ambiguity_ms, +1, ALL_STATES)


def _near(journal: Journal, edges: set[int], as_of_ms: int, clear_ms: int, ambiguity_ms: int) -> Iterator[Entry]:
    """Entries after `as_of` or close to an edge, but for those in chunks wholly after `clear_ms`."""

    def concerned(first_ms: int, last_ms: int) -> bool:
        return last_ms >= as_of_ms - ambiguity_ms or any(
            first_ms - ambiguity_ms <= edge <= last_ms + ambiguity_ms for edge in edges
        )

    for span in journal.spans():
        if span.first_ms <= clear_ms and concerned(span.first_ms, span.last_ms):
            yield from (e for e in journal.entries_of(span) if concerned(e[0], e[0]))
    yield from (e for e in journal.tail if concerned(e[0], e[0]))


def _prune(node: NodeStock, journal: Journal, cutoff_ms: int, ambiguity_ms: int) -> None:
    """Drop chunks older than the window: their effects stay in the quantities, no later fact can re-place them.

    A chunk close to a baseline stays: the next count must still find what it has to take out of doubt. So does one
    that the oldest count still allowed could bring into doubt.
    """
    edges = [b[0] for b in node.baselines if b is not None]
    journal.drop(
        [
            span
            for span in journal.spans()
            if span.last_ms < cutoff_ms - ambiguity_ms
            and not any(span.first_ms - ambiguity_ms <= edge <= span.last_ms + ambiguity_ms for edge in edges)
        ]
    )


class Standing(StrEnum):
    """Where a leg of an effect stands beside the baseline of its state."""

    PLACED = "PLACED"  # after the latest count of its state, or never counted
    SUPERSEDED = "SUPERSEDED"  # the count had already seen it
    IN_DOUBT_TAKEN = "IN_DOUBT_TAKEN"  # too close to the count: taken as after it, the lower outcome
    IN_DOUBT_LEFT = "IN_DOUBT_LEFT"  # too close to the count: taken as seen by it, the lower outcome


def standings(node: NodeStock, entry: Entry, ambiguity_ms: int) -> list[Standing]:
    """Where each leg of a journal entry stands, for people who ask why."""
    time_ms, _, legs = entry
    _, choice = _doubt(node.baselines, entry, ambiguity_ms)
    found = []
    for state in legs[::2]:
        baseline = node.baselines[state]
        after = _is_after(baseline, time_ms, ambiguity_ms, choice)
        if baseline is None or abs(time_ms - baseline[0]) > ambiguity_ms:
            found.append(Standing.PLACED if after else Standing.SUPERSEDED)
        else:
            found.append(Standing.IN_DOUBT_TAKEN if after else Standing.IN_DOUBT_LEFT)
    return found


def is_placed(node: NodeStock, entry: Entry, ambiguity_ms: int) -> list[bool]:
    """Whether each leg of a journal entry is part of today's quantity of its state."""
    time_ms, _, legs = entry
    if time_ms > node.clear_ms:
        return [True] * (len(legs) // 2)
    _, choice = _doubt(node.baselines, entry, ambiguity_ms)
    return [_is_after(node.baselines[state], time_ms, ambiguity_ms, choice) for state in legs[::2]]


def sellable_drifts(node: NodeStock, stream_ms: int, horizons: Horizons) -> list[int]:
    """Counted − expected of every count of sellable in the window."""
    cutoff_ms = stream_ms - horizons.journal_ms
    return [c.counted - c.expected for c in node.counts if c.order[0] >= cutoff_ms]

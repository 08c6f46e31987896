"""The stock of one SKU as the ledger books it: what each fact says, and what it changes.

The stock rules are those of the worker (`stock.py`, `documents.py`); the ledger only plays the facts in another
order. Played in the order of their own times, the state at a midnight is that of all facts dated before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from operator import attrgetter
from typing import Any

import msgspec

from atp.domain import damages, receipts, stock
from atp.domain.documents import History, Totals, effects, insert
from atp.domain.facts import (
    CORRECTION_SOURCE,
    Damage,
    Receipt,
    StockAdjusted,
    StockMoved,
    StockReturned,
    StockShipped,
)
from atp.domain.intake import Admitted, Horizons, line_key
from atp.domain.journal import TAIL_ENTRIES, Entry, Journal
from atp.domain.rows import MemoryRows, Rows
from atp.domain.stock import SELLABLE, STATES, NodeStock, StockCount, StockEffect, StockRows
from atp.domain.times import FOREVER_MS

(
    RECEIPTS,
    RETURNS,
    SHIPMENTS,
    DAMAGES,
    WRITE_OFFS,
    ADJUSTMENTS,
    MOVES,
    COUNT_CORRECTIONS,
    RECONCILIATION_CORRECTIONS,
) = range(9)
CLASSES = (
    "receipts",
    "returns",
    "shipments",
    "damages",
    "write_offs",
    "adjustments",
    "moves",
    "count_corrections",
    "reconciliation_corrections",
)
_CLASS_OF: dict[type, int] = {
    Receipt: RECEIPTS,
    StockReturned: RETURNS,
    StockShipped: SHIPMENTS,
    Damage: DAMAGES,
    StockAdjusted: ADJUSTMENTS,
    StockMoved: MOVES,
}


class DocumentVersion(msgspec.Struct, array_like=True, gc=False):
    """A version of a receipt line or damage document, with the stream time it was admitted at."""

    name: str
    totals: Totals
    stream_ms: int
    supplier: str = ""


class Posting(msgspec.Struct, array_like=True, gc=False):
    """An admitted stock, receipt or damage fact, as the ledger books it: an effect, a count or a document."""

    time_ms: int
    recorded_ms: int
    event_id: str
    movement: int  # its class; of a count, the class of what it corrects
    node: str
    legs: tuple[int, ...] = ()
    counted: dict[int, int] | None = None
    document: DocumentVersion | None = None


def posting_of(admitted: Admitted) -> Posting:
    """The posting of an admitted fact that may change stock."""
    fact = admitted.fact
    assert fact.node is not None
    movement = _CLASS_OF.get(type(fact), COUNT_CORRECTIONS)
    found = Posting(admitted.time_ms, admitted.recorded_ms, fact.event_id, movement, fact.node)
    if isinstance(fact, Receipt):
        name = f"r\x1f{line_key(fact.receipt_id, fact.line)}"
        totals = receipts.totals_of(fact, admitted.time_ms)
        found.document = DocumentVersion(name, totals, admitted.stream_ms, fact.supplier or "")
    elif isinstance(fact, Damage):
        totals = damages.totals_of(fact, admitted.time_ms)
        found.document = DocumentVersion(f"d\x1f{fact.damage_id}", totals, admitted.stream_ms)
    else:
        act = stock.effect_of(admitted)
        if isinstance(act, StockEffect):
            found.legs = act.legs
        else:
            found.counted = act.counted
            found.movement = RECONCILIATION_CORRECTIONS if fact.source == CORRECTION_SOURCE else COUNT_CORRECTIONS
    return found


ORDER = attrgetter("time_ms", "recorded_ms", "event_id")  # the place of a posting among the facts
ARRIVAL = attrgetter("recorded_ms", "time_ms", "event_id")  # and in the order in which facts were recorded


class Change(msgspec.Struct, gc=False):
    """What a posting did at one node, by state: what it says, and what it changed beyond that."""

    node: str
    said: list[int]
    corrected: list[int]


class BookState(msgspec.Struct, array_like=True):
    """What a book must go on from when no fact before an instant can come any more; its documents lie elsewhere."""

    nodes: dict[str, NodeStock] = {}
    corrected_by: dict[str, dict[int, int]] = {}


class Overlay(MemoryRows[Any]):
    """Rows over other rows: read through, copied before they are changed."""

    def __init__(self, below: Rows[Any]) -> None:
        super().__init__()
        self._below = below
        self._gone: set[tuple[str, ...]] = set()

    def get(self, key: tuple[str, ...], /) -> Any:  # type: ignore[override]
        if key in self:
            return self[key]
        row = None if key in self._gone else self._below.get(key)
        return None if row is None else deepcopy(row)

    def __delitem__(self, key: tuple[str, ...], /) -> None:
        self.pop(key, None)
        self._gone.add(key)


class Book:
    """Stock of one SKU at all its nodes, with the journals and documents behind it."""

    def __init__(self, sku: str, horizons: Horizons) -> None:
        self.sku = sku
        self.horizons = horizons
        # a fact may be dated five minutes after it was recorded: nothing that it may still move is pruned
        self._kept = msgspec.structs.replace(horizons, journal_hours=horizons.journal_hours + 1)
        self.nodes: MemoryRows[NodeStock] = MemoryRows()
        self._rows = StockRows(self.nodes, MemoryRows(), MemoryRows())
        self._documents: Rows[History] = MemoryRows()
        # of a (node, state): the class of the count that is its baseline
        self.corrected_by: dict[tuple[str, int], int] = {}

    @classmethod
    def resumed(cls, sku: str, horizons: Horizons, state: BookState, documents: Rows[History]) -> Book:
        """The book that was kept as this state; its own copy of it, but the very documents."""
        found = cls(sku, horizons)
        found.nodes.update({(sku, node): _copy(row) for node, row in state.nodes.items()})
        found._documents = documents
        found.corrected_by = {
            (node, at): movement for node, states in state.corrected_by.items() for at, movement in states.items()
        }
        return found

    def kept(self, settled_ms: int) -> BookState:
        """What to keep of this book, once no fact dated before an instant can come any more."""
        corrected: dict[str, dict[int, int]] = {}
        for (node, state), movement in self.corrected_by.items():
            corrected.setdefault(node, {})[state] = movement
        nodes = {
            node: self._without_past(key, row, settled_ms) for key, row in self.nodes.items() for node in key[1:]
        }
        return BookState(nodes, corrected)

    def _without_past(self, key: tuple[str, ...], row: NodeStock, settled_ms: int) -> NodeStock:
        """A node whose journal has only what a later fact may still move.

        That is what lies within doubt of a count, of the past ones or of the next, and the shares of documents, which
        a late lower version re-dates. Counts only serve drifts, of which the ledger has none.
        """
        near_ms = self.horizons.ambiguity_ms
        edges = [settled_ms, *(baseline[0] for baseline in row.baselines if baseline is not None)]
        documents_ms = settled_ms - self._kept.journal_ms

        def movable(entry: Entry) -> bool:
            dated = entry[1] != 0 and entry[0] >= documents_ms
            return dated or any(-near_ms <= entry[0] - edge <= near_ms for edge in edges)

        journal = Journal((key[0], key[1]), row.tail, self._rows.indexes, self._rows.chunks, row.sealed)
        tail = [entry for entry in journal.between(-FOREVER_MS, FOREVER_MS) if movable(entry)]
        return msgspec.structs.replace(row, tail=tail, counts=[], sealed=False)

    def overlay(self) -> Book:
        """A book that goes on from here without changing this one."""
        found = Book(self.sku, self.horizons)
        rows = self._rows
        found.nodes = Overlay(self.nodes)
        found._rows = StockRows(found.nodes, Overlay(rows.indexes), Overlay(rows.chunks))
        found._documents = Overlay(self._documents)
        found.corrected_by = dict(self.corrected_by)
        return found

    def post(self, posting: Posting) -> Iterator[Change]:
        """Book a fact; what it did, node by node."""
        if posting.document is not None:
            by_node: dict[str, list[StockEffect]] = {}
            for effect in self._shares(posting.document):
                by_node.setdefault(effect.node, []).append(effect)
            for node, shares in by_node.items():
                yield self._apply(node, shares, posting)
        else:
            yield self._apply(posting.node, [self._act(posting)], posting)

    def take(self, posting: Posting) -> None:
        """Book a fact, whatever it does."""
        if self.plain(posting) is None:
            for _ in self.post(posting):
                pass

    def plain(self, posting: Posting) -> tuple[int, int] | None:
        """Book an effect of which no count has anything to say, as most are; (sellable, on hand) that it changed.

        None: it is another fact, or the journal of its node is full with it; nothing was booked.
        """
        if posting.counted is not None or posting.document is not None:
            return None
        key = (self.sku, posting.node)
        row = self.nodes.get(key)
        if row is None or posting.time_ms <= row.clear_ms or len(row.tail) >= TAIL_ENTRIES - 1:
            return None
        legs, sellable, on_hand = posting.legs, 0, 0
        for at in range(0, len(legs), 2):
            state, units = legs[at], legs[at + 1]
            row.on_hand[state] += units
            on_hand += units
            if state == SELLABLE:
                sellable += units
        if legs:
            row.tail.append((posting.time_ms, 0, legs))
        self.nodes[key] = row
        return sellable, on_hand

    def _act(self, posting: Posting) -> StockEffect | StockCount:
        """What a posting does; played in order of time, the journal is pruned by it."""
        node, at_ms = posting.node, posting.time_ms
        if posting.counted is not None:
            return StockCount(self.sku, node, ORDER(posting), posting.counted, at_ms)
        return StockEffect(self.sku, node, at_ms, posting.legs, at_ms)

    def _shares(self, version: DocumentVersion) -> list[StockEffect]:
        key = (version.name,)
        history = self._documents.get(key) or History()
        at = insert(history, version.totals, version.stream_ms - self.horizons.journal_ms)
        self._documents[key] = history
        if at is None:
            return []
        return effects(history, at, self.sku, version.name, version.totals.time_ms)

    def _apply(self, node: str, acts: list[Any], posting: Posting) -> Change:
        key = (self.sku, node)
        row = self.nodes.get(key)
        before = list(row.on_hand) if row else [0] * len(STATES)
        said = [0] * len(STATES)
        for act in acts:
            _say(said, act, self._withdrawn(key, act))
            stock.apply(act, self._rows, self._kept)
        row = self.nodes[key]
        if isinstance(acts[0], StockCount):
            for state in acts[0].counted:
                if row.baselines[state] == acts[0].order:
                    self.corrected_by[node, state] = posting.movement
        changed = zip(row.on_hand, before, said, strict=True)
        return Change(node, said, [after - was - told for after, was, told in changed])

    def _withdrawn(self, key: tuple[str, str], act: Any) -> tuple[int, ...]:
        """The legs that a re-dated share loses: what the journal still holds of it."""
        if isinstance(act, StockCount) or not act.replaces:
            return ()
        row = self.nodes.get(key)
        if row is None:
            return ()
        journal = Journal(key, row.tail, self._rows.indexes, self._rows.chunks, row.sealed)
        for entry in journal.between(act.time_ms, act.time_ms):
            if entry[1] == act.tag:
                return entry[2]
        return ()

    def sellable(self, nodes: set[str]) -> int:
        """Sellable units at some nodes."""
        rows = (self.nodes.get((self.sku, node)) for node in nodes)
        return sum(row.on_hand[SELLABLE] for row in rows if row is not None)


def _copy(row: NodeStock) -> NodeStock:
    """A node's row to go on from: whatever is changed in place is its own."""
    counts = [msgspec.structs.replace(count) for count in row.counts]
    return msgspec.structs.replace(
        row, on_hand=list(row.on_hand), baselines=list(row.baselines), counts=counts, tail=list(row.tail)
    )


def _say(said: list[int], act: StockEffect | StockCount, withdrawn: tuple[int, ...]) -> None:
    if isinstance(act, StockCount):
        return
    for at in range(0, len(act.legs), 2):
        said[act.legs[at]] += act.legs[at + 1]
    for at in range(0, len(withdrawn), 2):
        said[withdrawn[at]] -= withdrawn[at + 1]

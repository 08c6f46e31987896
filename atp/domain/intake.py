"""Whether a fact counts: too old, in the future, a duplicate, in conflict, or new.

All that decides over a fact's admission lives here, so that what follows (stock, reservations, receipts,
damages) only says what an admitted fact does and never refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec
from xxhash import xxh3_64_intdigest

from atp.domain.facts import (
    CORRECTION_SOURCE,
    Damage,
    Fact,
    LineState,
    Receipt,
    Reservation,
    StockAdjusted,
    StockCounted,
    StockMoved,
    StockReturned,
    StockShipped,
)
from atp.domain.refusals import Reason, Refusal
from atp.domain.rows import Marks, Rows
from atp.domain.times import DAY_MS, FOREVER_MS, HOUR_MS, MINUTE_MS, rfc3339, to_ms

FUTURE_TOLERANCE_MS = 5 * MINUTE_MS
CORRECTED = 0  # payload of a version mark that a correction left

# One mark table, four kinds of marks: the seed keeps their keys apart.
_EVENT, _VERSION, _LINE, _DOCUMENT = 1, 2, 3, 4
_encode = msgspec.msgpack.Encoder().encode


class Horizons(msgspec.Struct, frozen=True):
    """How far back facts are placed. Part of the state's meaning: never changed under a running state."""

    journal_hours: int = 72
    memory_days: int = 30
    ambiguity_ms: int = 1000

    @property
    def journal_ms(self) -> int:
        """Age (ms before stream time) beyond which stock, damage and receipt facts are TOO_OLD."""
        return self.journal_hours * HOUR_MS

    @property
    def memory_ms(self) -> int:
        """Age (ms before stream time) beyond which facts of an unknown reservation line are TOO_OLD."""
        return self.memory_days * DAY_MS


class SkuHead(msgspec.Struct, array_like=True):
    """What is known of a SKU as a whole: stream time, and the nodes and regions its facts named."""

    stream_ms: int = -FOREVER_MS
    as_of_ms: int = -FOREVER_MS  # highest time of an admitted fact
    nodes: list[str] = []
    regions: list[str] = []
    backfilled_nodes: dict[str, int] = {}  # node → highest recorded_at of a back-filled fact
    backfilled_regions: dict[str, int] = {}
    drifts: dict[str, tuple[int, int]] = {}  # kind|place → units that drift, and of them promised too many


class Admitted(msgspec.Struct, gc=False):
    """An admitted fact with its times in ms and its SKU's stream time after it."""

    fact: Fact
    time_ms: int
    recorded_ms: int
    stream_ms: int
    recheck: bool = False  # what its SKU was compared with may look otherwise now: the comparison is made anew


class Duplicate(msgspec.Struct, frozen=True):
    """The fact was there before, with the same body: no effect.

    `is_original`: only a correction was there, which stated its version; the fact itself came now for the first time.
    """

    is_original: bool = False


DUPLICATE = Duplicate()
ORIGINAL = Duplicate(is_original=True)


class Place(Protocol):
    """The partition that works off a record."""

    def owns(self, key: str, /) -> bool: ...


class Keyed(Protocol):
    """What belongs to a SKU: a fact, a row of a snapshot, a decision."""

    @property
    def sku(self) -> str: ...


def misplaced(fact: Keyed, key: str | bytes | None, place: Place | None = None) -> Refusal | None:
    """A record whose key is not its SKU, or that lies in another partition, is another task's: refused here."""
    shown = key.decode(errors="replace") if isinstance(key, bytes) else key
    if shown != fact.sku:
        return Refusal(Reason.KEY_MISMATCH, f"key = {shown!r}: must be its sku {fact.sku!r}")
    if place is not None and not place.owns(fact.sku):
        return Refusal(
            Reason.WRONG_PARTITION,
            f"sku = {fact.sku!r}: lies not in the partition that murmur2 gives it "
            "(set partitioner=murmur2_random in producers built on librdkafka)",
        )
    return None


def admit(
    fact: Fact,
    heads: Rows[SkuHead],
    marks: Marks,
    horizons: Horizons,
    now_ms: int,
    compared_ms: int = -FOREVER_MS,
) -> Admitted | Duplicate | Refusal:
    """Judge a fact in the documented order of reasons and, if it counts, remember it.

    `compared_ms`: up to here facts were held against snapshots.
    """
    key = (fact.sku,)
    head = heads.get(key) or SkuHead()
    occurred_ms, recorded_ms = to_ms(fact.occurred_at), to_ms(fact.recorded_at)
    time_ms = to_ms(fact.as_of) if type(fact) is StockCounted else occurred_ms
    if max(time_ms, occurred_ms) > recorded_ms + FUTURE_TOLERANCE_MS or recorded_ms > now_ms + FUTURE_TOLERANCE_MS:
        return _future(time_ms, occurred_ms, recorded_ms, now_ms)
    if time_ms < head.stream_ms - horizons.journal_ms:
        refusal = _too_old(fact, time_ms, head.stream_ms, marks, horizons)
        if refusal is not None:
            return refusal
    identity = _identity(fact)
    body = _body(fact, time_ms, occurred_ms)
    seen = _seen(fact, identity, body, head.stream_ms, marks)
    if isinstance(seen, Refusal):
        return seen
    if recorded_ms > head.stream_ms:
        head.stream_ms = recorded_ms
    if seen is None:
        _remember(fact, identity, body, time_ms, head, marks, horizons)
        _locate(fact, head, time_ms, recorded_ms)
    elif seen is ORIGINAL:  # its source counts it as sent, once
        marks.put(fact.sku, identity.event, body, time_ms + horizons.journal_ms, head.stream_ms)
    heads[key] = head
    # a line that drifts, as it is open with us and not in the snapshot, may have ended since: whatever came first
    recheck = time_ms <= compared_ms or (type(fact) is Reservation and bool(head.drifts))
    return seen or Admitted(fact, time_ms, recorded_ms, head.stream_ms, recheck)


def _future(time_ms: int, occurred_ms: int, recorded_ms: int, now_ms: int) -> Refusal:
    late_ms = max(time_ms, occurred_ms)
    if late_ms > recorded_ms + FUTURE_TOLERANCE_MS:
        name = "occurred_at" if late_ms == occurred_ms else "as_of"
        allowed = f"at most 5 minutes after recorded_at = {rfc3339(recorded_ms)}"
        return Refusal(Reason.FUTURE, f"{name} = {rfc3339(late_ms)}: {allowed} is allowed")
    allowed = f"at most 5 minutes after now = {rfc3339(now_ms)}"
    return Refusal(Reason.FUTURE, f"recorded_at = {rfc3339(recorded_ms)}: {allowed} is allowed")


def _too_old(fact: Fact, time_ms: int, stream_ms: int, marks: Marks, horizons: Horizons) -> Refusal | None:
    if type(fact) is not Reservation:
        name = "as_of" if type(fact) is StockCounted else "occurred_at"
        allowed = f"at most {horizons.journal_hours} hours before stream time {rfc3339(stream_ms)}"
        return Refusal(Reason.TOO_OLD, f"{name} = {rfc3339(time_ms)}: {allowed} is allowed")
    if time_ms >= stream_ms - horizons.memory_ms or known_line(fact, stream_ms, marks):
        return None
    return Refusal(
        Reason.TOO_OLD,
        f"occurred_at = {rfc3339(time_ms)}: at most {horizons.memory_days} days before stream time "
        f"{rfc3339(stream_ms)} is allowed for the unknown line {fact.reservation_id}/{fact.line}",
    )


def known_line(fact: Reservation, stream_ms: int, marks: Marks) -> bool:
    """Whether the reservation line is remembered: open, or closed for less than the memory horizon."""
    mark = marks.get(fact.sku, _hash(line_key(fact.reservation_id, fact.line), _LINE))
    return mark is not None and mark[1] >= stream_ms


def line_key(document_id: str, line: int) -> str:
    """Key of a document line within its SKU."""
    return f"{document_id}\x1f{line}"


def _hash(text: str, seed: int) -> int:
    return xxh3_64_intdigest(text.encode(), seed)


def _document(fact: Fact) -> str | None:
    """Key of the document line version that a fact states, or None for a plain event."""
    if type(fact) is Reservation:
        return f"v\x1f{fact.reservation_id}\x1f{fact.line}\x1f{fact.version}"
    if type(fact) is Receipt:
        return f"r\x1f{fact.receipt_id}\x1f{fact.line}\x1f{fact.version}"
    if type(fact) is Damage:
        return f"d\x1f{fact.damage_id}\x1f{fact.version}"
    return None


class Identity(NamedTuple):
    """Under which marks a fact is remembered; reckoned once, asked and written several times."""

    event: int
    document: str | None
    version: int  # mark of the document's version; of no meaning without a document


def _identity(fact: Fact) -> Identity:
    document = _document(fact)
    version = 0 if document is None else _hash(document, _VERSION)
    return Identity(_hash(fact.event_id, _EVENT), document, version)


def _body(fact: Fact, time_ms: int, occurred_ms: int) -> int:
    """Hash of what a fact says. Identity, transport and bookkeeping of the message are not what it says."""
    head = (fact.source, fact.region, fact.node, occurred_ms)
    return xxh3_64_intdigest(_encode((head, _said(fact, time_ms))))


def _said(fact: Fact, time_ms: int) -> tuple[object, ...]:
    return _SAYS[type(fact)](fact, time_ms)


def _counted(f: StockCounted, time_ms: int) -> tuple[object, ...]:
    return ("counted", time_ms, *sorted(f.quantities.items()))


def _reserved(f: Reservation, _time_ms: int) -> tuple[object, ...]:
    expires, quantities = f.expires_at and to_ms(f.expires_at), (f.requested, f.open, f.consumed, f.released)
    return (f.type, f.reservation_id, f.line, f.version, f.channel, f.state, *quantities, expires, f.due_date)


def _inbound(f: Receipt, _time_ms: int) -> tuple[object, ...]:
    quantities = (f.expected, f.received, f.put_away, f.held)
    return (f.type, f.receipt_id, f.line, f.version, f.stage, *quantities, f.eta, f.supplier)


def _damaged(f: Damage, _time_ms: int) -> tuple[object, ...]:
    states = (f.from_state, f.to_state)
    return (f.type, f.damage_id, f.version, *states, f.reported, f.reversed, f.written_off)


_SAYS: dict[type, Callable[[Any, int], tuple[object, ...]]] = {
    StockCounted: _counted,
    StockAdjusted: lambda f, _: ("adjusted", f.state, f.delta, f.reason),
    StockMoved: lambda f, _: ("moved", f.from_state, f.to_state, f.quantity, f.reason),
    StockShipped: lambda f, _: ("shipped", f.quantity, f.reservation_id, f.line),
    StockReturned: lambda f, _: ("returned", f.quantity, f.order_id),
    Reservation: _reserved,
    Receipt: _inbound,
    Damage: _damaged,
}


def _seen(fact: Fact, identity: Identity, body: int, stream_ms: int, marks: Marks) -> Duplicate | Refusal | None:
    mark = marks.get(fact.sku, identity.event)
    if mark is not None and mark[1] >= stream_ms:
        return DUPLICATE if mark[0] == body else _conflict(Reason.EVENT_CONFLICT, "event_id", fact.event_id)
    if identity.document is None:
        return None
    mark = marks.get(fact.sku, identity.version)
    if mark is not None and mark[1] >= stream_ms:
        shown = identity.document.replace("\x1f", "/")
        if mark[0] == CORRECTED and fact.source != CORRECTION_SOURCE:
            return ORIGINAL
        said = mark[0] == body or fact.source == CORRECTION_SOURCE
        return DUPLICATE if said else _conflict(Reason.VERSION_CONFLICT, "document version", shown)
    return _changed(fact, stream_ms, marks) if type(fact) is Damage else None


def _conflict(reason: Reason, name: str, value: str) -> Refusal:
    return Refusal(reason, f"{name} = {value}: came before with another body; the first in log order stands")


def _damage_identity(fact: Damage) -> int:
    return _hash(f"{fact.node}\x1f{fact.from_state}\x1f{fact.to_state}", _DOCUMENT)


def _changed(fact: Damage, stream_ms: int, marks: Marks) -> Refusal | None:
    mark = marks.get(fact.sku, _hash(fact.damage_id, _DOCUMENT))
    if mark is None or mark[1] < stream_ms or mark[0] == _damage_identity(fact):
        return None
    found = f"{fact.node}, {fact.from_state}, {fact.to_state}"
    return Refusal(
        Reason.DOCUMENT_CHANGED,
        f"node, from_state, to_state = {found}: must stay as damage {fact.damage_id} first said",
    )


def _remember(
    fact: Fact, identity: Identity, body: int, time_ms: int, head: SkuHead, marks: Marks, horizons: Horizons
) -> None:
    sku, drop_before_ms = fact.sku, head.stream_ms
    journal_until = time_ms + horizons.journal_ms
    marks.put(sku, identity.event, body, journal_until, drop_before_ms)
    if type(fact) is Reservation:
        memory_until = time_ms + horizons.memory_ms
        said = CORRECTED if fact.source == CORRECTION_SOURCE else body
        marks.put(sku, identity.version, said, memory_until, drop_before_ms)
        _remember_line(fact, memory_until, drop_before_ms, marks)
    elif identity.document is not None:
        marks.put(sku, identity.version, body, journal_until, drop_before_ms)
        if type(fact) is Damage:
            marks.put(sku, _hash(fact.damage_id, _DOCUMENT), _damage_identity(fact), FOREVER_MS, drop_before_ms)


def _remember_line(fact: Reservation, memory_until: int, drop_before_ms: int, marks: Marks) -> None:
    """A line is known while it is open, and for the memory horizon afterwards; its highest version decides."""
    key = _hash(line_key(fact.reservation_id, fact.line), _LINE)
    mark = marks.get(fact.sku, key)
    if mark is None or fact.version >= mark[0]:
        until = known_until_ms(fact, memory_until)
        marks.put(fact.sku, key, fact.version, until, drop_before_ms)


def known_until_ms(fact: Reservation, memory_until: int) -> int:
    """Until when a line in the state that this fact gives it is remembered."""
    if fact.open == 0:
        return memory_until
    if fact.state is LineState.SOFT and fact.expires_at is not None:
        # an offer that was never taken is over when it expires, though nobody may ever say so
        return max(memory_until, memory_until - to_ms(fact.occurred_at) + to_ms(fact.expires_at))
    return FOREVER_MS


def _locate(fact: Fact, head: SkuHead, time_ms: int, recorded_ms: int) -> None:
    """Note where the fact happened: every (SKU, region) that a fact names has a record, if only of zeros."""
    head.as_of_ms = max(head.as_of_ms, time_ms)
    if fact.node is not None and fact.node not in head.nodes:
        head.nodes = sorted([*head.nodes, fact.node])
    if type(fact) is Reservation:
        if fact.region not in head.regions:
            head.regions = sorted([*head.regions, fact.region])
        if fact.backfill:
            _raise_to(head.backfilled_regions, fact.region, recorded_ms)
    elif fact.backfill and fact.node is not None:
        _raise_to(head.backfilled_nodes, fact.node, recorded_ms)


def _raise_to(marks: dict[str, int], place: str, recorded_ms: int) -> None:
    marks[place] = max(marks.get(place, recorded_ms), recorded_ms)

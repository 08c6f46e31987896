"""Bytes of a fact topic → a fact, or the refusal that names field, value and what is allowed."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from atp.domain.facts import (
    CORRECTION_SOURCE,
    CORRECTIONS_TOPIC,
    FACT_TYPES,
    RESERVATIONS_TOPIC,
    STOCK_TOPIC,
    Damage,
    Fact,
    LineState,
    Receipt,
    Reservation,
    StockAdjusted,
    StockMoved,
)
from atp.domain.refusals import Reason, Refusal

KNOWN_MAJOR = "1."
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    topic: msgspec.json.Decoder(kind) for topic, kind in FACT_TYPES.items()
}
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_SHOWN_CHARS = 80


def decode(topic: str, value: bytes | None) -> Fact | Refusal:
    """Decode and validate one record of a fact topic. Never raises for any input."""
    if value is None:
        return Refusal(Reason.UNDECODABLE, "value = null: a fact is never deleted; a JSON object is needed")
    decoder = _DECODERS.get(topic) or _correction_decoder(topic, value)
    if decoder is None:
        allowed = ", ".join((*_DECODERS, CORRECTIONS_TOPIC))
        return Refusal(Reason.UNKNOWN_TOPIC, f"topic = {topic!r}: no fact topic; allowed are {allowed}")
    try:
        fact: Fact = decoder.decode(value)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        return refusal_of(value, error)
    if not fact.schema_version.startswith(KNOWN_MAJOR):
        return unknown_version(fact.schema_version)
    if topic == CORRECTIONS_TOPIC and fact.source != CORRECTION_SOURCE:
        allowed = f"{CORRECTION_SOURCE!r} is allowed: only reconciliation posts corrections"
        return Refusal(Reason.SCHEMA_INVALID, f"source = {fact.source!r}: {allowed}")
    return _contradiction(fact) or fact


def _correction_decoder(topic: str, value: bytes) -> msgspec.json.Decoder[Any] | None:
    """A correction is a count or a reservation line; its type says which."""
    if topic != CORRECTIONS_TOPIC:
        return None
    return _DECODERS[RESERVATIONS_TOPIC if b'"reservation.' in value else STOCK_TOPIC]


def unknown_version(found: object) -> Refusal:
    """The refusal of a major version that this build does not know; not guessed at."""
    return Refusal(Reason.UNKNOWN_VERSION, f"schema_version = {found!r}: this build knows major version 1 (1.x)")


def refusal_of(value: bytes, error: Exception) -> Refusal:
    """The slow path: find out what was wrong, in words for the person who has to mend it."""
    try:
        raw = msgspec.json.decode(value)
    except (ValueError, RecursionError, msgspec.MsgspecError) as undecodable:
        return Refusal(Reason.UNDECODABLE, f"value is not JSON in UTF-8: {undecodable}")
    found = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(found, str) and not found.startswith(KNOWN_MAJOR):
        return unknown_version(found)
    return Refusal(Reason.SCHEMA_INVALID, explain_invalid(raw, error))


def explain_invalid(raw: Any, error: Exception) -> str:
    """`field = value: what is allowed` of a validation error of msgspec."""
    parts = _AT.match(str(error))
    path = parts["path"] if parts else None
    if parts is None or not path:
        return str(error)
    shown = repr(_lookup(raw, path))
    return f"{path} = {shown[:_SHOWN_CHARS]}: {parts['what']}"


def _lookup(raw: Any, path: str) -> Any:
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(raw, dict) and step in raw:
            raw = raw[step]
        elif isinstance(raw, list) and step.isdigit() and int(step) < len(raw):
            raw = raw[int(step)]
    return raw


def _contradiction(fact: Fact) -> Refusal | None:
    """What the types cannot say: fields that need or exclude each other, and quantities that must add up."""
    if isinstance(fact, Reservation):
        return _reservation(fact)
    if isinstance(fact, Receipt):
        return _receipt(fact)
    if isinstance(fact, Damage):
        return _damage(fact)
    if isinstance(fact, StockAdjusted) and fact.delta == 0:
        return Refusal(Reason.SCHEMA_INVALID, "delta = 0: an adjustment changes something; not 0 is allowed")
    if isinstance(fact, StockMoved) and fact.from_state is fact.to_state:
        return _same_state(fact.to_state)
    return None


def _reservation(fact: Reservation) -> Refusal | None:
    if fact.state is LineState.SOFT and fact.expires_at is None:
        return Refusal(Reason.SCHEMA_INVALID, "expires_at = null: a SOFT line needs the instant it expires")
    needs_node = fact.state is LineState.ALLOCATED or fact.type in ("reservation.allocated", "reservation.shipped")
    if needs_node and fact.node is None:
        return Refusal(Reason.SCHEMA_INVALID, "node = null: a line allocated or shipped names its node")
    total = fact.open + fact.consumed + fact.released
    if fact.requested != total:
        return Refusal(
            Reason.QUANTITY_MISMATCH,
            f"requested = {fact.requested}: open + consumed + released = {total}, the two must be equal",
        )
    if fact.state is LineState.CLOSED and fact.open:
        return Refusal(Reason.QUANTITY_MISMATCH, f"open = {fact.open}: a CLOSED line has 0 open")
    return None


def _receipt(fact: Receipt) -> Refusal | None:
    if fact.put_away + fact.held > fact.received:
        return Refusal(
            Reason.QUANTITY_MISMATCH,
            f"put_away + held = {fact.put_away + fact.held}: at most received = {fact.received} is allowed",
        )
    return None


def _same_state(state: str) -> Refusal:
    return Refusal(Reason.SCHEMA_INVALID, f"to_state = {state!r}: must differ from from_state")


def _damage(fact: Damage) -> Refusal | None:
    if fact.from_state.value == fact.to_state.value:
        return _same_state(fact.to_state.value)
    if fact.reversed + fact.written_off > fact.reported:
        return Refusal(
            Reason.QUANTITY_MISMATCH,
            f"reversed + written_off = {fact.reversed + fact.written_off}: "
            f"at most reported = {fact.reported} is allowed",
        )
    return None

"""Why a fact is refused. A refusal is an expected outcome and a value; only bugs raise."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Reason codes, in the order in which they are judged: the first that holds is the answer."""

    UNKNOWN_TOPIC = "UNKNOWN_TOPIC"  # no fact topic of the catalogue
    UNDECODABLE = "UNDECODABLE"  # not UTF-8 JSON
    UNKNOWN_VERSION = "UNKNOWN_VERSION"  # a major schema version this build does not know
    SCHEMA_INVALID = "SCHEMA_INVALID"  # a field is missing, of a wrong type or out of range
    QUANTITY_MISMATCH = "QUANTITY_MISMATCH"  # the fact's own quantities contradict each other
    KEY_MISMATCH = "KEY_MISMATCH"  # the record's key is not the fact's SKU
    WRONG_PARTITION = "WRONG_PARTITION"  # not the partition that murmur2 gives the SKU
    FUTURE = "FUTURE"  # occurred after it was recorded, or recorded after now
    TOO_OLD = "TOO_OLD"  # older than the state can still place
    EVENT_CONFLICT = "EVENT_CONFLICT"  # the same event_id came before with another body
    VERSION_CONFLICT = "VERSION_CONFLICT"  # the same document line and version came with another body
    DOCUMENT_CHANGED = "DOCUMENT_CHANGED"  # a damage document changed its node or states
    DECISION_TOO_LATE = "DECISION_TOO_LATE"  # a decision on an exception that waits for none


# The fact contradicts itself, its document or an earlier fact: a transition that cannot have been.
CONTRADICTIONS = frozenset({
    Reason.QUANTITY_MISMATCH, Reason.DOCUMENT_CHANGED, Reason.VERSION_CONFLICT, Reason.EVENT_CONFLICT,
})  # fmt: skip


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A refused fact: a reason code and a sentence naming the field, its value and what is allowed."""

    reason: Reason
    message: str

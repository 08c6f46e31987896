"""Modes per (region, channel): what they are, and what people may say about them. `switching.py` decides them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from atp.domain.decoding import explain_invalid
from atp.domain.facts import Identity, Instant
from atp.domain.times import Stamp


class Mode(StrEnum):
    """CONFIDENT sells ATP; CONSERVATIVE sells what is certain; SUSPENDED (operator only) sells nothing."""

    CONFIDENT = "CONFIDENT"
    CONSERVATIVE = "CONSERVATIVE"
    SUSPENDED = "SUSPENDED"


class Degradation(StrEnum):
    """DELAYED: late but consistent, safe. UNTRUSTED: current, but it may disagree with the system of record."""

    DELAYED = "DELAYED"
    UNTRUSTED = "UNTRUSTED"


class Cause(StrEnum):
    """Why a region may not sell confidently; the first that holds is *the* cause of a mode."""

    OPERATOR = "OPERATOR"
    DRIFT = "DRIFT"
    SNAPSHOT_MISSING = "SNAPSHOT_MISSING"
    STALE_SOURCE = "STALE_SOURCE"


OPERATOR = Cause.OPERATOR.value
PRECEDENCE = tuple(Cause)
DEGRADATIONS = {
    Cause.DRIFT: Degradation.UNTRUSTED,
    Cause.SNAPSHOT_MISSING: Degradation.UNTRUSTED,
    Cause.STALE_SOURCE: Degradation.DELAYED,
}
RUNBOOKS = {
    Cause.OPERATOR: "runbooks/channel-suspended.md",
    Cause.DRIFT: "runbooks/drift.md",
    Cause.SNAPSHOT_MISSING: "runbooks/snapshot-missing.md",
    Cause.STALE_SOURCE: "runbooks/source-silent.md",
}
BOTH_KINDS = "runbooks/delayed-and-untrusted.md"


def kinds_of(causes: Iterable[str]) -> tuple[Degradation, ...]:
    """The kinds of degradation that causes stand for; an operator's word is none."""
    named = set(causes)
    found = {kind for cause, kind in DEGRADATIONS.items() if cause in named}
    return tuple(kind for kind in Degradation if kind in found)


def runbook_of(causes: Sequence[Cause]) -> str:
    """The page for causes in order of precedence, or none. Late and wrong at once have a page of their own."""
    if not causes:
        return ""
    return BOTH_KINDS if causes[0] is not Cause.OPERATOR and len(kinds_of(causes)) > 1 else RUNBOOKS[causes[0]]


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen of a source. `detail`: the same in words; `figures`: units, keys, counts."""

    cause: Cause
    source: str
    detail: str
    kind: str = ""
    snapshot_id: str = ""
    as_of: Stamp | None = None
    figures: dict[str, int] = {}


class ChannelMode(msgspec.Struct, frozen=True, gc=False):
    """One row of `atp.modes.v1`. `cause`: the first of `causes`, reason codes; `reason`: why, in words.

    `degradation` tells late data from wrong data; both may hold. `since`: of this mode. `expires_at`: when an
    operator's word ends. `version` grows by one per change of the row.
    """

    region: Identity
    channel: Identity
    mode: Mode
    cause: str = ""
    reason: str = ""
    causes: tuple[str, ...] = ()
    degradation: tuple[Degradation, ...] = ()
    since: Stamp | None = None
    evidence: tuple[Evidence, ...] = ()
    expires_at: Stamp | None = None
    policy_version: int = 0
    version: int = 0
    runbook: str = ""

    def reasons(self) -> tuple[str, ...]:
        """What records of the channel give as reasons on the mode's behalf."""
        return self.causes or ((OPERATOR,) if self.cause == OPERATOR else ())


CONFIDENT = ChannelMode("", "", Mode.CONFIDENT)


class ModeChange(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of `atp.mode-changes.v1`: a channel's mode, or what it rests on, is another from now on.

    `cause` of a way up: RESTORED (clean cycles), WITHDRAWN or EXPIRED (the operator's word).
    """

    type: str = "mode.changed"
    schema_version: str = "1.0"
    event_id: str
    region: Identity
    channel: Identity
    from_mode: Mode = msgspec.field(name="from")
    to: Mode
    cause: str
    causes: tuple[str, ...]
    degradation: tuple[Degradation, ...]
    evidence: tuple[Evidence, ...]
    reason: str
    by: str
    expires_at: Stamp | None
    occurred_at: Stamp
    policy_version: int
    runbook: str


class ModeCommand(msgspec.Struct, frozen=True, kw_only=True):
    """One record of `atp.mode-commands.v1`: an operator's word. CONFIDENT takes back the one before."""

    type: str = "mode.set"
    schema_version: str = "1.0"
    command_id: Identity
    region: Identity
    channel: Identity
    mode: Mode
    reason: str = ""
    by: str = ""
    issued_at: Instant
    expires_at: Instant | None = None


class ModeError(ValueError):
    """A mode, or a command about one, that cannot be used: names field, value and what is allowed."""


def parse_mode(document: Any) -> ChannelMode:
    """A validated mode, or ModeError."""
    try:
        return msgspec.convert(document, ChannelMode)
    except msgspec.ValidationError as error:
        raise ModeError(explain_invalid(document, error)) from None


def parse_command(document: Any) -> ModeCommand:
    """A validated command, or ModeError. Whoever restricts a channel says why."""
    try:
        command = msgspec.convert(document, ModeCommand)
    except msgspec.ValidationError as error:
        raise ModeError(explain_invalid(document, error)) from None
    if command.type != "mode.set":
        raise ModeError(f"type = {command.type!r}: mode.set is allowed")
    if command.mode is not Mode.CONFIDENT and not command.reason.strip():
        raise ModeError(f"reason is missing: {command.mode} is said with a reason")
    if command.expires_at is not None and command.expires_at <= command.issued_at:
        raise ModeError(f"expires_at = {command.expires_at}: an instant after issued_at is allowed")
    return command


class ModeBook(dict[tuple[str, str], ChannelMode]):
    """The modes by (region, channel)."""

    def of(self, region: str, channel: str) -> ChannelMode:
        """The mode in force; CONFIDENT where none was ever set."""
        return self.get((region, channel), CONFIDENT)

"""Exceptions: a key that drifts is somebody's work until the systems agree again.

    OPEN → PROPOSED → APPROVED → APPLIED → VERIFIED        PROPOSED → REJECTED

A small drift is approved by rule, a large one by a person. What is approved is posted as a correction fact; the
exception is APPLIED when that fact has arrived, and VERIFIED when a snapshot after it agrees. A drift that late facts
explain before anybody acted is VERIFIED at once. A version conflict, which no correction can mend, stays OPEN.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any, Literal

import msgspec
from xxhash import xxh3_64_hexdigest

from atp.domain.causes import Cause, owner_of
from atp.domain.decoding import KNOWN_MAJOR, refusal_of, unknown_version
from atp.domain.facts import (
    CORRECTION_SOURCE,
    Fact,
    Identity,
    Instant,
    LineState,
    Reservation,
    Sku,
    StockCounted,
    StockState,
)
from atp.domain.lateness import LateFact
from atp.domain.refusals import Refusal
from atp.domain.reservations import Line, LineVersion
from atp.domain.snapshots import STOCK
from atp.domain.times import from_ms, to_ms
from atp.domain.truth import Drift, Truth, name_of

BY_RULE = "rule"
SNAPSHOT = "snapshot"
LATE_FACTS = "late facts"
LATE = "late"  # stands for the line in the name of what late facts opened
TYPES: dict[LineState, Any] = {
    LineState.SOFT: "reservation.placed",
    LineState.FIRM: "reservation.confirmed",
    LineState.ALLOCATED: "reservation.allocated",
    LineState.BACKORDERED: "reservation.short",
    LineState.CLOSED: "reservation.released",
}


class Stage(StrEnum):
    """Where an exception stands."""

    OPEN = "OPEN"
    PROPOSED = "PROPOSED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    APPLIED = "APPLIED"
    VERIFIED = "VERIFIED"


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One step of an exception's life: to which stage, when, by whom and why."""

    stage: Stage
    at_ms: int
    by: str
    why: str = ""


class Incident(msgspec.Struct):
    """An exception as the SKU's task keeps it. `units`: |ours − theirs|; `over`: of them, promised too many."""

    exception_id: str
    kind: str
    place: str
    line: str
    region: str
    source: str
    snapshot_id: str
    as_of_ms: int
    cause: Cause
    units: int
    over: int
    ours: dict[str, int]
    theirs: dict[str, int]
    steps: list[Step]
    correction: str = ""  # event_id of the correction that was posted
    facts: int = 0  # of LATE_FACT: how many came
    refused: int = 0  # of them, too old for the state

    @property
    def stage(self) -> Stage:
        """Where it stands."""
        return self.steps[-1].stage

    @property
    def name(self) -> str:
        """What it is about: one at a time per key."""
        return f"{name_of(self.kind, self.place)}|{self.line}"

    @property
    def opened_ms(self) -> int:
        """When it was opened."""
        return self.steps[0].at_ms

    def step(self, stage: Stage, at_ms: int, by: str, why: str = "") -> None:
        """Take a step."""
        self.steps.append(Step(stage, at_ms, by, why))

    def take(self, late: LateFact) -> None:
        """One more fact that came late."""
        self.as_of_ms = max(self.as_of_ms, late.recorded_ms)
        self.units += late.units
        self.facts += 1
        self.refused += not late.applied


class SkuExceptions(msgspec.Struct, array_like=True):
    """The exceptions of a SKU that are not settled, by what they are about."""

    open: dict[str, Incident] = {}

    def find(self, exception_id: str) -> Incident | None:
        """The exception of an id."""
        return next((known for known in self.open.values() if known.exception_id == exception_id), None)


class HistoryStep(msgspec.Struct, frozen=True):
    """A step on the wire."""

    state: Stage
    at: Instant
    by: str
    why: str


class ExceptionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `atp.reconciliation.exceptions.v1`, key exception_id.

    Of cause LATE_FACT: `as_of` is when the latest of the facts was recorded, `facts` how many came, and `refused` how
    many of them were too old for the state; a snapshot after it that agrees verifies it.
    """

    schema_version: str = "1.0"
    exception_id: str
    sku: str
    region: str
    node: str | None
    reservation_id: str | None
    line: int | None
    kind: str
    source: str
    snapshot_id: str
    as_of: Instant
    cause: Cause
    owner: str
    state: Stage
    units: int
    over_promised_units: int
    ours: dict[str, int]
    theirs: dict[str, int]
    opened_at: Instant
    updated_at: Instant
    history: list[HistoryStep]
    correction: str | None
    facts: int = 0
    refused: int = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One record of `atp.reconciliation.decisions.v1`: a person's word on a proposed correction."""

    type: Literal["exception.approved", "exception.rejected"]
    schema_version: str = "1.0"
    exception_id: Identity
    sku: Sku
    by: Identity
    reason: str
    decided_at: Instant


_decode_decision = msgspec.json.Decoder(Decision).decode


def decode_decision(value: bytes | None) -> Decision | Refusal:
    """Decode and validate a decision. Never raises for any input."""
    try:
        found = _decode_decision(value or b"")
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        return refusal_of(value or b"", error)
    return found if found.schema_version.startswith(KNOWN_MAJOR) else unknown_version(found.schema_version)


def opened(sku: str, drift: Drift, cause: Cause, now_ms: int) -> Incident:
    """A new exception. Its id names what drifts and since which snapshot, so the same drift makes the same id."""
    truth = drift.truth
    about = f"{truth.kind}|{sku}|{truth.place}|{drift.line}|{truth.as_of_ms}"
    return Incident(
        f"x-{xxh3_64_hexdigest(about.encode())}",
        truth.kind,
        truth.place,
        drift.line,
        truth.region,
        truth.source,
        truth.snapshot_id,
        truth.as_of_ms,
        cause,
        drift.units,
        drift.over,
        drift.ours,
        drift.theirs,
        [Step(Stage.OPEN, now_ms, SNAPSHOT)],
    )


def opened_late(late: LateFact, now_ms: int) -> Incident:
    """A new exception of a place to which facts came late; its id names the first of them."""
    about = f"{LATE}|{late.sku}|{late.place}|{late.event_id}"
    return Incident(
        f"x-{xxh3_64_hexdigest(about.encode())}", late.kind, late.place, LATE, late.region, late.source, "",
        late.recorded_ms, Cause.LATE_FACT, 0, 0, {}, {}, [Step(Stage.OPEN, now_ms, LATE_FACTS, late.event_id)],
    )  # fmt: skip


def refresh(incident: Incident, drift: Drift, cause: Cause) -> bool:
    """Let an exception that waits for somebody say what the latest snapshot says; whether that is something new."""
    truth = drift.truth
    seen = (truth.snapshot_id, truth.as_of_ms, cause, drift.units, drift.over, drift.ours, drift.theirs)
    had = (incident.snapshot_id, incident.as_of_ms, incident.cause, incident.units, incident.over)
    if seen == (*had, incident.ours, incident.theirs):
        return False
    incident.snapshot_id, incident.as_of_ms, incident.cause = seen[:3]
    incident.units, incident.over, incident.ours, incident.theirs = seen[3:]
    return True


def correction_of(sku: str, incident: Incident, truth: Truth, line: Line | None, now_ms: int) -> Fact | None:
    """The fact that sets our state to the truth as of the snapshot; None where no fact can."""
    event_id = f"correction|{incident.exception_id}|{incident.as_of_ms}"
    if incident.kind == STOCK:
        return _count(sku, incident, event_id, now_ms)
    return _line(sku, incident, event_id, truth.lines.get(incident.line), line, now_ms)


def _count(sku: str, incident: Incident, event_id: str, now_ms: int) -> StockCounted:
    """A count at the snapshot's as_of, of the states that drift."""
    return StockCounted(
        event_id=event_id,
        schema_version="1.0",
        source=CORRECTION_SOURCE,
        sku=sku,
        region=incident.region,
        node=incident.place,
        occurred_at=from_ms(incident.as_of_ms),
        recorded_at=from_ms(max(now_ms, incident.as_of_ms)),
        correlation_id=incident.exception_id,
        as_of=from_ms(incident.as_of_ms),
        quantities={StockState(state): units for state, units in incident.theirs.items()},
    )


def _line(
    sku: str, incident: Incident, event_id: str, theirs: LineVersion | None, ours: Line | None, now_ms: int
) -> Reservation | None:
    """The line at the version that the snapshot names; one that is absent is closed, a version above ours."""
    known = ours.versions[-1] if ours is not None and ours.versions else None
    if theirs is None:
        if known is None:
            return None
        theirs = _closed(known)
    elif known is not None and known.version >= theirs.version:
        return None  # the same version with another body: nobody's correction can change it
    reservation_id, _, number = incident.line.rpartition("\x1f")
    return Reservation(
        event_id=event_id,
        schema_version="1.0",
        source=CORRECTION_SOURCE,
        sku=sku,
        region=theirs.region,
        node=theirs.node,
        occurred_at=from_ms(incident.as_of_ms),
        recorded_at=from_ms(max(now_ms, incident.as_of_ms)),
        correlation_id=incident.exception_id,
        type=TYPES[theirs.state],
        reservation_id=reservation_id,
        line=int(number),
        version=theirs.version,
        channel=theirs.channel,
        state=theirs.state,
        requested=theirs.requested,
        open=theirs.open,
        consumed=theirs.consumed,
        released=theirs.released,
        expires_at=from_ms(theirs.expires_ms) if theirs.expires_ms else None,
        due_date=date.fromordinal(theirs.due) if theirs.due else None,
    )


def _closed(known: LineVersion) -> LineVersion:
    released = known.requested - known.consumed
    return msgspec.structs.replace(
        known, version=known.version + 1, state=LineState.CLOSED, open=0, released=released, expires_ms=0
    )


def record_of(sku: str, incident: Incident) -> ExceptionRecord:
    """An exception as it is published."""
    reservation_id, _, number = ("", "", "") if incident.line == LATE else incident.line.rpartition("\x1f")
    return ExceptionRecord(
        exception_id=incident.exception_id,
        sku=sku,
        region=incident.region,
        node=incident.place if incident.kind == STOCK else None,
        reservation_id=reservation_id or None,
        line=int(number) if number else None,
        kind=incident.kind,
        source=incident.source,
        snapshot_id=incident.snapshot_id,
        as_of=from_ms(incident.as_of_ms),
        cause=incident.cause,
        owner=owner_of(incident.cause, incident.source),
        state=incident.stage,
        units=incident.units,
        over_promised_units=incident.over,
        ours=incident.ours,
        theirs=incident.theirs,
        opened_at=from_ms(incident.opened_ms),
        updated_at=from_ms(incident.steps[-1].at_ms),
        history=[HistoryStep(s.stage, from_ms(s.at_ms), s.by, s.why) for s in incident.steps],
        correction=incident.correction or None,
        facts=incident.facts,
        refused=incident.refused,
    )


def correction_lag_ms(record: ExceptionRecord) -> int | None:
    """From the opening of an exception to its correction; None unless it was corrected just now."""
    return to_ms(record.updated_at) - to_ms(record.opened_at) if record.state is Stage.APPLIED else None

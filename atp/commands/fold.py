"""`atp fold`: facts of a file → canonical records, without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from atp import topics
from atp.commands.files import (
    BadLine,
    FactLine,
    fact_lines,
    instant_ms,
    load_nodes,
    load_policies,
    read_bytes,
    take_control,
)
from atp.commands.snapshots import TRUTH_TOPICS, Snapshots
from atp.domain.audit import Audit, audit
from atp.domain.availability import Reckoning
from atp.domain.decoding import decode
from atp.domain.desk import Books, Desk
from atp.domain.facts import CORRECTIONS_TOPIC, FACT_TYPES, Instant
from atp.domain.fold import State, World, apply, reckon
from atp.domain.intake import Admitted, Horizons, misplaced
from atp.domain.lateness import LateFact, late_fact, too_old_fact
from atp.domain.record import content_bytes, record_bytes, record_key
from atp.domain.refusals import Reason, Refusal
from atp.domain.resolution import note_late
from atp.domain.snapshots import KINDS
from atp.domain.times import LATEST_NOW_MS, to_ms

FOLDED_TOPICS = frozenset({*FACT_TYPES, CORRECTIONS_TOPIC})
CONTROL_TOPICS = {topics.POLICIES.name, topics.NODES.name, topics.MODES.name, topics.HEARTBEATS.name}


class Folded(msgspec.Struct):
    """Everything a fold of a file knows at its end."""

    state: State
    world: World
    horizons: Horizons
    now_ms: int
    inputs: dict[str, int]
    refusals: list[dict[str, object]]
    skus: set[str]
    audit: Audit | None = None
    corrected: set[str] = set()  # exceptions whose correction is among the facts
    late: list[LateFact] = []  # facts that are in no day

    def records(self) -> Iterator[tuple[str, bytes]]:
        """(key, canonical record), sorted by key."""
        return iter(sorted(self._records()))

    def reckonings(self, sku: str) -> Iterator[tuple[str, Reckoning]]:
        """(region, reckoning) of one SKU."""
        return reckon(sku, self.state, self.world, self.horizons, self.now_ms)

    def _records(self) -> Iterator[tuple[str, bytes]]:
        inputs = msgspec.json.encode(self.inputs)
        for sku in self.skus:
            head = self.state.heads.get((sku,))
            assert head is not None
            for region, reckoning in self.reckonings(sku):
                content = content_bytes(reckoning.content)
                record = record_bytes(sku, region, 1, head.as_of_ms, self.now_ms, content, inputs)
                yield record_key(sku, region), record


def fold_file(content: bytes, world: World, now_ms: int | None) -> Folded:
    """Fold the lines of a FACTS.jsonl. What people said holds for the whole file, wherever it stands in it."""
    refusals = take_controls(content, world)
    horizons = world.policies.horizons()
    if now_ms is None:
        now_ms = highest_recorded_ms(content)
    folded = Folded(State.in_memory(), world, horizons, now_ms, {}, refusals, set())
    snapshots = Snapshots()
    for line in fact_lines(content):
        if isinstance(line, BadLine):
            continue
        if line.topic in FOLDED_TOPICS:
            folded.inputs[line.topic] = line.number
            _apply(line, folded)
        elif line.topic in TRUTH_TOPICS and (wrong := snapshots.take(line, now_ms)) is not None:
            folded.refusals.append(_refused(line, wrong))
    _audit(snapshots, folded)
    return folded


def _audit(snapshots: Snapshots, folded: Folded) -> None:
    """Compare the snapshots once all facts are in: a SKU that only they name has a record if it drifts."""
    desk = Desk(Books.in_memory(), folded.state, folded.world, folded.horizons, folded.now_ms)
    for late in folded.late:
        note_late(late, desk)
    folded.audit = audit(snapshots.rows, snapshots.markers, desk, [decision for _, decision in snapshots.decisions])
    for at, wrong in folded.audit.refused.items():
        line, decision = snapshots.decisions[at]
        if decision.exception_id not in folded.corrected:  # else it was done, and nothing is open any more
            folded.refusals.append(_refused(line, wrong))
    folded.skus.update(row.sku for row in snapshots.rows if folded.state.heads.get((row.sku,)) is not None)


def take_controls(content: bytes, world: World) -> list[dict[str, object]]:
    refusals = []
    for line in fact_lines(content):
        if isinstance(line, BadLine):
            refusals.append(refused(line.number, "", None, None, Refusal(Reason.UNDECODABLE, line.message)))
        elif line.topic in CONTROL_TOPICS:
            wrong = take_control(line, world)
            if wrong is not None:
                refusals.append(_refused(line, Refusal(Reason.SCHEMA_INVALID, wrong)))
        elif line.topic not in topics.BY_NAME:
            allowed = ", ".join(sorted(FOLDED_TOPICS))
            message = f"topic = {line.topic!r}: no topic of the catalogue; facts are on {allowed}"
            refusals.append(_refused(line, Refusal(Reason.UNKNOWN_TOPIC, message)))
    return refusals


class _Recorded(msgspec.Struct):
    recorded_at: Instant


class _AsOf(msgspec.Struct):
    as_of: Instant


_decode_as_of = msgspec.json.Decoder(_AsOf).decode
_decode_recorded = msgspec.json.Decoder(_Recorded).decode


def highest_recorded_ms(content: bytes) -> int:
    """The default `now`: refused facts count too, they were recorded all the same; snapshots by their as_of."""
    highest = 0
    for line in fact_lines(content):
        if isinstance(line, BadLine):
            continue
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            if line.topic in FOLDED_TOPICS:
                highest = max(highest, to_ms(_decode_recorded(line.value).recorded_at))
            elif line.topic in KINDS:
                highest = max(highest, to_ms(_decode_as_of(line.value).as_of))
    return min(highest, LATEST_NOW_MS)


def _apply(line: FactLine, folded: Folded) -> None:
    fact = decode(line.topic, line.value_bytes)
    if isinstance(fact, Refusal):
        folded.refusals.append(_refused(line, fact))
        return
    outcome: object = misplaced(fact, line.key) if line.key is not None else None
    if outcome is None:
        outcome = apply(fact, folded.state, folded.horizons, folded.now_ms)
    if isinstance(outcome, Refusal):
        folded.refusals.append(_refused(line, outcome))
        if outcome.reason is Reason.TOO_OLD:
            _note_late(too_old_fact(fact, folded.world.region_of(fact)), folded)
        return
    folded.skus.add(fact.sku)
    if isinstance(outcome, Admitted):
        _note_late(late_fact(outcome, folded.world.region_of(fact), folded.world.policies), folded)
    if line.topic == CORRECTIONS_TOPIC and fact.correlation_id is not None:
        folded.corrected.add(fact.correlation_id)


def _note_late(late: LateFact | None, folded: Folded) -> None:
    if late is not None:
        folded.late.append(late)


def _refused(line: FactLine, refusal: Refusal) -> dict[str, object]:
    try:
        raw = msgspec.json.decode(line.value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raw = None
    event_id = raw.get("event_id") if isinstance(raw, dict) else None
    return refused(line.number, line.topic, line.key, event_id, refusal)


def refused(number: int, topic: str, key: str | None, event_id: object, refusal: Refusal) -> dict[str, object]:
    """A refused record as it is reported."""
    return {
        "reason": refusal.reason.value,
        "message": refusal.message,
        "topic": topic,
        "key": key,
        "event_id": event_id,
        "line": number,
    }


def run(
    facts: Path, policy: Path | None, nodes: Path | None, now: str | None, out: IO[bytes], err: IO[bytes]
) -> None:
    """Print one canonical record per (SKU, region), sorted by key; refusals go to standard error."""
    world = World()
    if policy is not None:
        for name in load_policies(policy, world):
            err.write(f"atp: --policy {policy}: field {name!r} is not known and has no effect\n".encode())
    if nodes is not None:
        load_nodes(nodes, world)
    now_ms = None if now is None else instant_ms(now, "--now")
    folded = fold_file(read_bytes(facts, "FACTS"), world, now_ms)
    for refusal in folded.refusals:
        err.write(msgspec.json.encode(refusal) + b"\n")
    for _, record in folded.records():
        out.write(record + b"\n")

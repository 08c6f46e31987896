"""What follows from a drift: the SKU's record says so at once, an exception is opened, corrected and verified."""

from __future__ import annotations

from atp.domain.causes import Cause, Surroundings, cause_of
from atp.domain.desk import Desk, Outcome
from atp.domain.exceptions import (
    BY_RULE,
    LATE,
    LATE_FACTS,
    SNAPSHOT,
    Decision,
    Incident,
    SkuExceptions,
    Stage,
    correction_of,
    opened,
    opened_late,
    record_of,
    refresh,
)
from atp.domain.facts import Fact
from atp.domain.intake import SkuHead
from atp.domain.lateness import LateFact
from atp.domain.partials import ExceptionsOpen, Partial
from atp.domain.refusals import Reason, Refusal
from atp.domain.reservations import DemandBook
from atp.domain.series import PartitionBook
from atp.domain.snapshots import RESERVATIONS, STOCK
from atp.domain.times import to_ms
from atp.domain.truth import Drift, SkuTruth, Truth, drifts_of, name_of, nothing

LIES_ABOUT = frozenset({Stage.OPEN, Stage.PROPOSED, Stage.APPROVED})


def settle(sku: str, desk: Desk, correction: str = "") -> Outcome:
    """Compare a SKU anew with its latest truth. `correction`: event_id of a correction that was just taken in."""
    outcome, book = Outcome(), desk.books.book
    known = desk.books.truths.get((sku,)) or SkuTruth()
    if _hear_silence(sku, known, desk, book):
        desk.books.truths[sku,] = known
    if known.known:
        state = desk.state
        found = {
            name: drifts_of(sku, truth, state.stock, state.reservations, desk.horizons)
            for name, truth in known.known.items()
        }
        compare_anew(sku, known, found, desk, book, outcome, correction)
        if outcome.partials:
            desk.books.keep(book)
    return outcome


def _hear_silence(sku: str, known: SkuTruth, desk: Desk, book: PartitionBook) -> bool:
    """Of a key that the latest complete snapshot does not name there was nothing, though we hear of it only now."""
    head = desk.state.heads.get((sku,)) or SkuHead()
    places = [(STOCK, node) for node in head.nodes] + [(RESERVATIONS, region) for region in head.regions]
    changed = False
    for series in book.series.values():
        snapshot_id, as_of_ms = series.word_on(sku)
        for kind, place in places:
            before = known.known.get(name_of(kind, place))
            if snapshot_id and series.speaks_of(kind, place) and (before is None or before.as_of_ms < as_of_ms):
                truth = nothing(kind, place, series.region, series.source, snapshot_id, as_of_ms)
                known.known[name_of(kind, place)] = truth
                changed = True
    return changed


def compare_anew(
    sku: str,
    known: SkuTruth,
    found: dict[str, list[Drift]],
    desk: Desk,
    book: PartitionBook,
    outcome: Outcome,
    correction: str = "",
) -> None:
    """Some places were held against the truth in force: the SKU's drifts, and what becomes of its exceptions."""
    head = desk.state.heads.get((sku,)) or SkuHead()
    drifts = {name: drifted for name, drifted in head.drifts.items() if name not in found}
    for name in sorted(found):
        if found[name]:
            drifts[name] = (sum(d.units for d in found[name]), sum(d.over for d in found[name]))
    if head.drifts != drifts:
        _place(head, [known.known[name] for name in drifts])
        outcome.touched.add(sku)
        head.drifts = drifts
        desk.state.heads[sku,] = head
    _follow(sku, known, found, desk, book, outcome, correction)


def _place(head: SkuHead, truths: list[Truth]) -> None:
    """A SKU that no fact ever named at a place has a record there once the truth says otherwise."""
    for truth in truths:
        if truth.kind == STOCK and truth.place not in head.nodes:
            head.nodes = sorted([*head.nodes, truth.place])
        elif truth.kind != STOCK and truth.place not in head.regions:
            head.regions = sorted([*head.regions, truth.place])
        if head.stream_ms < 0:  # no fact came: the truth is all that is known of the SKU
            head.as_of_ms = max(head.as_of_ms, truth.as_of_ms)


def _follow(
    sku: str,
    known: SkuTruth,
    compared: dict[str, list[Drift]],
    desk: Desk,
    book: PartitionBook,
    outcome: Outcome,
    correction: str,
) -> None:
    """Open, refresh, correct and verify the exceptions of the places that were compared."""
    rows = desk.books.exceptions.get((sku,)) or SkuExceptions()
    drifting = {
        f"{place}|{drift.line}": drift
        for place, drifts in compared.items()
        for drift in drifts
        if drift.units > desk.world.policies.resolve(sku, drift.truth.region).drift_units_tolerance
    }
    concerned = {name for name, found in rows.open.items() if name_of(found.kind, found.place) in compared}
    if not drifting and not concerned:
        return
    for incident in rows.open.values():
        _lie(book, incident, -1)
    for name in sorted({*drifting, *concerned}):
        found, drift = rows.open.get(name), drifting.get(name)
        steps = 0 if found is None else len(found.steps)
        if found is not None and correction and found.correction == correction and found.stage is Stage.APPROVED:
            found.step(Stage.APPLIED, desk.now_ms, correction)
        if drift is None:
            assert found is not None
            changed = _agree(found, known, drifting, desk.now_ms)
        else:
            found, changed = _disagree(sku, found, drift, desk, outcome)
            rows.open[name] = found
        if changed or len(found.steps) != steps:
            outcome.exceptions.append(record_of(sku, found))
        if found.stage is Stage.VERIFIED:
            del rows.open[name]
    for incident in rows.open.values():
        _lie(book, incident, +1)
    _keep(sku, rows, desk)
    regions = {truth.region for truth in known.known.values()}
    outcome.partials = [p for p in outcome.partials if not _is_lying(p, regions)]
    outcome.partials += [book.lie(region).partial(region, desk.partition) for region in sorted(regions)]


def _is_lying(partial: Partial, regions: set[str]) -> bool:
    return isinstance(partial, ExceptionsOpen) and partial.region in regions


def _keep(sku: str, rows: SkuExceptions, desk: Desk) -> None:
    if rows.open:
        desk.books.exceptions[sku,] = rows
    elif desk.books.exceptions.get((sku,)) is not None:
        del desk.books.exceptions[sku,]


def _lie(book: PartitionBook, incident: Incident, sign: int) -> None:
    if incident.stage in LIES_ABOUT:
        book.lie(incident.region).add(sign, incident.units, incident.opened_ms)


def _agree(found: Incident, known: SkuTruth, drifting: dict[str, Drift], now_ms: int) -> bool:
    """The key agrees: verified, but a correction, or a late fact, has to wait for a snapshot after its own."""
    place = name_of(found.kind, found.place)
    truth = known.known.get(place)
    newer = truth is not None and truth.as_of_ms > found.as_of_ms
    if found.stage in (Stage.APPROVED, Stage.APPLIED) and not newer:
        return False
    if found.cause is Cause.LATE_FACT and not (newer and all(not name.startswith(f"{place}|") for name in drifting)):
        return False
    found.step(Stage.VERIFIED, now_ms, SNAPSHOT if newer else LATE_FACTS)
    return True


def note_late(late: LateFact, desk: Desk) -> Outcome:
    """A fact came after the correction window of its day: an exception of its place, one at a time."""
    rows = desk.books.exceptions.get((late.sku,)) or SkuExceptions()
    outcome, book = Outcome(), desk.books.book
    name = f"{name_of(late.kind, late.place)}|{LATE}"
    found = rows.open.get(name)
    if found is None:
        found = rows.open[name] = opened_late(late, desk.now_ms)
    else:
        _lie(book, found, -1)
    found.take(late)
    _lie(book, found, +1)
    desk.books.keep(book)
    desk.books.exceptions[late.sku,] = rows
    outcome.exceptions.append(record_of(late.sku, found))
    if late.region:  # a node that the reference does not know has none yet
        outcome.partials.append(book.lie(late.region).partial(late.region, desk.partition))
    return outcome


def _disagree(sku: str, found: Incident | None, drift: Drift, desk: Desk, outcome: Outcome) -> tuple[Incident, bool]:
    """The key drifts: a new exception, an old one that says more, or one whose correction did not hold."""
    cause = cause_of(drift, _around(sku, drift, desk))
    if found is None:
        found, changed = opened(sku, drift, cause, desk.now_ms), True
    elif found.stage in (Stage.OPEN, Stage.PROPOSED):
        changed = refresh(found, drift, cause)
    elif drift.truth.as_of_ms > found.as_of_ms and (found.stage is not Stage.REJECTED or drift.units != found.units):
        changed = refresh(found, drift, cause)
        found.step(Stage.OPEN, desk.now_ms, SNAPSHOT, "the drift is there again")
    else:
        return found, False
    _propose(sku, found, drift, desk, outcome)
    return found, changed


def _around(sku: str, drift: Drift, desk: Desk) -> Surroundings:
    state = desk.state
    line = state.reservations.lines.get(sku, drift.line) if drift.line else None
    return Surroundings(
        state.heads.get((sku,)) or SkuHead(),
        state.reservations.demand.get((sku,)) or DemandBook(),
        line is not None and bool(line.versions),
        desk.world.policies.resolve(sku, drift.truth.region).correction_ms,
    )


def _propose(sku: str, found: Incident, drift: Drift, desk: Desk, outcome: Outcome) -> None:
    """Propose a correction where a fact can mend the drift; approve it by rule where it is small."""
    if found.stage is Stage.OPEN and _correction(sku, found, drift.truth, desk) is not None:
        found.step(Stage.PROPOSED, desk.now_ms, BY_RULE)
    policy = desk.world.policies.resolve(sku, found.region)
    if found.stage is Stage.PROPOSED and found.units <= policy.auto_correct_units:
        _approve(sku, found, drift.truth, BY_RULE, f"at most {policy.auto_correct_units} units", desk, outcome)


def _correction(sku: str, found: Incident, truth: Truth, desk: Desk) -> Fact | None:
    line = desk.state.reservations.lines.get(sku, found.line) if found.line else None
    return correction_of(sku, found, truth, line, desk.now_ms)


def _approve(sku: str, found: Incident, truth: Truth, by: str, why: str, desk: Desk, outcome: Outcome) -> None:
    """Approve a correction and post it, once."""
    correction = _correction(sku, found, truth, desk)
    if correction is None:
        return
    found.step(Stage.APPROVED, desk.now_ms, by, why)
    found.correction = correction.event_id
    outcome.corrections.append(correction)


def decide(decision: Decision, desk: Desk) -> Outcome | Refusal:
    """Do as a person decided. The same decision again changes nothing; one that comes too late is refused."""
    rows = desk.books.exceptions.get((decision.sku,)) or SkuExceptions()
    found = rows.find(decision.exception_id)
    wanted = Stage.APPROVED if decision.type == "exception.approved" else Stage.REJECTED
    if found is not None and any(s.stage is wanted and s.at_ms == to_ms(decision.decided_at) for s in found.steps):
        return Outcome()
    if found is None or found.stage is not Stage.PROPOSED:
        stands = "not open" if found is None else found.stage.value
        message = f"exception_id = {decision.exception_id!r}: is {stands}; PROPOSED is needed"
        return Refusal(Reason.DECISION_TOO_LATE, message)
    outcome, book = Outcome(), desk.books.book
    _lie(book, found, -1)
    if wanted is Stage.REJECTED:
        found.step(Stage.REJECTED, to_ms(decision.decided_at), decision.by, decision.reason)
    else:
        known = desk.books.truths.get((decision.sku,)) or SkuTruth()
        truth = known.known[name_of(found.kind, found.place)]
        by_person = desk._replace(now_ms=to_ms(decision.decided_at))
        _approve(decision.sku, found, truth, decision.by, decision.reason, by_person, outcome)
    _lie(book, found, +1)
    desk.books.keep(book)
    desk.books.exceptions[decision.sku,] = rows
    outcome.exceptions.append(record_of(decision.sku, found))
    outcome.partials.append(book.lie(found.region).partial(found.region, desk.partition))
    return outcome

"""Reconciliation: snapshots against our state at their as_of; what drifts is told, corrected and verified."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import msgspec

from atp.app import app, config, control, lane
from atp.domain.desk import Desk, Outcome
from atp.domain.exceptions import correction_lag_ms, decode_decision
from atp.domain.facts import CORRECTION_SOURCE
from atp.domain.intake import Admitted, misplaced
from atp.domain.lateness import LateFact
from atp.domain.reconciliation import advance, take_marker, take_row
from atp.domain.refusals import Refusal
from atp.domain.resolution import decide, note_late, settle
from atp.domain.snapshots import KINDS, SnapshotClosed, decode_snapshot
from atp.metrics import CORRECTION_LAG_SECONDS
from atp.topics import CORRECTIONS, DECISIONS, EXCEPTIONS, REGION_PARTIALS
from tables import intake
from tables.reconciliation import books, truths
from tables.state import state

encode = msgspec.json.encode


@app.agent(lane.stage("reconciliation"), concurrency=1)
async def reconciliation(batches: Any) -> None:
    """Take snapshots and decisions in, compare what late facts concern, and go on with what waits."""
    async for batch in batches:
        with batch:
            desk = Desk(books, state, control.world, config.horizons, batch.now_ms, batch.partition, batch.partitions)
            for item in batch:
                outcome = take(item, desk, batch)
                if isinstance(outcome, Refusal):
                    batch.refuse(item, outcome.reason.value, outcome.message)
                else:
                    tell(batch, outcome)
            seen = control.sightings[batch.partition]
            tell(batch, advance(desk, seen.passed_ms, following, config.compared_at_once))


def following(after: str, limit: int) -> list[str]:
    """The SKUs after one, with what a search looks at of each."""
    return intake.following(after, limit, truths)


@singledispatch
def take(record: Any, desk: Desk, batch: Any) -> Outcome | Refusal:
    """Take a record of a snapshot, or a decision."""
    if record.topic == DECISIONS.name:
        decision = decode_decision(record.value)
        wrong = decision if isinstance(decision, Refusal) else misplaced(decision, record.key, batch)
        return wrong or decide(decision, desk)  # type: ignore[arg-type]
    found = decode_snapshot(record.topic, record.value, desk.now_ms)
    if isinstance(found, Refusal):
        return found
    if isinstance(found, SnapshotClosed):
        return take_marker(found, KINDS[record.topic], desk)
    return misplaced(found, record.key, batch) or take_row(found, desk)


@take.register
def _(admitted: Admitted, desk: Desk, batch: Any) -> Outcome:
    """A fact that is dated before the latest snapshot of its SKU: compare anew."""
    fact = admitted.fact
    return settle(fact.sku, desk, fact.event_id if fact.source == CORRECTION_SOURCE else "")


@take.register
def _(late: LateFact, desk: Desk, batch: Any) -> Outcome:
    """A fact that came after the correction window of its day."""
    return note_late(late, desk)


def tell(batch: Any, outcome: Outcome) -> None:
    """Publish what follows; have the records of touched SKUs reckoned anew."""
    for record in outcome.exceptions:
        batch.send(EXCEPTIONS.name, record.exception_id.encode(), encode(record))
        lag_ms = correction_lag_ms(record)
        if lag_ms is not None:
            CORRECTION_LAG_SECONDS.labels(record.region).observe(lag_ms / 1000)
    for fact in outcome.corrections:
        batch.send(CORRECTIONS.name, fact.sku.encode(), encode(fact))
    for partial in outcome.partials:
        batch.send_to_owner(REGION_PARTIALS.name, partial.region, encode(partial))
    for sku in outcome.touched:
        batch.touch(sku)
    if outcome.more:
        batch.go_on()

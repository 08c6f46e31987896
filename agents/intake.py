"""Facts in: decoded, judged, remembered; refused ones go to the dead letters, admitted ones to their stages."""

from __future__ import annotations

from typing import Any

import msgspec

from atp import topics
from atp.app import app, config, control, lane
from atp.domain.decoding import decode
from atp.domain.facts import Fact
from atp.domain.intake import Admitted, admit, misplaced
from atp.domain.lateness import LateFact, late_fact, too_old_fact
from atp.domain.refusals import Reason, Refusal
from atp.domain.routing import places_of, stages_of
from atp.domain.times import to_ms
from atp.domain.totals import SourceTotals, Tally, report
from atp.fact_tally import FactTally
from atp.trace import context
from tables.intake import heads, marks
from tables.reconciliation import books
from tables.totals import homeless, totals

CAME_ALL_THE_SAME = frozenset({Reason.TOO_OLD, Reason.FUTURE})
MEASURED = 64  # of a batch, so many facts at least are looked at for their lag, if it has them

signals = FactTally()  # for those who watch; `Tally` is what is held against the sources


@app.agent(lane.stage("intake"), concurrency=1)
async def intake(batches: Any) -> None:
    """Judge every record of the fact topics; what they are held against is not for this stage."""
    async for batch in batches:
        with batch:
            step, tally = 1 + len(batch.records) // MEASURED, Tally()
            compared_ms = books.book.compared_ms
            for number, record in enumerate(batch):
                if record.topic in topics.TRUTH:
                    batch.forward("reconciliation", record)
                    continue
                judged = judge(batch, record, tally, compared_ms)
                if isinstance(judged, Refusal):
                    batch.refuse(record, judged.reason.value, judged.message)
                elif judged is not None and number % step == 0:
                    batch.forward("lags", (step, judged))
            tally.settle(totals, homeless)
            if batch.is_tick:
                find_homes()
                tell_totals(batch)
                seen = control.sightings[batch.partition]  # for the stages that wait for watermarks
                seen.look(control.world.watermarks, batch.consumed_ms, batch.now_ms)
            signals.tell()


def judge(batch: Any, record: Any, tally: Tally, compared_ms: int) -> Admitted | Refusal | None:
    """Admit one record and hand it on, or answer why it is refused; None for a duplicate."""
    fact: Fact | Refusal = decode(record.topic, record.value)
    if isinstance(fact, Refusal):
        return fact
    misplacement = misplaced(fact, record.key, batch)
    if misplacement is not None:
        return misplacement
    admitted = admit(fact, heads, marks, config.horizons, batch.now_ms, compared_ms)
    signals.count(record.topic, fact, admitted, control.world.nodes)
    region = control.world.region_of(fact)
    if isinstance(admitted, Refusal):
        if admitted.reason in CAME_ALL_THE_SAME:
            tally.take(fact, record.topic, region, to_ms(fact.recorded_at))
        if admitted.reason is Reason.TOO_OLD:
            watch(batch, too_old_fact(fact, region))
        return admitted
    if isinstance(admitted, Admitted):
        tally.take(fact, record.topic, region, admitted.recorded_ms)
        watch(batch, late_fact(admitted, region, control.world.policies))
        for stage in stages_of(admitted):
            batch.forward(stage, admitted)
        batch.touch(fact.sku, *places_of(admitted))
        if record.headers:
            batch.carry(fact.sku, context(record.headers))
        return admitted
    if admitted.is_original:
        tally.take(fact, record.topic, region, to_ms(fact.recorded_at))
    return None


def watch(batch: Any, late: LateFact | None) -> None:
    """Somebody has to look at a fact that came after the correction window of its day."""
    if late is not None:
        batch.forward("reconciliation", late)


def find_homes() -> None:
    """Give what came of nodes that nobody knew to the regions of those that are known by now."""
    for source, name in [key for key, _ in homeless.scan()]:
        node, came = control.world.nodes.get(name), homeless.get((source, name))
        if node is not None and came is not None:  # this turn may have seen to it already
            row = totals.get((source, node.region)) or SourceTotals()
            row.join(came)
            totals[source, node.region] = row
            del homeless[source, name]


def tell_totals(batch: Any) -> None:
    """Tell the regions what came of each source since they were told."""
    for source, region in [key for key, _ in totals.scan()]:
        row = totals[source, region]
        for partial in report(source, region, row, batch.partition, batch.now_ms):
            totals[source, region] = row
            batch.send_to_owner(topics.REGION_PARTIALS.name, region, msgspec.json.encode(partial))

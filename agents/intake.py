"""Facts in: decoded, judged, remembered; refused ones go to the dead letters, admitted ones to their stages."""

from __future__ import annotations

from typing import Any

from atp import topics
from atp.app import app, config, lane
from atp.domain.decoding import decode
from atp.domain.facts import Fact
from atp.domain.intake import Admitted, admit, misplaced
from atp.domain.refusals import Refusal
from atp.domain.routing import places_of, stages_of
from atp.trace import context
from tables.intake import heads, marks


@app.agent(lane.stage("intake"), concurrency=1)
async def intake(batches: Any) -> None:
    """Judge every record of the fact topics; what they are held against is not for this stage."""
    async for batch in batches:
        with batch:
            for record in batch:
                if record.topic in topics.TRUTH:
                    batch.forward("reconciliation", record)
                    continue
                judged = judge(batch, record)
                if isinstance(judged, Refusal):
                    batch.refuse(record, judged.reason.value, judged.message)


def judge(batch: Any, record: Any) -> Refusal | None:
    """Admit one record and hand it on, or answer why it is refused."""
    fact: Fact | Refusal = decode(record.topic, record.value)
    if isinstance(fact, Refusal):
        return fact
    misplacement = misplaced(fact, record.key, batch)
    if misplacement is not None:
        return misplacement
    admitted = admit(fact, heads, marks, config.horizons, batch.now_ms)
    if isinstance(admitted, Refusal):
        return admitted
    if isinstance(admitted, Admitted):
        for stage in stages_of(admitted):
            batch.forward(stage, admitted)
        batch.touch(fact.sku, *places_of(admitted))
        if record.headers:
            batch.carry(fact.sku, context(record.headers))
    return None

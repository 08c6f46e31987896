"""What SKU tasks and operators say of regions: decoded, and handed to the stage that it concerns."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app, region_lane
from atp.domain.modes import ModeCommand, ModeError, parse_command
from atp.domain.partials import (
    LagMeasured,
    LedgerChanged,
    LedgerTotalled,
    Partial,
    PartialError,
    SourceCounted,
    SourceNumbered,
    parse_partial,
)
from atp.domain.refusals import Reason
from atp.topics import MODE_COMMANDS

STAGES: dict[type, str] = {
    LagMeasured: "freshness",
    SourceCounted: "arrivals",
    SourceNumbered: "arrivals",
    LedgerTotalled: "closing",
    LedgerChanged: "closing",
}


@app.agent(region_lane.stage("partials"), concurrency=1)
async def partials(batches: Any) -> None:
    """Hand every partial and every command on; have its region looked at."""
    async for batch in batches:
        with batch:
            for record in batch:
                try:
                    said = read(record)
                except (ModeError, PartialError, msgspec.DecodeError, UnicodeDecodeError) as error:
                    batch.refuse(record, Reason.SCHEMA_INVALID.value, str(error))
                    continue
                if not batch.owns(said.region):
                    message = f"region = {said.region!r}: it belongs into another partition, by murmur2"
                    batch.refuse(record, Reason.WRONG_PARTITION.value, message)
                    continue
                batch.forward(STAGES.get(type(said), "modes"), said)
                batch.touch(said.region)


def read(record: Any) -> Partial | ModeCommand:
    """The value of a record of either topic; raises when it cannot be used."""
    document = msgspec.json.decode(record.value or b"null")
    return parse_command(document) if record.topic == MODE_COMMANDS.name else parse_partial(document)

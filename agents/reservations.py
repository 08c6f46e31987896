"""Reservations: lines, the demand summed over them, and their pairing with what the WMS shipped."""

from __future__ import annotations

from typing import Any

from atp.app import app, config, lane
from atp.domain import reservations as domain
from tables.reservations import rows


@app.agent(lane.stage("reservations"), concurrency=1)
async def reservations(batches: Any) -> None:
    """Take line versions in, and the ships that name a line."""
    async for batch in batches:
        with batch:
            for admitted in batch:
                if domain.apply(admitted, rows, config.horizons):
                    batch.touch(admitted.fact.sku)

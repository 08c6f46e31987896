"""Damage documents: the stock effects of what was reported, reversed and written off."""

from __future__ import annotations

from typing import Any

from atp.app import app, config, lane
from atp.domain import damages as domain
from tables.damages import documents


@app.agent(lane.stage("damages"), concurrency=1)
async def damages(batches: Any) -> None:
    """Take damage versions in; hand their stock effects on."""
    async for batch in batches:
        with batch:
            for admitted in batch:
                for effect in domain.apply(admitted, documents, config.horizons):
                    batch.forward("stock", effect)

"""Inbound receipts: open supply, and the stock effects of what has arrived."""

from __future__ import annotations

from typing import Any

from atp.app import app, config, lane
from atp.domain import receipts as domain
from tables.receipts import rows


@app.agent(lane.stage("receipts"), concurrency=1)
async def receipts(batches: Any) -> None:
    """Take receipt versions in; hand their stock effects on."""
    async for batch in batches:
        with batch:
            for admitted in batch:
                effects, redirected = domain.apply(admitted, rows, config.horizons)
                for effect in effects:
                    batch.forward("stock", effect)
                if redirected:
                    batch.touch(admitted.fact.sku)

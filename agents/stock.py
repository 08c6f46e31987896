"""Stock: counts and effects, placed by their own time."""

from __future__ import annotations

from typing import Any

from atp.app import app, config, lane
from atp.domain import stock as domain
from tables.stock import rows


@app.agent(lane.stage("stock"), concurrency=1)
async def stock(batches: Any) -> None:
    """Place every stock fact, and the effects of receipts and damages."""
    async for batch in batches:
        with batch:
            for item in batch:
                domain.apply(domain.effect_of(item), rows, config.horizons)

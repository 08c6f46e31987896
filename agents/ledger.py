"""The daily ledger: movements kept by SKU until nothing can change their date any more."""

from __future__ import annotations

from typing import Any

from atp.app import app, lane
from atp.domain.ledger_account import take
from tables.ledger import rows


@app.agent(lane.stage("ledger"), concurrency=1)
async def ledger(batches: Any) -> None:
    """Keep every admitted movement; each SKU's row once a batch."""
    async for batch in batches:
        with batch:
            take(batch, rows)

"""The daily ledger by SKU: movements kept until nothing can change their date; rows, when a date is closed."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app, config, control, lane
from atp.domain.ledger_account import take
from atp.domain.ledger_walk import Ledger, Portion, advance, before
from atp.topics import LEDGER, REGION_PARTIALS
from tables import intake
from tables.ledger import accounts, late, rows, tails, walks
from tables.reservations import lines
from tables.state import state

encode = msgspec.json.encode


@app.agent(lane.stage("ledger"), concurrency=1)
async def ledger(batches: Any) -> None:
    """Keep every admitted movement, each SKU's row once a batch; go on with the date that is being closed."""
    async for batch in batches:
        with batch:
            books = Ledger(rows, walks, late, late_skus, state, control.world, config.horizons, batch.partition)
            before(batch, books)
            take(batch, rows)
            seen = control.sightings[batch.partition]
            asked = control.asked if config.closed_at_once else ()
            tell(batch, advance(asked, books, seen.passed_ms, following, config.closed_at_once))


def following(after: str, limit: int) -> list[str]:
    """The SKUs after one, with what a row of the ledger is made of."""
    return intake.following(after, limit, tails, accounts, lines)


def late_skus() -> list[str]:
    """The SKUs of which a published row may be another now."""
    return [key[0] for key, _ in late.scan()]


def tell(batch: Any, portion: Portion) -> None:
    """Publish rows; tell the region."""
    for row in portion.rows:
        key = f"{row.business_date}|{row.region}|{row.sku}|{row.revision}"
        batch.send(LEDGER.name, key.encode(), encode(row))
    for partial in portion.partials:
        batch.send_to_owner(REGION_PARTIALS.name, partial.region, encode(partial))
    if portion.more:
        batch.go_on()

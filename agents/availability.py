"""Availability: every record of a touched SKU is reckoned once per commit, and published if it changed."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app, config, control, lane
from atp.domain.fold import reckon
from atp.domain.record import Published, content_bytes, digest, record_bytes, record_key
from atp.domain.times import FOREVER_MS
from atp.topics import AVAILABILITY
from tables.availability import published
from tables.intake import heads
from tables.state import state


@app.agent(lane.stage("availability"), concurrency=1)
async def availability(batches: Any) -> None:
    """Publish what facts, time, policies or modes have changed."""
    async for batch in batches:
        with batch:
            if control.outlook_changed(batch.partition, batch.now_ms):
                batch.start_sweep()
            inputs = msgspec.json.encode(batch.offsets)
            for sku in batch.dirty | batch.due | batch.swept:
                publish(batch, sku, inputs)


def publish(batch: Any, sku: str, inputs: bytes) -> None:
    """Reckon every record of a SKU; send those whose content changed; wake again when time will change one."""
    wake_ms = FOREVER_MS
    for region, reckoning in reckon(sku, state, control.world, config.horizons, batch.now_ms):
        wake_ms = min(wake_ms, reckoning.valid_until_ms)
        control.reckoned(batch.partition, sku, region, batch.now_ms)
        content = content_bytes(reckoning.content)
        row = published.get((sku, region)) or Published()
        if row.version and row.digest == digest(content):
            continue
        row.version, row.digest = row.version + 1, digest(content)
        published[sku, region] = row
        record = record_bytes(sku, region, row.version, heads[sku,].as_of_ms, batch.now_ms, content, inputs)
        batch.send(AVAILABILITY.name, record_key(sku, region).encode(), record)
    if wake_ms < FOREVER_MS:
        batch.wake_at(sku, wake_ms)

"""Availability: the records of a touched SKU are reckoned once per commit, and published if they changed."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app, config, control, lane
from atp.domain.availability import Reckoning
from atp.domain.fold import reckon, regions_of
from atp.domain.record import Published, content_bytes, digest, record_bytes, record_key
from atp.domain.times import FOREVER_MS
from atp.metrics import PUBLISH_LAG_SECONDS
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
    """Reckon the records that may have changed; wake the SKU again when time will change one."""
    touched = batch.touched(sku)
    places = None if touched is None else control.world.nodes.regions_among(touched)
    stream_ms = heads[sku,].stream_ms
    changed, wake_ms = [], FOREVER_MS
    for region in regions_of(sku, state, control.world):
        row = published.get((sku, region))
        if row is None or places is None or region in places or not row.holds(batch.now_ms, stream_ms):
            changed.append(region)
        else:
            wake_ms = min(wake_ms, row.valid_until_ms)
    for region, reckoning in reckon(sku, state, control.world, config.horizons, batch.now_ms, changed):
        wake_ms = min(wake_ms, reckoning.valid_until_ms)
        control.reckoned(batch.partition, sku, region, batch.now_ms)
        if send(batch, sku, region, reckoning, inputs) and touched is not None:
            PUBLISH_LAG_SECONDS.observe((batch.now_ms - stream_ms) / 1000)
    if wake_ms < FOREVER_MS:
        batch.wake_at(sku, wake_ms)


def send(batch: Any, sku: str, region: str, reckoning: Reckoning, inputs: bytes) -> bool:
    """Publish a record if its content is not what was published last; answers whether it was."""
    content = content_bytes(reckoning.content)
    found = digest(content)
    row = published.get((sku, region)) or Published()
    until = (reckoning.valid_until_ms, reckoning.stream_until_ms)
    same = row.version > 0 and row.digest == found
    if same and until == (row.valid_until_ms, row.stream_until_ms):
        return False
    row.digest, (row.valid_until_ms, row.stream_until_ms) = found, until
    published[sku, region] = row
    if not same:
        row.version += 1
        record = record_bytes(sku, region, row.version, heads[sku,].as_of_ms, batch.now_ms, content, inputs)
        batch.send(AVAILABILITY.name, record_key(sku, region).encode(), record, batch.carried(sku))
    return not same

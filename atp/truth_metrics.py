"""What reconciliation tells Prometheus at a scrape: what of a source is missing, and how its snapshots compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from atp import metrics
from atp.app import region_control, region_lane
from atp.domain.balances import SourceArrivals
from atp.domain.freshness import Heartbeat
from atp.domain.switching import RegionModes
from atp.lane import LaneError
from atp.metrics import Scraped
from tables.arrivals import arrivals
from tables.modes import regions

Sample = tuple[Scraped, tuple[str, ...], float]


def truth_samples(now_ms: int) -> Iterator[Sample]:
    """Regions and sources whose tasks run here."""
    world = region_control.world
    for region in world.nodes.regions:
        state = committed(regions, region)
        if state is not None:
            yield from snapshot_samples(region, state, now_ms)
            yield from exception_samples(region, state, now_ms)
    for (source, region), beat in sorted(world.watermarks.beats.items()):
        row = committed(arrivals, region, source)
        if row is not None:
            yield from arrival_samples(source, region, row, beat)


def committed(table: Any, *key: str) -> Any:
    """A row of the region lane; None where there is none, or another worker has it, or it is not restored yet."""
    with suppress(LookupError, LaneError):
        return region_lane.committed(table, key)
    return None


def snapshot_samples(region: str, state: RegionModes, now_ms: int) -> Iterator[Sample]:
    """How the latest snapshots compare."""
    for series in state.series.values():
        at = (region, series.source, series.kind)
        if series.outcome is not None:
            yield metrics.SNAPSHOT_OUTCOME, (*at, series.outcome.value), 1
        if series.judged_ms:
            yield metrics.SNAPSHOT_AGE, at, (now_ms - series.judged_ms) / 1000
            yield metrics.SNAPSHOT_DIVERGENCE, at, series.divergence
            yield metrics.OVER_PROMISED, at, series.over_promised_units


def exception_samples(region: str, state: RegionModes, now_ms: int) -> Iterator[Sample]:
    """What waits for somebody."""
    waiting = [(count, oldest_ms) for count, oldest_ms in state.exceptions.values() if count]
    oldest_ms = min((oldest_ms for _, oldest_ms in waiting), default=now_ms)
    yield metrics.EXCEPTIONS_OPEN, (region,), sum(count for count, _ in waiting)
    yield metrics.EXCEPTIONS_OLDEST, (region,), max(0, now_ms - oldest_ms) / 1000


def arrival_samples(source: str, region: str, row: SourceArrivals, beat: Heartbeat) -> Iterator[Sample]:
    """What of a source has not come."""
    yield metrics.MISSING_NUMBERS, (source, region), row.missing_numbers
    share = row.completeness(beat)
    if share is not None:
        yield metrics.SOURCE_COMPLETENESS, (source, region), share

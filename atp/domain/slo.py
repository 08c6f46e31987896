"""Freshness of a region as it is promised, measured and published: lags, watermarks, checks and the budget left.

Every `CHECK_MS` a region is checked: good while every required source's watermark is within `freshness_target_s` and
the share `freshness_share` of the facts told since the check before was published within it. So a silent source is
never fresh, however few facts flow. The budget is the share of checks of a day that may be bad.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from atp.domain.facts import Identity
from atp.domain.freshness import WatermarkBook
from atp.domain.lags import Sketch, merge, quantiles_ms
from atp.domain.partials import LagMeasured
from atp.domain.policy import RegionPolicy
from atp.domain.times import HOUR_MS, Stamp, rfc3339

CHECK_MS = 10_000
BUDGET_HOURS = 24
QUANTILES = (0.5, 0.95, 0.99)


class SloState(StrEnum):
    """OK; LATE: the latest check was bad; SPENT: more checks of the day were bad than the target allows."""

    OK = "OK"
    LATE = "LATE"
    SPENT = "SPENT"


class Hour(msgspec.Struct, array_like=True):
    """Facts of one source told within an hour."""

    facts: int = 0
    in_time: int = 0
    sketch: Sketch = {}


class RegionFreshness(msgspec.Struct):
    """All that is known of a region's freshness: lags of two hours, checks of a day."""

    sources: dict[str, dict[int, Hour]] = {}  # by source, by hour
    checks: dict[int, tuple[int, int]] = {}  # by hour: good ones, all
    checked_ms: int = 0
    good: bool = True
    facts: int = 0  # told since the latest check
    in_time: int = 0


class SourceFreshness(msgspec.Struct, frozen=True):
    """One source: its watermark, and the facts of the running hour and the one before. Lags in ms; none: no facts."""

    watermark: Stamp | None
    silent: bool
    facts: int
    in_time: int
    lag_p50_ms: int | None = None
    lag_p95_ms: int | None = None
    lag_p99_ms: int | None = None

    def lags(self) -> dict[str, int]:
        """Lag by quantile (ms); empty without facts."""
        found = (self.lag_p50_ms, self.lag_p95_ms, self.lag_p99_ms)
        return {str(share): lag_ms for share, lag_ms in zip(QUANTILES, found, strict=True) if lag_ms is not None}


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `atp.freshness.v1`. `budget_left`: 1 all of it, 0 used up, below 0 overdrawn."""

    schema_version: str = "1.0"
    region: Identity
    as_of: Stamp
    state: SloState
    target_ms: int
    target_share: float
    good_checks: int
    checks: int
    budget_left: float
    sources: dict[str, SourceFreshness]
    policy_version: int


def take(state: RegionFreshness, measured: LagMeasured, now_ms: int) -> None:
    """Take what a SKU task measured."""
    hour = state.sources.setdefault(measured.source, {}).setdefault(now_ms // HOUR_MS, Hour())
    hour.facts += measured.facts
    hour.in_time += measured.in_time
    merge(hour.sketch, measured.sketch)
    state.facts += measured.facts
    state.in_time += measured.in_time


def check(
    state: RegionFreshness, region: str, watermarks: WatermarkBook, policy: RegionPolicy, now_ms: int
) -> Freshness | None:
    """Check the region if it is time for it; the row to publish."""
    if now_ms < state.checked_ms + CHECK_MS:
        return None
    stale_from_ms = watermarks.stale_from_ms(region, policy.required_sources, policy.freshness_target_ms)
    in_time = state.in_time >= policy.freshness_share * state.facts
    state.good = in_time and (stale_from_ms is None or now_ms < stale_from_ms)
    state.checked_ms, state.facts, state.in_time = now_ms, 0, 0
    _forget(state, now_ms)
    good, every = state.checks.get(now_ms // HOUR_MS, (0, 0))
    state.checks[now_ms // HOUR_MS] = (good + state.good, every + 1)
    return report(state, region, watermarks, policy, now_ms)


def _forget(state: RegionFreshness, now_ms: int) -> None:
    """Let go of checks of more than a day ago, and of lags that are not shown any more."""
    hour = now_ms // HOUR_MS
    state.checks = {at: counts for at, counts in state.checks.items() if at > hour - BUDGET_HOURS}
    for source, hours in state.sources.items():
        state.sources[source] = {at: found for at, found in hours.items() if at >= hour - 1}


def report(
    state: RegionFreshness, region: str, watermarks: WatermarkBook, policy: RegionPolicy, now_ms: int
) -> Freshness:
    """How fresh a region is, by all checks so far."""
    good = sum(good for good, _ in state.checks.values())
    every = sum(every for _, every in state.checks.values())
    allowed = (1 - policy.freshness_share) * every
    left = 1 - (every - good) / allowed if allowed else 1.0 - (every - good)
    known = {source for source, place in watermarks if place == region}
    return Freshness(
        region=region,
        as_of=rfc3339(now_ms),
        state=SloState.SPENT if left < 0 else SloState.OK if state.good else SloState.LATE,
        target_ms=policy.freshness_target_ms,
        target_share=float(policy.freshness_share),
        good_checks=good,
        checks=every,
        budget_left=round(float(left), 4),
        sources={
            source: _source(state, source, watermarks.get((source, region)), policy, now_ms)
            for source in sorted(known | state.sources.keys())
        },
        policy_version=policy.version,
    )


def _source(
    state: RegionFreshness, source: str, watermark_ms: int | None, policy: RegionPolicy, now_ms: int
) -> SourceFreshness:
    hours = state.sources.get(source, {}).values()
    sketch: Sketch = {}
    for hour in hours:
        merge(sketch, hour.sketch)
    return SourceFreshness(
        None if watermark_ms is None else rfc3339(watermark_ms),
        watermark_ms is not None and now_ms > watermark_ms + policy.heartbeat_timeout_ms,
        sum(hour.facts for hour in hours),
        sum(hour.in_time for hour in hours),
        *quantiles_ms(sketch, QUANTILES),
    )

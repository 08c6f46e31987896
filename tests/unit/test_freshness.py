"""Freshness: merged lags are as exact as promised, a silent source is never fresh, the budget counts bad checks."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from atp.domain.freshness import Heartbeat, WatermarkBook
from atp.domain.lags import TOLD_EVERY_TICKS, Lags, Sketch, bucket, merge, quantiles_ms
from atp.domain.partials import LagMeasured
from atp.domain.policy import PolicyBook, RegionPolicy, parse_policy
from atp.domain.slo import BUDGET_HOURS, CHECK_MS, Freshness, RegionFreshness, SloState, check, take
from atp.domain.times import HOUR_MS, from_ms
from tests.unit.test_properties import law

T0 = 480_000 * HOUR_MS


def policy() -> RegionPolicy:
    """A region that requires the WMS, with a target of a minute for nine of ten checks."""
    book = PolicyBook()
    fields = {"required_sources": ["wms"], "freshness_target_s": 60, "freshness_share": 0.9}
    book.put(parse_policy({"scope": "default", "version": 4, **fields}))
    return book.of_region("uk")


def measured(lags_ms: list[int], partition: int = 0, source: str = "oms") -> LagMeasured:
    """What one task tells of some facts."""
    lags = Lags()
    for lag_ms in lags_ms:
        lags.add("uk", source, lag_ms, 60_000)
    told = [partial for _ in range(TOLD_EVERY_TICKS) for partial in lags.tick(partition, T0)]
    assert len(told) == 1
    return told[0]


def beat(at_ms: int) -> WatermarkBook:
    """The WMS has spoken."""
    book = WatermarkBook()
    book.put(Heartbeat("wms", "uk", from_ms(at_ms)))
    return book


def checked(state: RegionFreshness, now_ms: int, watermark_ms: int) -> Freshness:
    """A check that is due."""
    row = check(state, "uk", beat(watermark_ms), policy(), now_ms)
    assert row is not None
    return row


@given(st.lists(st.lists(st.integers(-5, 90_000_000), min_size=1, max_size=60), min_size=1, max_size=5), st.data())
@law(150)
def test_merged_quantiles_are_within_one_percent(parts: list[list[int]], data: st.DataObject) -> None:
    """Sketches of any number of tasks, merged in any order, give the quantiles of all their facts."""
    merged: Sketch = {}
    for part in data.draw(st.permutations(parts)):
        merge(merged, measured(part).sketch)
    whole = sorted(max(1, lag_ms) for part in parts for lag_ms in part)
    for share, found in zip((0.5, 0.95, 1.0), quantiles_ms(merged, (0.5, 0.95, 1.0)), strict=True):
        true = whole[int(share * (len(whole) - 1))]
        assert abs(found - true) <= 0.0101 * true + 0.5


def test_a_sample_stands_for_all_its_facts() -> None:
    """A sampled fact counts as many times as it stands for; what was told is not told again."""
    lags = Lags()
    lags.add("uk", "oms", 40, 60_000, weight=24)
    lags.add("uk", "oms", 90_000, 60_000, weight=24)
    told = [partial for _ in range(TOLD_EVERY_TICKS) for partial in lags.tick(3, T0)]
    assert [(one.facts, one.in_time, one.partition) for one in told] == [(48, 24, 3)]
    assert told[0].sketch == {bucket(40): 24, bucket(90_000): 24}
    assert not [partial for _ in range(TOLD_EVERY_TICKS) for partial in lags.tick(3, T0)]


def test_a_row_tells_percentiles_watermark_and_budget() -> None:
    """One row per region: lags by source, merged over tasks and two hours, watermarks, state of the objective."""
    state = RegionFreshness()
    take(state, measured([100] * 90 + [5_000] * 10), T0)
    take(state, measured([200] * 100, partition=1), T0)
    row = checked(state, T0, T0 - 1_000)
    assert (row.state, row.good_checks, row.checks, row.budget_left) == (SloState.OK, 1, 1, 1.0)
    assert (row.target_ms, row.target_share, row.policy_version) == (60_000, 0.9, 4)
    oms, wms = row.sources["oms"], row.sources["wms"]
    assert (oms.facts, oms.in_time, oms.watermark) == (200, 200, None)
    assert oms.lag_p50_ms is not None
    assert abs(oms.lag_p50_ms - 200) <= 2
    assert oms.lag_p99_ms is not None
    assert abs(oms.lag_p99_ms - 5_000) <= 50
    assert (wms.facts, wms.lag_p50_ms, wms.silent) == (0, None, False)
    assert wms.watermark == from_ms(T0 - 1_000).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_silence_and_late_facts_use_the_budget_up() -> None:
    """A check is bad when a required source is silent, or when too many facts were late; both may overdraw it."""
    state, now_ms = RegionFreshness(), T0
    for _ in range(18):
        now_ms += CHECK_MS
        assert checked(state, now_ms, now_ms).state is SloState.OK
    now_ms += CHECK_MS
    late = checked(state, now_ms, now_ms - 60_000)
    assert (late.state, late.sources["wms"].silent) == (SloState.LATE, False)
    now_ms += CHECK_MS
    take(state, measured([100] * 8 + [60_001] * 2), now_ms)
    row = checked(state, now_ms, now_ms)
    assert (row.state, row.good_checks, row.checks, row.budget_left) == (SloState.LATE, 18, 20, 0.0)
    now_ms += CHECK_MS
    assert checked(state, now_ms, now_ms - 300_001).state is SloState.SPENT
    now_ms += CHECK_MS
    assert checked(state, now_ms, now_ms).state is SloState.SPENT  # fresh again, but the day's budget is gone


def test_checks_are_paced_and_forgotten_after_a_day() -> None:
    """Between two checks nothing is published; a day later only the new ones count, and the row has stayed small."""
    state = RegionFreshness()
    checked(state, T0, 0)
    assert check(state, "uk", beat(T0), policy(), T0 + CHECK_MS - 1) is None
    for hour in range(1, BUDGET_HOURS + 3):
        take(state, measured([100]), T0 + hour * HOUR_MS)
        row = checked(state, T0 + hour * HOUR_MS, T0 + hour * HOUR_MS)
    assert (row.good_checks, row.checks) == (BUDGET_HOURS, BUDGET_HOURS)
    assert row.sources["oms"].facts == 2
    assert len(msgspec.msgpack.encode(state)) < 500

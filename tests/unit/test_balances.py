"""Balances: told when they change, and only then; nothing is missing before facts have had time to come."""

from __future__ import annotations

import msgspec

from atp.domain.arrivals import Arrivals
from atp.domain.balances import SourceArrivals, balance
from atp.domain.freshness import Heartbeat
from atp.domain.partials import LagMeasured, Partial, SourceCounted, SourceNumbered, parse_partial
from atp.domain.times import HOUR_MS, MINUTE_MS, from_ms, rfc3339

T0 = 480_000 * HOUR_MS
GRACE_MS = 5 * MINUTE_MS


def counted(facts: int, units: int) -> SourceCounted:
    """What one partition counted in the first hour."""
    place = {"source": "wms", "region": "uk", "topic": "inventory.stock.v1", "partition": 0}
    return SourceCounted(**place, hour=rfc3339(T0), facts=facts, units=units)


def beat(watermark_ms: int) -> Heartbeat:
    """The source says that it sent 3 facts of 12 units in the first hour."""
    totals = {"inventory.stock.v1": {rfc3339(T0): (3, 12)}}
    return Heartbeat("wms", "uk", from_ms(watermark_ms), totals=totals)


def test_a_shortfall_is_told_once_and_taken_back_when_the_rest_comes() -> None:
    """Two of three facts by the end of the hour and its grace; then the third."""
    row = SourceArrivals(Arrivals())
    row.arrivals.hear(counted(2, 9), T0)
    assert balance(row, "uk", "wms", beat(T0 + HOUR_MS), T0 + HOUR_MS, GRACE_MS) is None
    late_ms = T0 + HOUR_MS + GRACE_MS
    told = balance(row, "uk", "wms", beat(late_ms), late_ms, GRACE_MS)
    assert told is not None
    [short] = told.shortfalls
    assert (short.expected_facts, short.facts, short.expected_units, short.units) == (3, 2, 12, 9)
    assert told.detail == f"inventory.stock.v1 {rfc3339(T0)}: 2 of 3 facts came"
    assert round(row.completeness(beat(late_ms)) or 0, 3) == 0.667
    assert balance(row, "uk", "wms", beat(late_ms), late_ms, GRACE_MS) is None
    row.arrivals.hear(counted(3, 12), late_ms)
    told = balance(row, "uk", "wms", beat(late_ms), late_ms, GRACE_MS)
    assert told is not None
    assert (told.shortfalls, told.event_id, told.detail) == ([], "uk|wms|2", "")
    assert (row.completeness(beat(late_ms)), row.completeness(None)) == (1.0, None)


def test_a_gap_is_told_after_the_grace() -> None:
    """Numbers 1 and 3 came; 2 is missed only once 3 has been here for a while."""
    row = SourceArrivals(Arrivals())
    said = SourceNumbered(source="wms", region="uk", partition=0, first_seq=0, seen=bytes([0b1010]))
    row.arrivals.hear(said, T0)
    assert balance(row, "uk", "wms", None, T0, GRACE_MS) is None
    told = balance(row, "uk", "wms", None, T0 + GRACE_MS + MINUTE_MS, GRACE_MS)
    assert told is not None
    assert told.gaps == [(2, 2)]
    assert (told.detail, row.missing_numbers) == ("1 numbers of its sequence did not come", 1)


def test_partials_come_back_from_the_wire_as_they_were() -> None:
    """Bitmaps too, which JSON carries as text."""
    numbered = SourceNumbered(source="wms", region="uk", partition=0, first_seq=1024, seen=b"\x05\xff\x00\x81")
    lags = {"source": "wms", "region": "uk", "partition": 0, "measured_ms": T0, "facts": 3, "in_time": 2}
    found: list[Partial] = [numbered, counted(2, 9), LagMeasured(**lags, sketch={230: 2, 411: 1})]
    for partial in found:
        assert parse_partial(msgspec.json.decode(msgspec.json.encode(partial))) == partial

"""Business dates are the region's own, also on the days on which its clocks change; months of retail add up."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from atp.domain.times import HOUR_MS, Day, to_ms
from tests.cli import atp
from tests.unit.builders import Product, Wire
from tests.unit.ledgers import days_of, ledger

CHANGES = [
    ("Europe/London", date(2024, 3, 31), 23),
    ("Europe/London", date(2024, 10, 27), 25),
    ("America/New_York", date(2024, 3, 10), 23),
    ("America/New_York", date(2024, 11, 3), 25),
    ("Australia/Lord_Howe", date(2024, 10, 6), 23.5),
]


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_a_day_of_23_or_25_hours_has_every_fact_of_its_own(zone: str, day: date, hours: float) -> None:
    """A unit every half hour over three days: each date has as many as it has half hours, and they chain."""
    local = ZoneInfo(zone)
    first = datetime(day.year, day.month, day.day, tzinfo=local) - timedelta(days=1)
    end = datetime(day.year, day.month, day.day, tzinfo=local) + timedelta(days=2)
    product, wire = Product(end), Wire()
    product.policy(time_zone=zone)
    product.node("N1", "uk")
    lines, at_ms = [], to_ms(first)
    while at_ms < to_ms(end):
        at = datetime.fromtimestamp(at_ms / 1000, tz=local)
        lines.append(wire.stock("adjusted", at, node="N1", state="sellable", delta=1, reason="found"))
        at_ms += HOUR_MS // 2
    found = ledger(lines, product.world, to_ms(end) + HOUR_MS)
    units = {name: rows["S"]["adjustments_sellable"] for (name, _), rows in found.items()}
    expected = {(day + timedelta(days=d)).isoformat(): 48 for d in (-1, 1)} | {day.isoformat(): int(hours * 2)}
    assert units == expected


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_the_final_close_is_at_six_on_the_regions_clock(zone: str, day: date, hours: float) -> None:
    """Not six hours after midnight: on the day of a change that is an hour off."""
    product, wire = Product(datetime(2025, 1, 1, tzinfo=ZoneInfo("UTC"))), Wire()
    product.policy(time_zone=zone)
    product.node("N1", "uk")
    before = Day(day.toordinal() - 1, ZoneInfo(zone))
    noon = datetime.fromtimestamp(before.start_ms / 1000 + 12 * 3600, tz=ZoneInfo("UTC"))
    lines = [wire.stock("adjusted", noon, node="N1", state="sellable", delta=1, reason="found")]
    six = to_ms(datetime(day.year, day.month, day.day, 6, tzinfo=ZoneInfo(zone)))
    statuses = [days_of(lines, product.world, at)[0].judgement.status for at in (six - 1, six)]
    assert statuses == ["PROVISIONAL", "FINAL"]


def test_midnight_itself_belongs_to_the_day_that_begins() -> None:
    """Of facts around midnight each is in its day and in its truth; those on different sides are the difference."""
    midnight = datetime(2024, 3, 13, tzinfo=ZoneInfo("UTC"))
    before = midnight - timedelta(milliseconds=1)
    product, wire = Product(midnight), Wire()
    product.node("N1", "uk")
    body = {"node": "N1", "state": "sellable", "reason": "found"}
    lines = [
        wire.stock("adjusted", before, delta=1, **body),
        wire.stock("adjusted", before, recorded=midnight, delta=10, **body),  # late by a millisecond
        wire.stock("adjusted", midnight, delta=100, **body),
        wire.stock("adjusted", midnight, recorded=before, delta=1000, **body),  # ahead by one
    ]
    found = ledger(lines, product.world, to_ms(midnight) + 30 * HOUR_MS)
    first, second = (found[day, "uk"]["S"] for day in ("2024-03-12", "2024-03-13"))
    names = ("closing_sellable", "operational_closing_sellable", "difference_explained")
    assert [first[name] for name in names] == [11, 1001, -990]
    assert [second[name] for name in names] == [1111, 1111, 0]
    causes = {
        line.cause: line.units
        for day in days_of(lines, product.world, to_ms(midnight) + HOUR_MS)[:1]
        for _, line in day.lines
    }
    assert causes == {"LATE_FACT": 10, "AHEAD": -1000}


def test_two_weeks_of_retail_close_day_by_day_and_add_up() -> None:
    """Every day of every region is final and chains; totals equal those added up from the source's rows."""
    assert_closes("--from", "2011-11-28", "--until", "2011-12-09", days=10)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_year_of_retail_closes_day_by_day_and_adds_up() -> None:
    """The same for all of it."""
    assert_closes(days=370)


def assert_closes(*span: str, days: int) -> None:
    """`atp ledger year` ends well; its figures are those of real days."""
    run = atp("ledger", "year", "--json", *span)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["days"] >= days
    assert said["regions"] == 7
    assert set(said["statuses"]) == {"FINAL"}
    assert all(check["ledger"] == check["source"] != 0 for check in said["checks"])

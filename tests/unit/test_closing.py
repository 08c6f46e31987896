"""The day close of a region and its partitions, played without a broker: asked, answered, closed, restated."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import product as product_of
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.domain.arrivals import Arrivals
from atp.domain.balances import SourceArrivals
from atp.domain.closing import LedgerDay, RegionDays, Stand, control_totals, decide, hear, may_act
from atp.domain.freshness import parse_heartbeat
from atp.domain.intake import Admitted
from atp.domain.ledger_account import LedgerRows, take
from atp.domain.ledger_close import Status
from atp.domain.ledger_rules import policy_of
from atp.domain.ledger_walk import Ledger, advance, before
from atp.domain.partials import LedgerTotalled, SourceCounted
from atp.domain.refusals import Refusal
from atp.domain.rows import MemoryRows
from atp.domain.times import to_ms
from tests.unit.builders import SKU, Fact, Product, Wire, stamp
from tests.unit.fact_histories import DAY_ONE, History, histories
from tests.unit.ledgers import ledger
from tests.unit.test_properties import law

DAY = date(2024, 3, 12)


class Company:
    """One region of one partition and its region task; time is what a test says."""

    def __init__(self, **policy: Any) -> None:
        self.product = Product(DAY_ONE + timedelta(days=400))
        self.product.policy(required_sources=["ims"], **policy)
        for node, region in (("N1", "uk"), ("N2", "uk"), ("D1", "uk"), ("X1", "uk")):
            self.product.node(node, region)
        late: MemoryRows[Any] = MemoryRows()
        horizons = self.product.world.policies.horizons()
        self.ledger = Ledger(
            LedgerRows.in_memory(), MemoryRows(), late, lambda: sorted(key[0] for key in late),
            self.product.state, self.product.world, horizons, 0,
        )  # fmt: skip
        self.region, self.arrivals = RegionDays(), SourceArrivals(Arrivals())
        self.facts: History = []
        self.records: list[LedgerDay] = []
        self.rows: dict[tuple[str, str], dict[int, Any]] = {}  # (date, SKU) → by revision
        self.came(DAY_ONE, 1)

    def take(self, facts: History) -> None:
        """One batch."""
        self.facts += facts
        outcomes = [self.product.take(topic, value) for topic, value in facts]
        assert not [found for found in outcomes if isinstance(found, Refusal)]
        # as the lane: the ledger sees a batch before the reservations do, so tests of late demand take it alone
        admitted = [found for found in outcomes if isinstance(found, Admitted)]
        before(admitted, self.ledger)
        take(admitted, self.ledger.rows)

    def alive(self, watermark: datetime, totals: dict[str, Any] | None = None) -> None:
        """The source has sent everything up to then."""
        beat = {"source": "ims", "region": "uk", "watermark": stamp(watermark), "totals": totals or {}}
        self.product.world.watermarks.put(parse_heartbeat(beat))

    def came(self, hour: datetime, facts: int) -> None:
        """So many facts of an hour came."""
        said = SourceCounted(
            source="ims", region="uk", topic="inventory.stock.v1", hour=stamp(hour), partition=0, facts=facts, units=0
        )
        self.arrivals.arrivals.hear(said, 0)

    def tick(self, now: datetime, limit: int = 100) -> list[LedgerDay]:
        """Ask, answer and close as long as there is something to do; what became closed."""
        world, closed = self.product.world, []
        for _ in range(40):
            totals = control_totals("uk", world.watermarks, {("uk", "ims"): self.arrivals})
            policy = policy_of(world, "uk")
            may = may_act(self.region, "uk", world.watermarks, policy, 1, to_ms(now))
            found = list(decide(self.region, "uk", totals, policy, 1, to_ms(now)))
            assert may or not found, "a worker would not have looked"
            self.records += found
            closed += [day for day in found if day.stand is not Stand.CLOSING]
            asked = [day for day in self.records if day.stand is Stand.CLOSING]
            portion = advance(asked, self.ledger, lambda *_: 2**50, self.page, limit)
            for partial in portion.partials:
                hear(self.region, msgspec.json.decode(msgspec.json.encode(partial), type=type(partial)))
            for row in portion.rows:
                versions = self.rows.setdefault((row.business_date.isoformat(), row.sku), {})
                assert row.revision not in versions, "a closed revision was written again"
                versions[row.revision] = row
            if not found and not portion.partials and not portion.more:
                break
        return closed

    def page(self, after: str, limit: int) -> list[str]:
        """The SKUs after one."""
        return sorted(key[0] for key in self.product.state.heads if key[0] > after)[:limit]

    def row(self, day: str, sku: str = SKU) -> Any:
        """The row that stands."""
        versions = self.rows[day, sku]
        return versions[max(versions)]


def hours(count: float) -> datetime:
    """An instant after the first midnight."""
    return DAY_ONE + timedelta(hours=count)


def adjusted(wire: Wire, at: float, delta: int, recorded: float | None = None) -> tuple[str, Fact]:
    """Units found or lost."""
    told = None if recorded is None else hours(recorded)
    return wire.stock("adjusted", hours(at), recorded=told, node="N1", state="sellable", delta=delta, reason="found")


def asked_for(region: str, day: date) -> LedgerDay:
    """A date whose rows a region's task wants."""
    told = {"revision": 1, "status": Status.FINAL, "stand": Stand.CLOSING, "asked_at": stamp(hours(31))}
    return LedgerDay(region=region, business_date=day, **told)


def statuses(days: list[LedgerDay]) -> list[tuple[str, int, str]]:
    """(date, revision, status)"""
    return [(day.business_date.isoformat(), day.revision, day.status.value) for day in days]


def test_a_day_closes_provisionally_after_grace_and_finally_in_the_morning() -> None:
    """Nothing before the watermark and the grace have passed midnight; one revision for each status."""
    company, wire = Company(), Wire()
    company.take([adjusted(wire, 10, 5)])
    assert company.tick(hours(24.5)) == []  # the source has not passed midnight
    company.alive(hours(24.1))
    assert company.tick(hours(24.2)) == []  # the grace of 15 minutes has not
    (day,) = company.tick(hours(24.5))
    assert statuses([day]) == [("2024-03-12", 1, "PROVISIONAL")]
    assert (day.rows, day.control_totals["closing_sellable"]) == (1, 5)
    assert company.tick(hours(25)) == []
    assert statuses(company.tick(hours(30))) == [("2024-03-12", 2, "FINAL")]
    assert list(company.rows["2024-03-12", SKU]) == [1], "a row that did not change was published again"
    assert company.tick(hours(31)) == []


def test_a_late_fact_restates_its_day_and_all_later_ones() -> None:
    """The rows that changed come with the next revision; the sums are those of the day as it stands."""
    company, wire = Company(), Wire()
    company.take([adjusted(wire, 10, 15), adjusted(wire, 30, 1)])
    company.alive(hours(49))
    assert statuses(company.tick(hours(55))) == [("2024-03-12", 1, "FINAL"), ("2024-03-13", 1, "FINAL")]
    company.take([adjusted(wire, 18, -4, recorded=47)])
    company.take([adjusted(wire, 19, -1, recorded=47)])
    assert company.tick(hours(55.1)) == []  # restated at most once in the grace
    first, second = company.tick(hours(55.5))
    assert statuses([first, second]) == [("2024-03-12", 2, "RESTATED"), ("2024-03-13", 2, "RESTATED")]
    assert (first.control_totals["closing_sellable"], second.control_totals["opening_sellable"]) == (10, 10)
    assert [row.closing_sellable for row in company.rows["2024-03-12", SKU].values()] == [15, 10]
    assert [row.closing_sellable for row in company.rows["2024-03-13", SKU].values()] == [16, 11]


def test_a_day_that_lacks_records_stays_provisional_and_names_them() -> None:
    """By source, topic and hour; it is final once they came, and never because heartbeats have forgotten them."""
    company, wire = Company(), Wire()
    company.take([adjusted(wire, 10, 5)])
    company.came(hours(10), 1)
    company.alive(hours(25), {"inventory.stock.v1": {stamp(hours(10)): [2, 7]}})
    (day,) = company.tick(hours(31))
    assert statuses([day]) == [("2024-03-12", 1, "PROVISIONAL")]
    (missing,) = day.shortfalls
    assert (missing.source, missing.topic, missing.hour) == ("ims", "inventory.stock.v1", stamp(hours(10)))
    assert (day.expected_records, day.missing_records) == (2, 1)
    company.alive(hours(26))
    assert company.tick(hours(32)) == []
    company.alive(hours(27), {"inventory.stock.v1": {stamp(hours(10)): [2, 7]}})
    company.came(hours(10), 2)
    assert statuses(company.tick(hours(33))) == [("2024-03-12", 2, "FINAL")]


def test_a_day_that_does_not_open_as_the_one_before_closed_stops_the_close() -> None:
    """The break is named, and no later day is asked for."""
    company, wire = Company(), Wire()
    company.take([adjusted(wire, 10, 5)])
    company.alive(hours(25))
    company.tick(hours(31))
    company.region.days[DAY.toordinal()].totals["closing_sellable"] = 6
    company.alive(hours(97))
    broken = company.tick(hours(98))
    assert [day.stand for day in broken] == [Stand.BROKEN]
    assert broken[0].problem.endswith("opening_sellable = 5, must be 6, the closing of the date before")


def test_control_totals_are_added_up_only_when_a_date_may_be_due() -> None:
    """Not while a closed date is final and the next one runs, nor while partitions answer."""
    company, wire = Company(), Wire()
    company.take([adjusted(wire, 10, 5)])
    company.alive(hours(25))
    company.tick(hours(31))
    world = company.product.world

    def may(at: float) -> bool:
        policy = policy_of(world, "uk")
        return may_act(company.region, "uk", world.watermarks, policy, 1, to_ms(hours(at)))

    assert not may(32)
    assert not may(49)  # past midnight, but its source is not
    company.alive(hours(49))
    assert [may(48.1), may(48.5)] == [False, True]
    day = company.region.days[DAY.toordinal()]
    day.stand, answers, day.answers = Stand.CLOSING, day.answers, {}
    assert not may(48.5)
    day.answers = answers
    assert may(48.5)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_walk_in_portions_is_the_whole_walk(limit: int) -> None:
    """Every SKU once, whatever fits into a turn."""
    company = Company()
    for number in range(5):
        company.take([adjusted(Wire(f"S{number}"), 10 + number, number + 1)])
    company.alive(hours(25))
    (day,) = company.tick(hours(31), limit)
    assert (day.rows, day.control_totals["closing_sellable"]) == (5, 15)


@given(histories(), st.data())
@law(60)
def test_days_of_the_lane_are_those_of_the_pure_close(history: History, data: st.DataObject) -> None:
    """Stock facts in any order, closed as time goes by: at the end every row that stands is the pure close's."""
    stock = [line for line in history if "reservation" not in line[1]["type"]]
    company, shuffled = Company(), data.draw(st.permutations(stock))
    for start in range(0, len(shuffled), 3):
        company.take(shuffled[start : start + 3])
        now = hours(data.draw(st.sampled_from([20, 26, 40, 50, 56])))
        company.alive(now)
        company.tick(max(now, datetime.fromisoformat(company.records[-1].asked_at) if company.records else now), 1)
    company.alive(hours(73))
    company.tick(hours(80))
    company.tick(hours(81))
    pure = ledger(stock, company.product.world, to_ms(hours(81)))
    assert not [day for day in company.records if day.stand is Stand.BROKEN]
    for (day, _), rows in pure.items():
        if day >= DAY.isoformat() and SKU in rows:
            found = company.row(day)
            assert {name: getattr(found, name) for name in rows[SKU]} == rows[SKU], day


def test_a_region_far_behind_another_is_restated_all_the_same() -> None:
    """What a partition remembers of one region's dates is not forgotten because another region closes later ones."""
    company, wire = Company(), Wire()
    company.take([adjusted(wire, 10, 5)])
    company.alive(hours(25))
    company.tick(hours(31))
    ahead = asked_for("de", DAY + timedelta(days=60))
    assert advance([ahead], company.ledger, lambda *_: 2**50, company.page, 100).partials
    company.take([adjusted(wire, 18, -4, recorded=24.5)])
    company.alive(hours(49))
    found = [day for now in (31.5, 55, 56) for day in company.tick(hours(now))]
    assert statuses(found)[:2] == [("2024-03-12", 2, "RESTATED"), ("2024-03-13", 1, "FINAL")]
    assert [day.stand for day in found] == [Stand.CLOSED, Stand.CLOSED]


def walked(regions: list[str], limit: int, headstart: int) -> tuple[dict[tuple[str, str], Any], int]:
    """Rows by (region, SKU) of a date of regions, the first of which is asked for some portions earlier.

    And how many SKUs were turned over.
    """
    company, wire, seen = Company(), Wire(), 0
    company.product.node("B1", "de")
    for number, node in product_of(range(7), ("N1", "B1")):
        told = wire.stock(
            "adjusted", hours(10), node=node, sku=f"S{number}", state="sellable", delta=number + 1, reason="found"
        )
        company.take([told])

    def page(after: str, most: int) -> list[str]:
        nonlocal seen
        found = company.page(after, most)
        seen += len(found)
        return found

    asked = [asked_for(region, DAY) for region in regions]
    rows: dict[tuple[str, str], Any] = {}
    answered: list[str] = []
    for number in range(30):
        now = asked[:1] if number < headstart else asked
        portion = advance(now, company.ledger, lambda *_: 2**50, page, limit)
        for row in portion.rows:
            assert (row.region, row.sku) not in rows, "a row was published twice"
            rows[row.region, row.sku] = row
        answered += [partial.region for partial in portion.partials]
    assert sorted(answered) == sorted(regions)
    return rows, seen


@pytest.mark.parametrize("headstart", [0, 1, 2, 5])
def test_regions_that_end_at_the_same_midnight_are_walked_together(headstart: int) -> None:
    """One that is asked for later catches up first; the rows are those of each region alone, once each."""
    alone = walked(["uk"], 2, 0)[0] | walked(["de"], 2, 0)[0]
    together, seen = walked(["uk", "de"], 2, headstart)
    assert together == alone
    assert len(alone) == 14
    if headstart < 3:  # 7 SKUs, and up to where the other stood once more
        assert seen <= 7 + 2 * headstart + 1


def test_an_answer_to_another_revision_counts_for_nothing() -> None:
    """What a partition says late, or twice, changes no day."""
    company, wire = Company(), Wire()
    company.take([adjusted(wire, 10, 5)])
    company.alive(hours(25))
    company.tick(hours(31))
    said = LedgerTotalled(region="uk", business_date=DAY, revision=1, partition=0, rows=9, totals={})
    known = msgspec.json.encode(company.region)
    hear(company.region, said)
    assert msgspec.json.encode(company.region) == known

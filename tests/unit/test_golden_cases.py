"""Worked ATP tables that others published, as golden cases: equal where we mean the same, named where we differ."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from tests.unit.builders import Product, Schedule, Wire, by_period

CASES = Path(__file__).parents[1] / "cases"
START = date(2024, 3, 12)


def published(name: str) -> dict[str, Any]:
    """A file of cases."""
    found: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return found


def case(name: str, case_id: str) -> dict[str, Any]:
    """One case of a file."""
    return next(found for found in published(name)["cases"] if found["id"] == case_id)


def on(text: str) -> date:
    """A date of a table."""
    return date.fromisoformat(text)


def suffix_minimum(row: list[int]) -> list[int]:
    """The least of a row from each place to its end."""
    return [min(row[at:]) for at in range(len(row))]


# --- Microsoft Dynamics 365: the same definition, step by step


class ChangeSchedule:
    """The on-hand change schedule of Dynamics 365, played with our facts."""

    def __init__(self, initial: dict[str, Any]) -> None:
        self.schedule = Schedule(on(initial["today"]), initial["on_hand"], days=7)
        self.lines: dict[tuple[int, str], str] = {}

    def do(self, step: dict[str, Any]) -> None:
        """One published step; a shipment takes two of its entries, as it takes two of our facts."""
        schedule = self.schedule
        for change in step["do"]:
            match change:
                case {"op": "schedule", "kind": "supply", "qty": units, "date": day}:
                    schedule.supply(units, on(day))
                case {"op": "schedule", "kind": "demand", "qty": units, "date": day} if units > 0:
                    self.lines[units, day] = schedule.demand(units, on(day))
                case {"op": "schedule", "kind": "demand", "qty": units, "date": day}:
                    self._consume(self.lines[-units, day], -units, day)
                case {"op": "on_hand_change", "kind": "outbound", "qty": units}:
                    shipped = schedule.wire.stock("shipped", schedule.noon, node="N1", quantity=units)
                    shipped[1].update(reservation_id="R1", line=1)
                    schedule.product.take_all([shipped])
                case {"op": "advance_day"}:
                    schedule.product.now += timedelta(days=1)
                case _:
                    raise AssertionError(f"unknown change {change}")

    def _consume(self, line: str, units: int, day: str) -> None:
        body = {"consumed": units, "node": "N1", "due_date": day}
        self.schedule.product.take_all(
            [self.schedule.wire.reservation(line, 2, "CLOSED", self.schedule.noon, **body)]
        )


STEPS = published("d365_inventory_visibility_change_schedule")


@pytest.mark.parametrize("step", range(1, len(STEPS["cases"]) + 1))
def test_d365_change_schedule_is_ours_row_by_row(step: int) -> None:
    """On-hand, supply, demand, projection and ATP of all seven days agree after every step."""
    play = ChangeSchedule(STEPS["initial"])
    for done in STEPS["cases"][:step]:
        play.do(done)
    rows = STEPS["cases"][step - 1]["expect"]
    assert play.schedule.product.now.date() == on(rows[0]["date"])
    found = play.schedule.reckoned()
    fall = found.waterfall
    assert found.content.on_hand.sellable == rows[0]["on_hand"]
    assert list(fall.supply) == [row["scheduled_supply"] for row in rows]
    assert list(fall.demand) == [row["scheduled_demand"] for row in rows]
    assert list(fall.projected) == [row["projected_on_hand"] for row in rows]
    assert list(fall.atp) == [row["atp"] for row in rows]


def test_d365_published_buckets_hold_each_day_on_which_the_figure_changes() -> None:
    """The canonical record says the same table in short."""
    play = ChangeSchedule(STEPS["initial"])
    for done in STEPS["cases"][:3]:
        play.do(done)
    rows = STEPS["cases"][2]["expect"]
    changes = [row for at, row in enumerate(rows) if at == 0 or row["atp"] != rows[at - 1]["atp"]]
    record = play.schedule.product.records()["uk"]
    assert record["buckets"] == [{"date": row["date"], "atp": row["atp"]} for row in changes]


# --- ERP.net: the same definition, over any chronology


def chronology(given: dict[str, Any], until: date) -> Schedule:
    """A chronology of ERP.net; what was to move before its first date counts as due on that date."""
    first = on(given["chronology"][0]["date"])
    schedule = Schedule(first, given["current_stock"], (until - first).days + 1)
    schedule.supply(given["net_unexecuted_before_first_date"], first)
    for row in given["chronology"]:
        if row["receipt"]:
            schedule.supply(row["receipt"], on(row["date"]))
        if row["issue"]:
            schedule.demand(row["issue"], on(row["date"]))
    return schedule


@pytest.mark.parametrize("case_id", ["single-date", "sub-periods"])
def test_erpnet_end_quantities_are_our_projection(case_id: str) -> None:
    """The `end` column of every published row is our projected quantity of that day."""
    given = case("erpnet_atp", case_id)["given"]
    rows = given["chronology"]
    projected = chronology(given, on(rows[-1]["date"])).projected()
    first = on(rows[0]["date"])
    assert [projected[(on(row["date"]) - first).days] for row in rows] == [row["end"] for row in rows]


def test_erpnet_single_date() -> None:
    """ATP of one date is the least quantity from there on."""
    found = case("erpnet_atp", "single-date")
    given = found["given"]
    schedule = chronology(given, on(given["chronology"][-1]["date"]))
    assert {given["chronology"][0]["date"]: schedule.atp()[0]} == found["expect"]["atp"]


def test_erpnet_sub_periods() -> None:
    """ATP holds over whole spans of days, each with one figure."""
    found = case("erpnet_atp", "sub-periods")
    ranges = found["expect"]["atp_ranges"]
    schedule = chronology(found["given"], on(ranges[-1][1]))
    expected = [units for first, last, units in ranges for _ in range((on(last) - on(first)).days + 1)]
    assert schedule.atp() == expected
    buckets = schedule.product.records()["uk"]["buckets"]
    assert buckets == [{"date": first, "atp": units} for first, _, units in ranges]


@pytest.mark.parametrize("case_id", ["before-first-movement-a", "before-first-movement-b"])
def test_erpnet_before_the_first_movement(case_id: str) -> None:
    """Before anything moves, ATP is the lesser of today's stock and the least to come."""
    found = case("erpnet_atp", case_id)
    stock, movements = found["given"]["current_stock"], found["given"]["movements"]
    today, days = date(2021, 10, 5), 20
    schedule = Schedule(today, stock, days)
    for day, kind, units in movements:
        (schedule.supply if kind == "receipt" else schedule.demand)(units, on(day))
    atp = schedule.atp()
    for first, last, units in found["expect"]["atp_ranges"]:
        since = 0 if first is None else (on(first) - today).days
        until = days if last is None else (on(last) - today).days + 1
        assert atp[since:until] == [units] * (until - since)
    assert atp[0] == min(stock, *schedule.projected())


# --- IBM Sterling: dates agree; nodes are netted here and not there


def earliest_day(schedule: Schedule, units: int) -> date:
    """The first day whose published bucket promises so many units."""
    buckets = schedule.product.records()["uk"]["buckets"]
    return next(on(bucket["date"]) for bucket in buckets if bucket["atp"] >= units)


def test_ibm_date_breakup_is_read_from_the_buckets() -> None:
    """The first bucket that holds an order line is its ship date, not the date of the last supply."""
    found = case("ibm_sterling_promise", "date-breakup")
    given = found["given"]
    today = on(given["today"])
    earliest = {}
    for key, item, units in given["order_lines"]:
        supplies = [(kind, day, n) for name, kind, day, n in given["supply"] if name == item]
        schedule = Schedule(today, sum(n for kind, _, n in supplies if kind == "ONHAND"), days=30)
        for kind, day, n in supplies:
            if kind == "PO":
                schedule.supply(n, on(day))
        earliest[key] = earliest_day(schedule, units)
    one_shipment = max(earliest.values())
    assert dict.fromkeys(earliest, one_shipment.isoformat()) == found["expect"]["ship_date"]
    last_supply = max(day for _, _, day, _ in given["supply"] if day)
    assert one_shipment < on(last_supply), "the older interface answered with the last supply"


def two_nodes(given: dict[str, Any], regions: dict[str, str]) -> Product:
    """IBM's two nodes with their orders allocated to them, each node in a region of ours."""
    noon = datetime(2024, 3, 12, 12, tzinfo=UTC)
    product, wire = Product(noon), Wire()
    for node, region in regions.items():
        product.node(node, region)
    for node, units in given["supply"].items():
        product.take_all([wire.stock("counted", noon, node=node, quantities={"sellable": units})])
    for number, order in enumerate(given["orders"]):
        body = {"open": order["qty"], "node": order["node"]}
        product.take_all([wire.reservation(f"R{number}/1", 1, "ALLOCATED", noon, **body)])
    return product


def test_ibm_node_shortage_is_netted_within_our_region() -> None:
    """IBM keeps 80 and −30 apart by node; we net the nodes of a region: 50, and no shortage."""
    found = case("ibm_sterling_promise", "shortage-and-available-together")
    given, expect = found["given"], found["expect"]
    theirs = {node: given["supply"].get(node, 0) for node in ("N1", "N2")}
    for order in given["orders"]:
        theirs[order["node"]] -= order["qty"]
    assert theirs == expect["node"]
    assert sum(max(0, units) for units in theirs.values()) == expect["available_total"]
    assert sum(max(0, -units) for units in theirs.values()) == expect["shortage_total"]
    record = two_nodes(given, {"N1": "uk", "N2": "uk"}).records()["uk"]
    assert (record["atp"], record["shortage"]) == (sum(theirs.values()), 0) == (50, 0)


def test_ibm_node_shortage_is_kept_apart_between_our_regions() -> None:
    """With a region for each node our figures are IBM's: nothing is netted across regions."""
    found = case("ibm_sterling_promise", "shortage-and-available-together")
    records = two_nodes(found["given"], {"N1": "uk", "N2": "de"}).records()
    assert records["uk"]["atp"] == found["expect"]["available_total"]
    assert records["de"]["shortage"] == found["expect"]["shortage_total"]
    assert (records["uk"]["shortage"], records["de"]["atp"]) == (0, 0)


# --- Master schedules (textbook, JD Edwards): discrete there, cumulative with look-ahead here


def discrete_atp(beginning: int, receipts: list[int], orders: list[int]) -> list[int | None]:
    """Their rule: what a replenishment leaves over the orders before the next one; nothing in other periods."""
    row: list[int | None] = [None] * len(receipts)
    starts = [0, *(at for at in range(1, len(receipts)) if receipts[at])]
    for at, until in zip(starts, [*starts[1:], len(receipts)], strict=True):
        row[at] = (beginning if at == 0 else 0) + receipts[at] - sum(orders[at:until])
    return row


def running_total(row: list[int | None]) -> list[int]:
    """Discrete figures added up."""
    return list(accumulate(units or 0 for units in row))


def balance(beginning: int, receipts: list[int], demands: list[int]) -> list[int]:
    """Stock at the end of each period."""
    steps = (receipt - demand for receipt, demand in zip(receipts, demands, strict=True))
    return list(accumulate(steps, initial=beginning))[1:]


@pytest.mark.parametrize("case_id", ["quesba-8-weeks", "quesba-order-of-10-accepted-in-week-3", "pumps"])
def test_textbook_discrete_atp_is_our_increase_from_one_replenishment_to_the_next(case_id: str) -> None:
    """While no discrete figure is negative, ours is their running total, and both are what a week-1 order gets."""
    found = case("textbook_discrete_atp", case_id)
    given, expect = found["given"], found["expect"]
    theirs = discrete_atp(given["beginning"], given["mps"], given["orders"])
    assert theirs == (expect.get("atp") or expect["atp_derived"])
    ours = by_period(START, given["mps"], given["orders"], given["beginning"])
    assert ours.atp() == running_total(theirs) == suffix_minimum(ours.projected())
    assert ours.atp()[0] == theirs[0] == expect.get("atp_stated", {}).get("1", theirs[0])
    assert ours.atp() != theirs, "a later replenishment's figure is ours only as an increase"


@pytest.mark.parametrize("case_id", ["quesba-8-weeks", "quesba-order-of-10-accepted-in-week-3"])
def test_textbook_projection_counts_forecasts_and_ours_does_not(case_id: str) -> None:
    """Their projected row takes the greater of orders and forecast; a forecast is no input of ours."""
    found = case("textbook_discrete_atp", case_id)
    given = found["given"]
    greater = [max(pair) for pair in zip(given["orders"], given["forecast"], strict=True)]
    assert balance(given["beginning"], given["mps"], greater) == found["expect"]["projected"]
    ours = by_period(START, given["mps"], given["orders"], given["beginning"]).projected()
    assert ours == balance(given["beginning"], given["mps"], given["orders"])
    assert all(mine >= theirs for mine, theirs in zip(ours, found["expect"]["projected"], strict=True))


def test_textbook_order_of_ten_in_week_three() -> None:
    """An order lowers our ATP of every week up to its own and of all later ones; theirs only of its own run."""
    before, after = (
        case("textbook_discrete_atp", name)["given"]
        for name in ("quesba-8-weeks", "quesba-order-of-10-accepted-in-week-3")
    )
    schedules = [by_period(START, given["mps"], given["orders"], given["beginning"]) for given in (before, after)]
    assert [a - b for a, b in zip(schedules[1].atp(), schedules[0].atp(), strict=True)] == [-10] * 8
    rows = [discrete_atp(given["beginning"], given["mps"], given["orders"]) for given in (before, after)]
    assert [(a or 0) - (b or 0) for a, b in zip(rows[1], rows[0], strict=True)] == [-10, *[0] * 7]


def test_jde_cumulative_atp_is_our_suffix_minimum() -> None:
    """Its running total of discrete figures is our suffix minimum, as no single figure is negative."""
    found = case("jde_cumulative_atp", "fixed-60")
    given, expect = found["given"], found["expect"]
    theirs = discrete_atp(given["beginning_available"], given["planned_receipts"], given["sales_orders"])
    assert theirs == expect["atp"]
    assert running_total(theirs) == expect["catp"]
    ours = by_period(START, given["planned_receipts"], given["sales_orders"], given["beginning_available"])
    assert ours.atp() == expect["catp"] == suffix_minimum(ours.projected())


def test_jde_balance_counts_forecasts_behind_the_fence_and_ours_does_not() -> None:
    """Up to the planning fence the balances are equal; behind it theirs also pays for the forecast."""
    found = case("jde_cumulative_atp", "fixed-60")
    given, theirs = found["given"], found["expect"]["ending_available"]
    orders, forecast, fence = given["sales_orders"], given["forecast"], 4
    demand = orders[:fence] + [max(pair) for pair in zip(orders[fence:], forecast[fence:], strict=True)]
    assert balance(given["beginning_available"], given["planned_receipts"], demand) == theirs
    ours = by_period(START, given["planned_receipts"], orders, given["beginning_available"]).projected()
    assert ours[:fence] == theirs[:fence]
    assert all(mine > other for mine, other in zip(ours[fence:], theirs[fence:], strict=True))


# --- Oracle Inventory: a shortage is local there and lasts here

ORACLE = published("oracle_inventory_atp_rules")
SUPPLY, DEMAND = ORACLE["inputs"]["total_supply"], ORACLE["inputs"]["total_demand"]


def oracle_case(case_id: str) -> Any:
    """A case of Oracle Inventory."""
    return case("oracle_inventory_atp_rules", case_id)


def period_atp(supply: list[int], demand: list[int]) -> list[int]:
    """Their rule: each period by itself."""
    return [s - d for s, d in zip(supply, demand, strict=True)]


def backward(row: list[int]) -> list[int]:
    """Their rule: a shortage eats the surplus of the nearest earlier periods."""
    row = row[:]
    for at in range(len(row)):
        for earlier in range(at - 1, -1, -1):
            eaten = min(max(0, row[earlier]), max(0, -row[at]))
            row[earlier] -= eaten
            row[at] += eaten
    return row


def accumulated(row: list[int]) -> list[int]:
    """Their rule: surplus carries forward, a shortage does not."""
    found: list[int] = []
    for units in row:
        found.append(units + max(0, found[-1] if found else 0))
    return found


def test_oracle_projected_on_hand_is_our_projection() -> None:
    """Both add up supply less demand."""
    assert by_period(START, SUPPLY, DEMAND).projected() == oracle_case("projected-qoh")["expect"]


def test_oracle_period_atp_is_the_step_of_our_projection() -> None:
    """A period by itself is what our projection gains in it."""
    theirs = period_atp(SUPPLY, DEMAND)
    assert theirs == oracle_case("period-atp")["expect"]
    projected = by_period(START, SUPPLY, DEMAND).projected()
    assert [after - before for before, after in zip([0, *projected], projected, strict=False)] == theirs


def test_oracle_backward_shows_the_shortage_once_and_ours_up_to_it() -> None:
    """Theirs shows −1 where it arises; ours in every earlier period too, as none may promise a unit more."""
    theirs = backward(period_atp(SUPPLY, DEMAND))
    assert theirs == oracle_case("backward")["expect"]
    schedule = by_period(START, SUPPLY, DEMAND)
    ours, short = schedule.atp(), theirs.index(-1)
    assert ours == suffix_minimum(schedule.projected())
    assert ours[: short + 1] == [-1] * (short + 1)
    record = schedule.product.records()["uk"]
    assert (record["atp"], record["shortage"]) == (0, 1)


def test_oracle_backward_then_an_order_of_three() -> None:
    """Theirs cannot promise 3 in period 7 and sends them to 6; ours can, as earlier surplus lasts."""
    then = oracle_case("backward")["then"]
    units, asked, placed = then["request"]["qty"], then["request"]["period"], then["place"]["period"]
    row = backward(period_atp(SUPPLY, DEMAND))
    assert (row[asked - 1] >= units) is then["answer"]["enough"]
    assert max(at + 1 for at in range(asked) if row[at] >= units) == then["answer"]["earliest_period"]
    row[placed - 1] -= units
    assert row == then["new_atp"]
    schedule = by_period(START, SUPPLY, DEMAND)
    assert schedule.atp()[asked - 1] >= units
    before = schedule.atp()
    schedule.demand(units, START + timedelta(days=placed - 1))
    assert schedule.atp() == suffix_minimum([*before[: placed - 1], *(n - units for n in before[placed - 1 :])])


def test_oracle_accumulation_forgets_the_shortage_and_ours_carries_it() -> None:
    """After the shortage of 1 every figure of theirs is by 1 higher than ours: it promises the missing unit again."""
    theirs = accumulated(backward(period_atp(SUPPLY, DEMAND)))
    expect = oracle_case("backward-accumulate")["expect"]
    assert theirs == expect
    ours = by_period(START, SUPPLY, DEMAND).atp()
    short = theirs.index(-1)
    assert [mine - other for mine, other in zip(ours[short + 1 :], theirs[short + 1 :], strict=True)] == [-1] * 4
    assert all(mine <= other for mine, other in zip(ours, theirs, strict=True))


def test_oracle_accumulation_then_an_order_of_three() -> None:
    """Both promise 3 in period 7. Their new row follows from the 3 lying in period 6, as in their example before."""
    found = oracle_case("backward-accumulate")["then"]
    units, asked = found["request"]["qty"], found["request"]["period"]
    row = backward(period_atp(SUPPLY, DEMAND))
    assert accumulated(row)[asked - 1] == found["answer"]["available"] >= units
    row[5] -= units
    # the published figure of period 8 is a misprint, says the file
    assert accumulated(row)[:7] == found["new_atp"][:7]
    schedule = by_period(START, SUPPLY, DEMAND)
    assert schedule.atp()[asked - 1] >= units
    schedule.demand(units, START + timedelta(days=5))
    assert schedule.atp()[4:7] == [n - 1 for n in found["new_atp"][4:7]]

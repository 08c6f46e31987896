"""Laws of the daily ledger, for whatever history Hypothesis can think of: late, repeated, dated in any order."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from atp.domain.times import Day, to_ms
from atp.ledger.columns import MOVEMENTS
from tests.unit.builders import Fact, Product
from tests.unit.fact_histories import NOW, History, histories, products
from tests.unit.ledgers import Row, days_of, folded, ledger, rows_of
from tests.unit.test_properties import law, tail_of

ZERO = dict.fromkeys(("closing_sellable", "closing_on_hand", "reserved_close", "promised_close"), 0)
CLOSINGS = tuple(ZERO)


def later(hours: int) -> int:
    """An instant after the histories began."""
    return to_ms(NOW - timedelta(hours=60 - hours))


def midnights(product: Product, region: str, close_ms: int) -> list[Day]:
    """The business dates of a region around the histories that are over."""
    zone = product.world.policies.resolve("", region).calendar.zone
    first = datetime.fromtimestamp(0, zone).replace(year=2024, month=3, day=11).toordinal()
    days = [Day(ordinal, zone) for ordinal in range(first, first + 6)]
    return [day for day in days if day.end_ms <= close_ms]


@given(products(), histories(), st.data())
@law(200)
def test_every_closing_is_what_the_fold_says(product: Product, history: History, data: st.DataObject) -> None:
    """Closings equal the fold of facts dated before midnight, operational ones that of facts recorded before it."""
    repeated = history + data.draw(st.lists(st.sampled_from(history), max_size=6) if history else st.just([]))
    shuffled = data.draw(st.permutations(repeated))
    close_ms = later(data.draw(st.sampled_from([30, 40, 50, 70, 80, 120])))
    with tail_of(data.draw(st.sampled_from([2, 48]))):
        found = ledger(shuffled, product.world, close_ms)
    for region in ("uk", "de"):
        for day in midnights(product, region, close_ms):
            end_ms, rows = day.end_ms, found.get((date.fromordinal(day.ordinal).isoformat(), region), {})
            row = rows.get("S", {**ZERO, "operational_closing_sellable": 0})

            def dated(time_ms: int, recorded_ms: int, end_ms: int = end_ms) -> bool:
                return time_ms < end_ms and recorded_ms <= close_ms

            expected = folded(history, product.world, dated, end_ms).get((region, "S"), ZERO)
            assert {name: row[name] for name in CLOSINGS} == expected, (region, day.ordinal)

            def recorded(time_ms: int, recorded_ms: int, end_ms: int = end_ms) -> bool:
                return recorded_ms < end_ms

            known = folded(history, product.world, recorded, end_ms).get((region, "S"), ZERO)
            assert row["operational_closing_sellable"] == known["closing_sellable"], (region, day.ordinal)


@given(products(), histories(), st.data())
@law(100)
def test_the_ledger_is_a_function_of_the_set_of_facts(
    product: Product, history: History, data: st.DataObject
) -> None:
    """Whatever the order of arrival, and however often facts come, the rows and their explanations are the same."""
    shuffled = data.draw(st.permutations(history + history[:4]))
    one, other = (days_of(lines, product.world, later(100)) for lines in (history, shuffled))
    assert [rows_of(day) for day in one] == [rows_of(day) for day in other]
    assert [day.lines for day in one] == [day.lines for day in other]


@given(products(), histories(), st.data())
@law(100)
def test_differences_are_explained_to_the_unit(product: Product, history: History, data: st.DataObject) -> None:
    """The lines of a row sum to its difference, each names its fact, and nothing is left to the order of arrival."""
    close_ms = later(data.draw(st.sampled_from([40, 60, 100])))
    for day in days_of(history, product.world, close_ms):
        rows = rows_of(day)
        sums: dict[str, int] = {}
        for sku, line in day.lines:
            assert line.event_id
            assert line.units
            sums[sku] = sums.get(sku, 0) + line.units
        differences: dict[str, Row | int] = {s: row["difference_explained"] for s, row in rows.items()}
        assert {sku: units for sku, units in differences.items() if units} == {s: u for s, u in sums.items() if u}


@given(products(), histories(), st.data())
@law(150)
def test_movements_are_what_the_facts_say(product: Product, history: History, data: st.DataObject) -> None:
    """Up to every midnight each class sums to what facts and the latest versions of documents say, naively added."""
    shuffled = data.draw(st.permutations(history + history[:3]))
    for day in days_of_sums(shuffled, product):
        region, end_ms, sums = day
        expected = naive(history, product, region, end_ms)
        assert {name: sums[name] for name in expected} == expected, (region, end_ms)


def days_of_sums(lines: History, product: Product) -> list[tuple[str, int, dict[str, int]]]:
    """(region, midnight, sum of every movement up to it)."""
    found, running = [], {}
    for day in days_of(lines, product.world, later(100)):
        sums = running.setdefault(day.region, dict.fromkeys(MOVEMENTS, 0))
        for name in MOVEMENTS:
            sums[name] += int(day.columns[name].sum())
        found.append((day.region, day.day.end_ms, dict(sums)))
    return found


def naive(history: History, product: Product, region: str, end_ms: int) -> dict[str, int]:
    """Movements before an instant by adding up facts; of a document only its highest version counts."""
    sums = {name: 0 for name in MOVEMENTS if "corrections" not in name}
    highest: dict[tuple[str, str], Fact] = {}

    def add(node: str, name: str, sellable: int, on_hand: int) -> None:
        if node in product.world.nodes and product.world.nodes[node].region == region:
            sums[f"{name}_sellable"] += sellable
            sums[f"{name}_on_hand"] += on_hand

    for _, fact in history:
        if ms(fact) >= end_ms:
            continue
        family, kind = fact["type"].split(".")
        if family in ("receipt", "damage"):
            key = (family, str(fact.get("receipt_id") or fact.get("damage_id")))
            if key not in highest or highest[key]["version"] < fact["version"]:
                highest[key] = fact
        elif kind == "shipped" and family == "stock":
            add(fact["node"], "shipments", -fact["quantity"], -fact["quantity"])
        elif kind == "returned":
            add(fact["node"], "returns", 0, fact["quantity"])
        elif kind == "adjusted":
            add(fact["node"], "adjustments", fact["delta"] * (fact["state"] == "sellable"), fact["delta"])
        elif kind == "moved":
            to, away = fact["to_state"] == "sellable", fact["from_state"] == "sellable"
            add(fact["node"], "moves", fact["quantity"] * (to - away), 0)
    for (family, _), fact in highest.items():
        if family == "receipt":
            add(fact["node"], "receipts", fact["put_away"], fact["received"])
        else:
            taken = fact["reported"] - fact["reversed"]
            add(fact["node"], "damages", -taken * (fact["from_state"] == "sellable"), 0)
            add(fact["node"], "write_offs", 0, -fact["written_off"])
    return sums


def ms(fact: Fact) -> int:
    """When a fact happened."""
    return to_ms(datetime.fromisoformat(fact.get("as_of", fact["occurred_at"])))

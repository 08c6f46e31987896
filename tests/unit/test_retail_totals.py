"""The rows of the retail source: counted as published, and no unit lost between rows and facts."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter

import pytest

from atp.sources.online_retail import OnlineRetail, quarter
from atp.sources.retail_demand import Demand
from atp.sources.retail_documents import Document
from atp.sources.retail_rows import Row, RowKind, product_names, read_data, row_kind, rows_of
from atp.sources.retail_totals import units_of

# Row kind → (rows, units), as counted when the data was taken over.
PUBLISHED = {
    "sale": (530_103, 5_588_375),
    "cancellation": (9_288, -277_574),
    "adjustment_down": (1_336, -206_957),
    "adjustment_up": (1_139, 58_719),
    "free_goods": (40, 13_884),
    "bad_debt": (3, 3),
}


@pytest.fixture(scope="module")
def year() -> list[Row]:
    """All rows."""
    return list(rows_of())


@pytest.fixture(scope="module")
def demand(year: list[Row]) -> Demand:
    """What they mean."""
    return Demand(year)


@pytest.fixture(scope="module")
def plan() -> OnlineRetail:
    """The last quarter, planned and not yet rendered."""
    return quarter()


def conserved(units: dict[str, int]) -> bool:
    """Opening plus all that came less all that went is what is left."""
    came = units["opening"] + units["received_to_sellable"] + units["returned_to_sellable"]
    went = units["shipped"] + units["damaged"] - units["damage_reversed"]
    return came + units["adjusted"] + units["counts_drift"] - went == units["closing"]


def test_the_file_is_the_one_that_was_taken_over() -> None:
    """The data that ships with the package has the hash that its attribution names."""
    assert hashlib.sha256(read_data("online_retail.csv.zst")).hexdigest() in read_data("ATTRIBUTION.md").decode()


def test_row_kinds_equal_the_published_table(demand: Demand) -> None:
    """Rows and units by kind are those of the source, and the kinds are all rows."""
    assert {kind: (demand.rows[kind], demand.units[kind]) for kind in PUBLISHED} == PUBLISHED
    assert sum(demand.rows.values()) == 541_909
    assert sum(demand.units.values()) == 5_176_450


def test_the_year_is_whole(year: list[Row]) -> None:
    """Positions, invoices, codes, countries and SKUs are as many as published."""
    assert [row.position for row in year] == list(range(1, 541_910))
    assert len({row.invoice for row in year}) == 25_900
    assert (len({row.code for row in year}), len({row.sku for row in year})) == (4_070, 3_958)
    assert len({row.country for row in year}) == 38


def test_rows_never_go_back_in_time(year: list[Row]) -> None:
    """The file order is the order of time, minutes spread included."""
    times = [row.time_ms for row in year]
    assert times == sorted(times)


def test_a_span_reads_the_same_rows_as_the_year(year: list[Row]) -> None:
    """Starting in the middle of the file changes neither positions nor times, weekends included."""
    part = list(rows_of("2011-09-10", "2011-09-16"))
    assert part == year[part[0].position - 1 : part[-1].position]
    assert part[0].time_ms > year[part[0].position - 2].time_ms


def test_rows_that_are_no_goods_give_no_facts(year: list[Row], demand: Demand) -> None:
    """Postage, fees, vouchers and the like are 2,995 rows; none of their codes reaches a document."""
    assert sum(not row.goods for row in year) == 2_995
    assert sum(demand.skipped_rows.values()) == 2_995
    assert all(line.sku[0].isdigit() for line in demand.lines)


def test_every_row_of_goods_sold_is_one_line(demand: Demand) -> None:
    """Repeated rows are lines of their own: as many lines and units as rows sold or given away."""
    sold = ("sale", "free_goods")
    assert len(demand.lines) == sum(demand.rows[k] - demand.skipped_rows[k] for k in sold)
    assert sum(line.units for line in demand.lines) == sum(demand.units[k] - demand.skipped_units[k] for k in sold)
    assert len({line.position for line in demand.lines}) == len(demand.lines)


def test_every_cancelled_unit_is_released_or_comes_back(demand: Demand) -> None:
    """A cancelling row of −n units gives exactly n units, released before shipping or returned after."""
    cancelled = demand.skipped_units["cancellation"] - demand.units["cancellation"]
    assert demand.cancelled_units + sum(back.units for back in demand.returns) == cancelled
    assert demand.cancelled_units == sum(units for line in demand.lines for _, units in line.cancels or ())


def test_returns_without_a_sale_have_no_order(demand: Demand) -> None:
    """Orphans come back without an order; no line gives back more than it had."""
    assert 0 < demand.orphan_rows < 1_537
    assert any(back.order == "" for back in demand.returns)
    assert min(line.left for line in demand.lines) >= 0


@pytest.mark.parametrize(("invoice", "units"), [("541431", 74_215), ("581483", 80_995)])
def test_the_giant_pairs_never_leave_the_house(demand: Demand, invoice: str, units: int) -> None:
    """The two giant sales are cancelled within minutes, so nothing of them ships or comes back."""
    line = next(line for line in demand.lines if line.invoice == invoice)
    assert (line.units, line.left, line.parcels()) == (units, 0, [])
    assert not any(back.order == f"OR-{invoice}" for back in demand.returns)


def test_manual_adjustments_keep_their_sign(demand: Demand) -> None:
    """Adjustments and damages together are the goods of both adjustment kinds, up as up and down as down."""
    kinds = ("adjustment_up", "adjustment_down")
    goods = sum(demand.units[k] - demand.skipped_units[k] for k in kinds)
    damaged = sum(damage.units for damage in demand.damages)
    assert sum(change.units for change in demand.adjustments) - damaged == goods
    assert len(demand.damages) == 187
    assert any(change.reason == "found" and change.units > 0 for change in demand.adjustments)


@pytest.mark.parametrize(
    ("invoice", "units", "price", "customer", "kind"),
    [
        ("536365", 6, 2.55, "17850", RowKind.SALE),
        ("536365", 6, 2.55, "", RowKind.SALE),
        ("C536379", -1, 27.5, "14527", RowKind.CANCELLATION),
        ("A563186", 1, -11062.06, "", RowKind.BAD_DEBT),
        ("A563185", 1, 11062.06, "", RowKind.BAD_DEBT),
        ("536589", -10, 0.0, "", RowKind.ADJUSTMENT_DOWN),
        ("536414", 56, 0.0, "", RowKind.ADJUSTMENT_UP),
        ("537197", 1, 0.0, "12647", RowKind.FREE_GOODS),
    ],
)
def test_a_row_is_of_one_kind(invoice: str, units: int, price: float, customer: str, kind: RowKind) -> None:
    """Each kind by one row of the source, the negative price of a bad debt included."""
    assert row_kind(invoice, units, price, customer) is kind


def test_products_have_names() -> None:
    """Names are found by upper-cased SKU."""
    assert product_names()["85123A"] == "WHITE HANGING HEART T-LIGHT HOLDER"


def test_the_quarter_conserves_units(plan: OnlineRetail) -> None:
    """Requested units are shipped or cancelled, and each shelf's units add up to what is left."""
    units = plan_units(plan)
    assert units["requested"] == units["shipped"] + units["cancelled"]
    assert conserved(units)


def plan_units(plan: OnlineRetail) -> dict[str, int]:
    """Units by what they are, without rendering a fact."""
    return units_of(plan.demand, plan.supply)


def test_nothing_is_planned_before_the_span_begins(plan: OnlineRetail) -> None:
    """Opening stock lasts until the first receipt that can be planned within the span."""
    documents: list[Document] = [*plan.supply.receipts, *plan.supply.counts]
    assert min(document.start_ms for document in documents) >= plan.start_ms


def test_late_receipts_make_lines_wait(plan: OnlineRetail) -> None:
    """A few lines are back-ordered, and none of them leaves before the time it should have left."""
    waiting = [line for line in plan.demand.lines if line.short_ms]
    assert 0 < len(waiting) == plan.supply.late_lines < len(plan.demand.lines) // 200
    assert all(line.start_ms < line.short_ms < line.ship_ms for line in waiting)


def test_most_counts_agree_with_the_truth(plan: OnlineRetail) -> None:
    """More than nine of ten cycle counts find what is there; the others are off by two units at most."""
    cycle = [count for count in plan.supply.counts if count.number]
    agreeing = sum(count.drift == 0 for count in cycle)
    assert 0.9 * len(cycle) < agreeing < len(cycle)
    assert max(abs(count.drift) for count in cycle) <= 2


@pytest.mark.slow
def test_the_whole_year_conserves_units() -> None:
    """A whole year: sales and free goods of the source are requested, facts are as many as lines, nothing is lost."""
    replay = quarter(full=True, heartbeats=False)
    told = replay.manifest()
    units, facts = told["units"], told["facts"]
    assert units["requested"] == 5_588_375 + 13_884 - 11_379 - 7
    assert units["requested"] == units["shipped"] + units["cancelled"]
    assert facts["reservation.placed"] == 530_103 + 40 - 2_378 - 7
    assert facts["stock.shipped"] == facts["reservation.shipped"]
    assert facts["damage.reported"] == 187
    assert conserved(units)


def test_vocabulary_names_every_adjustment(year: list[Row]) -> None:
    """Every adjustment's description and sign is in the vocabulary, as often as it says (and two bad debts)."""
    lines = csv.DictReader(io.StringIO(read_data("adjustments_vocabulary.csv").decode()))
    named = {(line["Description"], line["sign"]): int(line["rows"]) for line in lines}
    del named["Adjust bad debt", "pos"]
    adjusted = (RowKind.ADJUSTMENT_UP, RowKind.ADJUSTMENT_DOWN)
    found = Counter((row.description, "pos" if row.units > 0 else "neg") for row in year if row.kind in adjusted)
    assert found == named
    assert found.total() == 2_475

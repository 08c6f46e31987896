"""The strangler: who answers, what the other one would have said, and how a route moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from atp import topics
from atp.domain.routes import Answerer, Comparison, RouteBook
from atp.facade.legacy import MartError, read_mart
from tests.cli import atp, is_one_line
from tests.facade.conftest import MART, Door, send
from tests.facade.test_lookups import eventually


def shadow(region: str, channel: str, outcome: str) -> float:
    """How often mart and product were compared so far, with this outcome."""
    labels = {"region": region, "channel": channel, "outcome": outcome}
    return REGISTRY.get_sample_value("atp_shadow_answers_total", labels) or 0.0


async def test_the_first_digital_regions_are_answered_by_the_product(strangler: Door) -> None:
    """uk|web is the product's from the start, and the mart is compared in its shadow; a store is still the mart's."""
    before = shadow("uk", "web", "under")
    found = (await strangler.get("/v1/availability/S0?region=uk")).json()
    assert (found["answered_by"], found["sellable"]) == ("PRODUCT", 10)
    assert shadow("uk", "web", "under") == before + 1
    found = (await strangler.get("/v1/availability/S1?region=ireland&channel=store", "boss-key")).json()
    assert (found["answered_by"], found["sellable"], found["as_of"]) == ("LEGACY", 7, "yesterday")
    assert (found["confidence"], found["reasons"], found["age_ms"]) == ("LOW", ["BATCH"], None)


async def test_a_route_moves_while_the_facade_runs(strangler: Door) -> None:
    """A row of the routes topic moves a (region, channel), there and back."""
    for answers, units in (("LEGACY", 9), ("PRODUCT", 10)):
        row = json.dumps({"region": "uk", "channel": "web", "answers": answers}).encode()
        send(strangler.bootstrap, topics.ROUTES.name, ("uk|web", row))
        await eventually(strangler, "/v1/availability/S0?region=uk", {"answered_by": answers, "sellable": units})


def test_routes_are_set_listed_and_compared_on_the_command_line(broker: str, tmp_path: Path) -> None:
    """set → list shows it; compare counts agreement, over and under; wrong words are one line."""
    given = {"ATP_BOOTSTRAP": broker}
    assert atp("route", "set", "south", "web", "product", "--reason", "agreed", **given).returncode == 0
    listed = json.loads(atp("route", "list", "--json", **given).stdout)["routes"]
    assert [(r["region"], r["channel"], r["answers"], r["reason"]) for r in listed] == [
        ("south", "web", "PRODUCT", "agreed")
    ]
    mart = tmp_path / "mart.csv"
    mart.write_text(MART + "S1,uk,web,11,y\nS2,uk,web,99,y\nold,uk,web,1,y\n")
    run = atp("route", "compare", "--mart", str(mart), "--region", "uk", "--json", **given)
    assert run.returncode == 0, run.stderr
    (found,) = json.loads(run.stdout)["comparisons"]
    assert (found["agree"], found["over"], found["over_units"], found["under"], found["under_units"]) == (
        1,
        1,
        87,
        1,
        1,
    )
    assert (found["only_mart"], found["only_product"], found["compared"], found["answers"]) == (1, 17, 3, "PRODUCT")
    wrong = atp("route", "set", "uk", "web", "perhaps", **given)
    assert (wrong.returncode, is_one_line(wrong)) == (2, True)
    assert "answers = 'PERHAPS'" in wrong.stderr


def test_parquet_and_csv_are_read_alike(tmp_path: Path) -> None:
    """The same rows from either file; SKUs of digits stay text."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = {"sku": ["0007"], "region": ["uk"], "channel": ["web"], "sellable": [3], "as_of": ["2026-01-05"]}
    parquet.write_table(pa.table(rows), tmp_path / "mart.parquet")
    (tmp_path / "mart.csv").write_text("sku,region,channel,sellable,as_of\n0007,uk,web,3,2026-01-05\n")
    assert read_mart(tmp_path / "mart.parquet") == read_mart(tmp_path / "mart.csv")
    assert ("0007", "uk", "web") in read_mart(tmp_path / "mart.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sku,region,channel,as_of\nS,uk,web,y\n", "column 'sellable' is missing"),
        ("sku,region,channel,sellable,as_of\nS,uk,web,-1,y\n", "sellable = -1"),
        ("sku,region,channel,sellable,as_of\nS,uk,web,many,y\n", "mart"),
    ],
)
def test_a_mart_that_cannot_be_used_is_named(tmp_path: Path, text: str, told: str) -> None:
    """File, row and what is allowed."""
    path = tmp_path / "mart.csv"
    path.write_text(text)
    with pytest.raises(MartError, match=told):
        read_mart(path)


async def test_a_broken_mart_leaves_the_one_before(strangler: Door) -> None:
    """A batch that is cut short takes nothing away; readiness names it."""
    assert strangler.facade.mart.path is not None
    strangler.facade.mart.path.write_text("sku\n")
    strangler.facade.mart.refresh()
    assert strangler.facade.mart.rows["S1", "ireland", "store"].sellable == 7
    problems = (await strangler.get("/health/ready")).json()["problems"]
    assert any("'region' is missing" in problem for problem in problems)


def test_routes_without_a_document_follow_the_rule() -> None:
    """Product for the digital channels of the first regions, mart for all others."""
    book = RouteBook(("uk", "ireland"), ("web", "app"))
    assert [book.of(r, c) for r, c in (("uk", "web"), ("ireland", "app"), ("uk", "store"), ("south", "web"))] == [
        Answerer.PRODUCT, Answerer.PRODUCT, Answerer.LEGACY, Answerer.LEGACY,
    ]  # fmt: skip


def test_nothing_compared_is_no_agreement() -> None:
    """A share of nothing is not told as a number."""
    found = Comparison("uk", "web", Answerer.LEGACY)
    found.take(5, None)
    assert (found.agreement, found.only_mart) == (None, 1)

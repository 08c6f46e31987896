"""Numbers and control totals in the drill: what sources say they sent against what came."""

from __future__ import annotations

from datetime import UTC, datetime

from atp.domain.facts import StockReturned, StockShipped
from atp.domain.times import HOUR_MS, to_ms
from atp.simulation.adaptive import Adaptive
from atp.simulation.books import SourceBook
from atp.simulation.drill import Day
from atp.simulation.evidence import BALANCE, false_alarms
from atp.simulation.shoppers import wishes_of
from tests.unit.test_drill_world import small_plan

NOON = datetime(2025, 11, 28, 12, tzinfo=UTC)


def day_of(*troubles: str) -> tuple[Day, Adaptive]:
    """A small day with our product in it, played to its close."""
    plan = small_plan()
    day = Day(plan, 2, wishes_of(plan, 2), Adaptive, troubles)
    day.run()
    day.settle()
    assert isinstance(day.product, Adaptive)
    return day, day.product


def test_a_source_numbers_and_counts_what_it_records() -> None:
    """One sequence over all topics; totals by the hour of recorded_at, whatever happened when."""
    book, head = (
        SourceBook(),
        {"schema_version": "1.0", "source": "wms", "sku": "S", "occurred_at": NOON, "node": "n"},
    )
    facts = [
        StockShipped(event_id="a", recorded_at=NOON, quantity=2, **head),
        StockReturned(event_id="b", recorded_at=NOON.replace(minute=59), quantity=3, **head),
        StockShipped(event_id="c", recorded_at=NOON.replace(hour=13), quantity=4, **head),
    ]
    book = SourceBook()
    for fact in facts:
        book.enter(fact)
    assert [fact.source_seq for fact in facts] == [1, 2, 3]
    hours = {"2025-11-28T12:00:00.000Z": (2, 5), "2025-11-28T13:00:00.000Z": (1, 4)}
    assert book.totals == {"inventory.stock.v1": hours}


def test_on_a_clean_day_all_that_was_sent_came() -> None:
    """Every hour of every source balances in facts and units, in spite of repeats and delays; nobody is alarmed."""
    day, product = day_of()
    assert product.sightings == []
    compared = 0
    for (region, source), row in product.balances.rows.items():
        assert row.missing_numbers == 0
        for topic, hours in day.post.books[source, region].totals.items():
            for hour, said in hours.items():
                assert row.arrivals.came(topic, to_ms(datetime.fromisoformat(hour))) == said
                compared += 1
    assert compared > 20


def test_lost_messages_are_missed_with_the_hour_that_lacks_them() -> None:
    """Everything of a region's OMS is lost, so no higher number shows the gap: its heartbeats' totals do."""
    day, product = day_of("region-backfill")
    [trouble] = day.troubles
    named = [seen for seen in product.sightings if seen.by == BALANCE]
    assert {seen.region for seen in named} == {trouble.region}
    assert trouble.begins_ms < named[0].at_ms < trouble.begins_ms + 2 * HOUR_MS
    assert false_alarms(day.troubles, named) == 0
    oms = product.balances.rows[trouble.region, "oms"]
    assert oms.missing_numbers == 0, "the back-fill brought them"
    assert any(one.facts > one.expected_facts for one in oms.said[1]), "and repeats that OMS never numbered"

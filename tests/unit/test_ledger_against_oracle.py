"""The ledger against an independent, naive reckoning: every closing of random histories, late facts included.

The oracle (`tests/oracle`) was written from the domain text alone. It is given the facts that finance, or
operations, knew at a midnight; the ledger is given all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from atp.commands.files import FactLine, take_control
from atp.domain.fold import World
from atp.domain.ledger_rules import policy_of
from atp.domain.times import Day, to_ms
from tests.oracle.histories import facts_of, random_history, shuffled_with_duplicates
from tests.oracle.reckoning import FACT_TOPICS, RESERVATIONS, reckon
from tests.unit.ledgers import ledger

SEEDS, CHUNK = 60, 15
Line = dict[str, Any]
Row = dict[str, int]


def times(line: Line) -> tuple[int, int]:
    """When a fact happened and when it was recorded."""
    value = line["value"]
    happened, recorded = value.get("as_of", value["occurred_at"]), value["recorded_at"]
    return to_ms(datetime.fromisoformat(happened)), to_ms(datetime.fromisoformat(recorded))


def world_of(lines: list[Line]) -> World:
    """Nodes and policies of a history."""
    world = World()
    for line in lines:
        if line["topic"] not in FACT_TOPICS:
            encoded = msgspec.Raw(msgspec.json.encode(line["value"]))
            take_control(FactLine(line["topic"], encoded, line["key"]), world)
    return world


def is_late(line: Line, world: World) -> bool:
    """Whether a fact came after the correction window of its date, in the region that it belongs to."""
    value = line["value"]
    node = world.nodes.get(value.get("node") or "")
    of_node = line["topic"] != RESERVATIONS or value["state"] == "ALLOCATED"
    region = (node.region if node else None) if of_node else value["region"]
    if region is None:
        return False
    policy, (happened_ms, recorded_ms) = policy_of(world, region), times(line)
    return recorded_ms > policy.calendar.day(happened_ms).end_ms + policy.correction_ms


def naive(lines: list[Line], end_ms: int, keep: Callable[[Line], bool]) -> dict[tuple[str, str], Row]:
    """(region, SKU) → closing figures at a midnight, of the facts that are kept."""
    known = [line for line in lines if line["topic"] not in FACT_TOPICS or keep(line)]
    records, refused = reckon(known, now=datetime.fromtimestamp(end_ms / 1000, UTC) + timedelta(hours=12))
    assert not refused
    return {(record["region"], record["sku"]): figures(record) for record in records}


def figures(record: dict[str, Any]) -> Row:
    """What the ledger states of a canonical record."""
    found = record["on_hand"]
    return {"closing_sellable": found["sellable"], "closing_on_hand": sum(found.values())}


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_closing_equals_the_oracle(first: int) -> None:
    """Finance: dated before midnight and in time; operations: recorded before midnight. Both to the unit."""
    compared = 0
    for seed in range(first, first + CHUNK):
        rng = Random(seed)
        history = random_history(rng)
        lines, world = shuffled_with_duplicates(history, rng), world_of(history)
        close_ms = max(times(line)[1] for line in facts_of(history)) + 26 * 3_600_000
        found = ledger([(line["topic"], line["value"]) for line in lines], world, close_ms)
        for (day, region), rows in found.items():
            zone = policy_of(world, region).calendar.zone
            compared += compare(history, world, rows, region, Day(date.fromisoformat(day).toordinal(), zone).end_ms)
    assert compared > 100


def compare(history: list[Line], world: World, rows: dict[str, dict[str, int]], region: str, end_ms: int) -> int:
    """Hold every row of a day against the oracle; how many there were."""
    finance = naive(history, end_ms, lambda line: times(line)[0] < end_ms and not is_late(line, world))
    operations = naive(history, end_ms, lambda line: times(line)[1] < end_ms)
    for sku, row in rows.items():
        nothing = {"closing_sellable": 0, "closing_on_hand": 0}
        expected = finance.get((region, sku), nothing)
        assert {name: row[name] for name in nothing} == expected, (region, sku, end_ms)
        known = operations.get((region, sku), nothing)
        assert row["operational_closing_sellable"] == known["closing_sellable"], (region, sku, end_ms)
    expected_rows = {sku for place, sku in finance if place == region and any(finance[place, sku].values())}
    assert expected_rows <= set(rows)
    return len(rows)

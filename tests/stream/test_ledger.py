"""The day close through the whole product: rows and days on their topics, as the pure close has them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from atp.domain.fold import World
from atp.domain.nodes import parse_node
from atp.domain.policy import parse_policy
from atp.domain.times import to_ms
from atp.lane.keys import partition_of
from atp.topics import LEDGER, LEDGER_DAYS
from tests.cli import atp, is_one_line
from tests.stream.facts import at, counted, damaged, expected_receipt, fact, node, policy, reserved, shipped, stamp
from tests.stream.system import PARTITIONS, Line, Reader, System
from tests.stream.test_time_and_people import beat
from tests.unit.ledgers import ledger

DAY, NIGHT = 24 * 60, 15 * 60  # minutes; the story begins at 09:00
SKUS = [f"S-{number}" for number in range(12)]
WORLD = [node("n1", "uk"), policy("default", 1, required_sources=["wms"])]


class Closed:
    """What the worker has told of closed days."""

    def __init__(self, system: System) -> None:
        bootstrap = system.broker.bootstrap
        self._rows, self._days = Reader(bootstrap, LEDGER.name, PARTITIONS), Reader(bootstrap, LEDGER_DAYS.name, 1)
        self.rows: dict[str, dict[str, Any]] = {}
        self.days: dict[str, dict[str, Any]] = {}

    def read(self) -> Closed:
        """Take in what has come; a revision that was closed stays as it was."""
        for message in self._rows.more(0.01):
            self.rows[message.key().decode()] = json.loads(message.value())
        for message in self._days.more(0.01):
            key, value = message.key().decode(), json.loads(message.value())
            assert self.days.get(key, value)["stand"] == "CLOSING" or self.days[key] == value
            self.days[key] = value
        return self

    def status(self, key: str) -> str:
        """The status of a revision, once it is closed."""
        found = self.read().days.get(key, {})
        return str(found.get("status", "")) if found.get("stand") == "CLOSED" else ""

    def standing(self, day: str) -> dict[str, dict[str, Any]]:
        """Of every SKU, the row of the highest revision."""
        found: dict[str, dict[str, Any]] = {}
        for row in sorted(self.rows.values(), key=lambda row: row["revision"]):
            if row["business_date"] == day:
                found[row["sku"]] = row
        return found

    def close(self) -> None:
        """Let go of the connections."""
        self._rows.close()
        self._days.close()


def morning() -> list[Line]:
    """Facts of every kind on the first day."""
    lines = [counted(sku, "n1", 20 + number, at(number)) for number, sku in enumerate(SKUS)]
    lines += [shipped(sku, "n1", 1 + number % 3, at(60 + number)) for number, sku in enumerate(SKUS)]
    lines += [reserved(sku, "uk", 2, at(90)) for sku in SKUS[::2]]
    lines += [damaged(sku, "n1", 1, at(120)) for sku in SKUS[::3]]
    return [*lines, *(expected_receipt(sku, "n1", 5, at(2 * DAY), at(130)) for sku in SKUS[::4])]


def assert_rows_are_the_pure_close(closed: Closed, day: str, lines: list[Line], close_minutes: float) -> None:
    """Every figure of every row that stands."""
    world = World()
    world.nodes["n1"] = parse_node(WORLD[0]["value"])
    world.policies.put(parse_policy(WORLD[1]["value"]))
    facts = [(line["topic"], line["value"]) for line in lines]
    pure = ledger(facts, world, to_ms(at(close_minutes)))[day, "uk"]
    found = closed.standing(day)
    assert {sku: {name: row[name] for name in pure[sku]} for sku, row in found.items()} == pure
    totals = max((d for d in closed.days.values() if d["business_date"] == day), key=lambda d: d["revision"])
    assert totals["rows"] == len(pure)
    for name, units in totals["control_totals"].items():
        assert units == sum(row[name] for row in pure.values()), name


def test_days_close_by_watermarks_and_are_restated(system: System, tmp_path: Path) -> None:
    """PROVISIONAL after midnight, FINAL in the morning, RESTATED by a late fact; every row is the pure close's.

    What was closed is shown, exported and proven by the commands.
    """
    system.publish([*WORLD, beat("wms", "uk", -60)])
    system.start()
    lines = morning()
    system.publish(lines)
    closed = Closed(system)
    try:
        system.publish([beat("wms", "uk", NIGHT + 60)])
        system.await_true(lambda: closed.status("2026-03-10|uk|1") == "PROVISIONAL", why=lambda: closed.days)
        assert_rows_are_the_pure_close(closed, "2026-03-10", lines, NIGHT + 60)
        system.publish([beat("wms", "uk", NIGHT + 7 * 60)])
        system.await_true(lambda: closed.status("2026-03-10|uk|2") == "FINAL", why=lambda: closed.days)
        body = {"node": "n1", "state": "sellable", "delta": -4, "reason": "lost"}
        late = fact("inventory.stock.v1", "stock.adjusted", SKUS[3], at(300), **body)
        late["value"]["recorded_at"] = stamp(at(NIGHT + 8 * 60))
        system.publish([late])
        system.publish([beat("wms", "uk", NIGHT + 9 * 60)])
        system.await_true(lambda: closed.status("2026-03-10|uk|3") == "RESTATED", why=lambda: closed.days)
        assert [row["sku"] for row in closed.rows.values() if row["revision"] == 3] == [SKUS[3]]
        assert_rows_are_the_pure_close(closed, "2026-03-10", [*lines, late], NIGHT + 9 * 60)
        assert_the_commands_read_what_the_worker_closed(system, tmp_path, closed)
    finally:
        closed.close()


def assert_the_commands_read_what_the_worker_closed(system: System, folder: Path, closed: Closed) -> None:
    """Shown, exported twice to the same bytes, proven of the topics; a row that somebody changed is named."""
    shown = atp_ledger(system, "show", "--json")
    assert [(day["business_date"], day["revision"], day["status"]) for day in map(json.loads, shown)] == [
        ("2026-03-10", 3, "RESTATED")
    ]
    for target in ("one", "two"):
        atp_ledger(system, "export", "--to", str(folder / target))
    first, second = (files_of(folder / target) for target in ("one", "two"))
    assert sorted(first) == [f"revision-3.{form}" for form in ("csv", "json", "parquet")]
    assert first == second
    assert csv_rows(first["revision-3.csv"]) == {
        sku: {name: str(value) for name, value in row.items() if name not in ("schema_version", "revision", "status")}
        for sku, row in closed.standing("2026-03-10").items()
    }
    atp_ledger(system, "verify")
    key, row = next((key, row) for key, row in closed.rows.items() if row["sku"] == SKUS[5])
    changed = json.dumps({**row, "closing_on_hand": row["closing_on_hand"] + 1}).encode()
    system.send(LEDGER.name, key.encode(), changed, partition_of(SKUS[5], PARTITIONS))
    system.flush()
    told = "\n".join(atp_ledger(system, "verify", code=1))
    assert f"sku {SKUS[5]}: closing_on_hand = {row['closing_on_hand'] + 1}" in told
    assert atp_ledger(system, "export", "--to", str(folder / "three"), code=1) == []


def atp_ledger(system: System, command: str, *options: str, code: int = 0) -> list[str]:
    """The lines that `atp ledger …` says of what the worker closed; it must end with the code."""
    run = atp("ledger", command, "--bootstrap", system.broker.bootstrap, *options)
    assert run.returncode == code, run.stderr + run.stdout
    assert code == 0 or is_one_line(run)
    return run.stdout.splitlines()


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of the one date and region in a target."""
    return {path.name: path.read_bytes() for path in (folder / "date=2026-03-10" / "region=uk").iterdir()}


def csv_rows(content: bytes) -> dict[str, dict[str, str]]:
    """Rows of an exported CSV by SKU, without what stands for the revision as a whole."""
    rows = csv.DictReader(content.decode().splitlines())
    return {row["sku"]: {n: v for n, v in row.items() if n not in ("revision", "status")} for row in rows}

"""`atp publish` before any broker: what it refuses, and how it says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atp.commands.lines import Outgoing, Wrong, judged
from atp.commands.markers import to_partitions
from atp.domain.intake import Horizons
from atp.lane.keys import partition_of
from tests.cli import adjusted, atp, count, is_one_line, node, policy, write_lines

COMMAND = {
    "command_id": "c1", "region": "uk", "channel": "web", "mode": "SUSPENDED", "reason": "price error",
    "issued_at": "2026-01-05T10:00:00.000Z",
}  # fmt: skip

SNAPSHOT = {"snapshot_id": "s1", "source": "oms", "as_of": "2026-01-05T10:00:00.000Z", "region": "uk"}
LINES = {**SNAPSHOT, "type": "snapshot.row", "sku": "S", "lines": []}
DECISION = {
    "type": "exception.approved", "exception_id": "x-1", "sku": "S", "by": "ops", "reason": "counted by hand",
    "decided_at": "2026-01-05T10:00:00.000Z",
}  # fmt: skip


def judge(record: dict[str, Any] | str) -> Outgoing | Wrong:
    """The judgement of one line."""
    line = record if isinstance(record, str) else json.dumps(record)
    (found,) = judged(line.encode(), Horizons())
    return found


def test_a_valid_file_is_judged_without_a_broker(tmp_path: Path) -> None:
    """A dry run needs no broker, produces nothing and counts what it would produce."""
    path = write_lines(tmp_path / "f.jsonl", [node(), policy(), count("c", "10:00:00.000", 5)])
    run = atp("publish", str(path), "--dry-run", "--json", "--bootstrap", "127.0.0.1:1")
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["valid"] == 3
    assert said["published"] == 0
    assert said["topics"] == {"atp.policies.v1": 1, "inventory.stock.v1": 1, "reference.nodes.v1": 1}


def test_one_bad_line_refuses_the_file(tmp_path: Path) -> None:
    """Every bad line is named with its reason; nothing is published, exit code 1."""
    bad = adjusted("e", "10:00:00.000", 0)
    path = write_lines(tmp_path / "f.jsonl", [node(), bad, "not json"])
    run = atp("publish", str(path), "--bootstrap", "127.0.0.1:1")
    assert run.returncode == 1
    *refusals, last = run.stderr.splitlines()
    assert [json.loads(r)["line"] for r in refusals] == [2, 3]
    assert [json.loads(r)["reason"] for r in refusals] == ["SCHEMA_INVALID", "UNDECODABLE"]
    assert json.loads(refusals[0])["event_id"] == "e"
    assert "2 of 3 lines are invalid; nothing was published" in last


@pytest.mark.parametrize(
    ("record", "reason", "says"),
    [
        ({**count("c", "10:00:00.000", 5), "key": "T"}, "KEY_MISMATCH", "'T'"),
        (policy(memory_days=31), "SCHEMA_INVALID", "memory_days = 31: pinned to 30"),
        (policy(horizon_days="x"), "SCHEMA_INVALID", "horizon_days = 'x'"),
        ({"topic": "atp.availability.v1", "value": {}}, "UNKNOWN_TOPIC", "only agents/availability writes it"),
        ({"topic": "atp.modes.v1", "value": {}}, "UNKNOWN_TOPIC", "only agents/modes writes it"),
        (
            {"topic": "atp.mode-commands.v1", "value": {**COMMAND, "reason": ""}},
            "SCHEMA_INVALID",
            "reason is missing",
        ),
        ({"topic": "atp-sku-changelog", "value": {}}, "UNKNOWN_TOPIC", "atp-sku-changelog"),
        ({"topic": "nowhere", "value": {}}, "UNKNOWN_TOPIC", "nowhere"),
        ({"topic": "reference.nodes.v1", "value": None}, "KEY_MISMATCH", "names the key it deletes"),
        ({"topic": "reference.nodes.v1", "key": "m", "value": node()["value"]}, "KEY_MISMATCH", "'n1'"),
        ({"topic": "inventory.stock.v1", "key": "S", "value": None}, "UNDECODABLE", "never deleted"),
        ({"topic": "wms.snapshots.v1", "key": "S", "value": None}, "UNDECODABLE", "never deleted"),
        ({"topic": "wms.snapshots.v1", "value": {"type": "snapshot.closed"}}, "SCHEMA_INVALID", "snapshot_id"),
        ({"topic": "oms.snapshots.v1", "key": "T", "value": {**LINES}}, "KEY_MISMATCH", "'T'"),
        (
            {"topic": "atp.reconciliation.decisions.v1", "value": {**DECISION, "type": "maybe"}},
            "SCHEMA_INVALID",
            "maybe",
        ),
        (
            {"topic": "atp.corrections.v1", "value": count("c", "10:00:00.000", 5)["value"]},
            "SCHEMA_INVALID",
            "source",
        ),
        ({"topic": "reference.nodes.v1", "value": [1]}, "SCHEMA_INVALID", "a JSON object is needed"),
    ],
)
def test_a_line_is_refused_with_its_reason(record: dict[str, Any], reason: str, says: str) -> None:
    """Each way to be wrong has a reason code and names what is wrong."""
    found = judge(record)
    assert isinstance(found, Wrong)
    assert found.reason == reason
    assert says in found.message


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (count("c", "10:00:00.000", 5), "S"),
        (node(), "n1"),
        (policy(journal_hours=72), "default"),
        (policy(scope="region:uk"), "region:uk"),
        (
            {
                "topic": "sources.heartbeats.v1",
                "value": {"source": "wms", "region": "uk", "watermark": "2026-01-05T10:00:00.000Z"},
            },
            "wms|uk",
        ),
        ({"topic": "reference.nodes.v1", "key": "n1", "value": None}, "n1"),
        ({"topic": "atp.mode-commands.v1", "value": COMMAND}, "uk"),
    ],
)
def test_a_record_gets_its_key(record: dict[str, Any], key: str) -> None:
    """The key of every kind of record follows from the record."""
    found = judge(record)
    assert isinstance(found, Outgoing)
    assert found.key == key


def test_a_fact_carries_the_time_it_was_recorded() -> None:
    """The record's timestamp is `recorded_at`: the worker merges topics by it."""
    found = judge(count("c", "10:00:00.000", 5))
    assert isinstance(found, Outgoing)
    assert found.recorded_ms == 1767607200000


def test_no_broker_is_one_line(tmp_path: Path) -> None:
    """Without a broker the command says so in one line, exit code 1."""
    path = write_lines(tmp_path / "f.jsonl", [node()])
    run = atp("publish", str(path), "--bootstrap", "127.0.0.1:1")
    assert run.returncode == 1
    assert is_one_line(run)
    assert "no broker answers at 127.0.0.1:1" in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish",),
        ("publish", "/nowhere/f.jsonl"),
        ("publish", "x", "--frobnicate"),
        ("publish", "/dev/null", "--bootstrap", "nonsense"),
        ("demo", "--limit", "0"),
        ("demo", "--speed", "-1"),
        ("demo", "--workers", "0"),
        ("demo", "--limit", "many"),
        ("explain", "S"),
        ("explain", "S", "uk", "--nodes", "n.json"),
        ("explain", "S", "uk", "--facts", "/nowhere/f.jsonl"),
        ("doctor", "--bootstrap", ":"),
        ("dev", "--port", "x"),
        ("frobnicate",),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments: tuple[str, ...]) -> None:
    """Wrong use of any command: one line, exit code 2, no traceback."""
    run = atp(*arguments)
    assert run.returncode == 2, run.stderr
    assert is_one_line(run)
    assert run.stdout == ""


def test_snapshots_decisions_and_corrections_may_be_published() -> None:
    """Rows, decisions and corrections go under their SKU."""
    correction = {**count("c", "10:00:00.000", 5)["value"], "source": "atp.reconciliation"}
    records = {
        "oms.snapshots.v1": LINES,
        "atp.reconciliation.decisions.v1": DECISION,
        "atp.corrections.v1": correction,
    }
    for topic, value in records.items():
        found = judge({"topic": topic, "value": value})
        assert isinstance(found, Outgoing), found
        assert (found.topic, found.key) == (topic, "S")


def closing(rows: int, units: int = 0) -> dict[str, Any]:
    """A marker of snapshot s1."""
    return {
        "topic": "oms.snapshots.v1",
        "value": {**SNAPSHOT, "type": "snapshot.closed", "rows": rows, "units": units},
    }


@pytest.mark.parametrize(
    ("markers", "complete"),
    [([closing(20)], True), ([closing(12), closing(8)], True), ([closing(20), closing(20)], True),
     ([closing(23)], False), ([closing(4)], False), ([closing(20, 1)], False)],
)  # fmt: skip
def test_every_partition_gets_a_marker_of_its_own(markers: list[dict[str, Any]], complete: bool) -> None:
    """They fit the rows of the partitions if those of the file fit its rows; a repeated row counts once."""
    skus = [f"S{n}" for n in range(20)]
    lines = [{"topic": "oms.snapshots.v1", "value": {**LINES, "sku": sku}} for sku in [*skus, "S1"]]
    content = "".join(json.dumps(line) + "\n" for line in [*markers, *lines])
    outgoing = to_partitions([line for line in judged(content.encode(), Horizons()) if isinstance(line, Outgoing)], 8)
    told = [json.loads(line.value or b"") for line in outgoing if line.partition is not None]
    assert [line.partition for line in outgoing if line.partition is not None] == list(range(8))
    here = [(sum(partition_of(sku, 8) == partition for sku in skus), 0) for partition in range(8)]
    assert ([(marker["rows"], marker["units"]) for marker in told] == here) is complete

"""Snapshots in a file: `atp fold` flags what drifts, `atp reconcile verify` says how every snapshot compares."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from atp.commands.fold import fold_file
from atp.domain.fold import World
from tests.cli import adjusted, atp, count, is_one_line, node, placed, write_lines

Record = dict[str, Any]
NOON = "2026-01-05T12:00:00.000Z"


def snapshot(kind: str, rows: list[Record], as_of: str = NOON, *, parts: int = 1, short: int = 0) -> list[Record]:
    """A snapshot's rows and one marker per partition; `short`: rows that were lost on the way."""
    topic = f"{kind}.snapshots.v1"
    head = {"snapshot_id": f"{kind}|{as_of}", "source": kind, "as_of": as_of, "region": "uk", "schema_version": "1.0"}
    found = [{"topic": topic, "value": {**head, "type": "snapshot.row", "sku": "S", **row}} for row in rows]
    sums = [[0, 0] for _ in range(parts)]
    for at, row in enumerate(rows):
        sums[at % parts][0] += 1
        sums[at % parts][1] += sum(row.get("quantities", {}).values()) + sum(e["open"] for e in row.get("lines", []))
    sums[0][0] += short
    closed = {**head, "type": "snapshot.closed"}
    return found + [{"topic": topic, "value": {**closed, "rows": rows_, "units": units}} for rows_, units in sums]


def alive(source: str, watermark: str = "2026-01-05T13:00:00.000Z") -> Record:
    """A heartbeat."""
    return {"topic": "sources.heartbeats.v1", "value": {"source": source, "region": "uk", "watermark": watermark}}


def stock_row(sellable: int, node_name: str = "n1", sku: str = "S") -> Record:
    """A row of a stock snapshot."""
    return {"sku": sku, "node": node_name, "quantities": {"sellable": sellable}}


def correction(sellable: int) -> Record:
    """The correction fact that sets n1 to the snapshot's word at noon."""
    value = count("correction|x-1", "12:00:00.000", sellable)["value"]
    value |= {"source": "atp.reconciliation", "correlation_id": "x-1", "recorded_at": "2026-01-05T12:30:00.000Z"}
    return {"topic": "atp.corrections.v1", "key": "S", "value": value}


FACTS = [node(), node("n2"), count("c", "10:00:00.000", 20), alive("wms"), alive("oms")]
LINE = {
    "reservation_id": "order", "line": 1, "version": 1, "channel": "web", "state": "FIRM", "requested": 5, "open": 5,
    "consumed": 0, "released": 0,
}  # fmt: skip


def content(records: list[Record]) -> str:
    """A FACTS.jsonl."""
    return "".join(json.dumps(record) + "\n" for record in records)


def folded(records: list[Record]) -> dict[str, Any]:
    """The canonical records of a file by key; no line may be refused."""
    found = fold_file(content(records).encode(), World(), None)
    assert not found.refusals
    return {key: json.loads(record) for key, record in found.records()}


def verified(path: Path, records: list[Record], code: int) -> dict[str, Any]:
    """What `atp reconcile verify` says of a file."""
    run = atp("reconcile", "verify", "--facts", str(write_lines(path / "f.jsonl", [*records])), "--json")
    assert run.returncode == code, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_a_drift_is_flagged_as_the_worker_would_publish_it() -> None:
    """We promise more than the warehouse has: DRIFT is flag and reason, and the record sells carefully."""
    record = folded([*FACTS, *snapshot("wms", [stock_row(12)])])["S|uk"]
    assert record["flags"] == ["DRIFT"]
    web = record["channels"]["web"]
    assert (web["confidence"], web["reasons"], web["sellable"]) == ("LOW", ["DRIFT"], web["conservative"])
    assert record["on_hand"]["sellable"] == 20


def test_a_snapshot_that_agrees_leaves_the_record_as_it_was() -> None:
    """Stock and reservations at noon, whatever came after it."""
    facts = [*FACTS, placed("order", "11:00:00.000", 5), adjusted("later", "12:30:00.000", -4)]
    snapshots = [*snapshot("wms", [stock_row(20)]), *snapshot("oms", [{"lines": [LINE]}])]
    assert folded([*facts, *snapshots])["S|uk"]["flags"] == []


def test_nothing_is_compared_before_the_source_has_passed_the_as_of(tmp_path: Path) -> None:
    """Without a heartbeat after it a snapshot waits, and verify says so."""
    early = [record for record in FACTS if record["topic"] != "sources.heartbeats.v1"]
    records = [*early, alive("wms", "2026-01-05T12:00:00.999Z"), *snapshot("wms", [stock_row(12)])]
    assert folded(records)["S|uk"]["flags"] == []
    found = verified(tmp_path, records, 1)
    assert [one["snapshot_id"] for one in found["waiting"]] == [f"wms|{NOON}"]


def test_corrections_in_the_file_are_facts() -> None:
    """A correction sets the state to the snapshot's word; a late original changes nothing."""
    records = [*FACTS, *snapshot("wms", [stock_row(12)]), correction(12)]
    late = adjusted("late", "11:00:00.000", -8)
    for lines in (records, [*records, late], [late, *records]):
        record = folded(lines)["S|uk"]
        assert (record["on_hand"]["sellable"], record["flags"]) == (12, [])


def test_only_the_latest_snapshot_of_a_place_counts() -> None:
    """What an older one said is past."""
    older = snapshot("wms", [stock_row(12)], "2026-01-05T11:00:00.000Z")
    assert folded([*snapshot("wms", [stock_row(20)]), *FACTS, *older])["S|uk"]["flags"] == []


def test_a_sku_that_only_a_snapshot_names_has_a_record() -> None:
    """Stock of which no fact ever told: the record is of zeros, and flagged."""
    records = folded([*FACTS, *snapshot("wms", [stock_row(20), stock_row(4, sku="T")])])
    assert (records["T|uk"]["on_hand"]["sellable"], records["T|uk"]["flags"]) == (0, ["DRIFT"])


def test_verify_says_how_every_snapshot_compares(tmp_path: Path) -> None:
    """Figures per region, source, kind and snapshot; the exceptions that would open; exit code 1."""
    records = [*FACTS, placed("order", "11:00:00.000", 5)]
    records += [*snapshot("wms", [stock_row(12)]), *snapshot("oms", [{"lines": [LINE]}])]
    found = verified(tmp_path, records, 1)
    assert [(one["kind"], one["outcome"]) for one in found["snapshots"]] == [
        ("reservations", "CLEAN"),
        ("stock", "DRIFT"),
    ]
    figures = found["snapshots"][1]
    assert (figures["drifting_keys"], figures["drifted_units"], figures["over_promised_units"]) == (1, 8, 8)
    [one] = found["exceptions"]
    assert (one["sku"], one["node"], one["state"], one["cause"]) == ("S", "n1", "PROPOSED", "LOST_UNITS")


def test_verify_is_silent_on_standard_error_when_all_agrees(tmp_path: Path) -> None:
    """Exit code 0; the text names the outcome."""
    path = write_lines(tmp_path / "f.jsonl", [*FACTS, *snapshot("wms", [stock_row(20)])])
    run = atp("reconcile", "verify", "--facts", str(path))
    assert (run.returncode, run.stderr) == (0, "")
    assert "CLEAN: 0 of 1 keys and 0 of 20 units drift" in run.stdout


def test_an_incomplete_snapshot_is_told_apart(tmp_path: Path) -> None:
    """A row is missing: what came agrees, what did not come is not taken for nothing."""
    records = [*FACTS, count("c2", "10:00:00.000", 5, "n2"), *snapshot("wms", [stock_row(20)], short=1)]
    found = verified(tmp_path, records, 1)
    [one] = found["snapshots"]
    assert (one["outcome"], one["rows"], one["expected_rows"], one["drifting_keys"]) == ("INCOMPLETE", 1, 2, 0)


def test_markers_of_partitions_are_summed_and_may_be_repeated(tmp_path: Path) -> None:
    """One marker per partition, some of them alike: their sums count; the whole file twice is the same file."""
    rows = [stock_row(20), stock_row(0, "n2"), stock_row(0, "n2", "T"), stock_row(0, "n1", "T")]
    records = [*FACTS, *snapshot("wms", rows, parts=4)]
    for lines in (records, records + records):
        [one] = verified(tmp_path, lines, 0)["snapshots"]
        assert (one["outcome"], one["rows"], one["expected_rows"]) == ("CLEAN", 4, 4)


def test_a_key_that_a_complete_snapshot_does_not_name_is_nothing(tmp_path: Path) -> None:
    """The node is spoken for, the SKU is not named: all of it is drift."""
    records = [*FACTS, *snapshot("wms", [stock_row(3, sku="T")])]
    found = verified(tmp_path, records, 1)
    assert {(one["sku"], one["units"]) for one in found["exceptions"]} == {("S", 20), ("T", 3)}


def test_the_law_of_order_holds_with_snapshots_among_the_facts() -> None:
    """Shuffled and partly repeated lines give the same records, drift included, and the same exceptions."""
    records = [
        *FACTS, count("c2", "11:00:00.000", 7, "n2"), placed("order", "11:00:00.000", 5),
        adjusted("a", "11:30:00.000", -2), adjusted("near", "12:00:00.400", -1),
        *snapshot("wms", [stock_row(17), stock_row(9, "n2")], parts=2),
        *snapshot("wms", [stock_row(16), stock_row(6, "n2"), stock_row(2, "n2", "T")], "2026-01-05T12:30:00.000Z"),
        *snapshot("oms", [{"lines": [{**LINE, "version": 2, "requested": 7, "open": 7}]}]), correction(17),
    ]  # fmt: skip
    expected = outcome(records)
    assert "DRIFT" in expected[0]["S|uk"]["flags"]
    for seed in range(60):
        chance = random.Random(seed)
        lines = [*records, *chance.sample(records, 3)]
        chance.shuffle(lines)
        assert outcome(lines) == expected


def outcome(records: list[Record]) -> tuple[dict[str, Any], list[Any]]:
    """Records and exceptions, without what tells when and in which line they came."""
    found = fold_file(content(records).encode(), World(), None)
    assert found.audit is not None
    assert not found.refusals
    rows = {key: json.loads(record) for key, record in found.records()}
    for row in rows.values():
        del row["inputs"]
    return rows, found.audit.exceptions()


@pytest.mark.parametrize(
    ("change", "reason", "says"),
    [
        ({"as_of": "noon"}, "SCHEMA_INVALID", "as_of"),
        ({"quantities": {"sellable": "many"}}, "SCHEMA_INVALID", "quantities"),
        ({"quantities": {"shiny": 3}}, "SCHEMA_INVALID", "shiny"),
        ({"node": ""}, "SCHEMA_INVALID", "node"),
        ({"schema_version": "2.0"}, "UNKNOWN_VERSION", "2.0"),
    ],
)
def test_a_wrong_snapshot_line_is_refused_like_a_fact(change: Record, reason: str, says: str) -> None:
    """Reason, message, topic and line; the rest of the file is folded."""
    row, marker = snapshot("wms", [stock_row(20)])
    wrong = {**row, "value": {**row["value"], **change}}
    found = fold_file(content([*FACTS, wrong, marker]).encode(), World(), None)
    [refusal] = found.refusals
    assert (refusal["reason"], refusal["topic"], refusal["line"]) == (reason, "wms.snapshots.v1", len(FACTS) + 1)
    assert says in str(refusal["message"])


def test_keys_and_decisions_are_judged_too() -> None:
    """A row under another SKU's key, and a decision without a reason, are refused."""
    row, _ = snapshot("wms", [stock_row(20)])
    decision = {"type": "exception.approved", "exception_id": "x-1", "sku": "S", "by": "ops", "decided_at": NOON}
    lines = [{**row, "key": "T"}, {"topic": "atp.reconciliation.decisions.v1", "value": decision}]
    found = fold_file(content(lines).encode(), World(), None)
    assert [refusal["reason"] for refusal in found.refusals] == ["KEY_MISMATCH", "SCHEMA_INVALID"]


def test_a_file_without_snapshots_is_not_called_verified(tmp_path: Path) -> None:
    """Nothing was compared: exit code 1, one clear line."""
    run = atp("reconcile", "verify", "--facts", str(write_lines(tmp_path / "f.jsonl", [*FACTS])))
    assert run.returncode == 1
    assert is_one_line(run)
    assert "no snapshot was compared" in run.stderr


def test_explain_shows_the_drift_and_the_corrections_behind_a_number(tmp_path: Path) -> None:
    """What the warehouse said beside what we had; a correction is a fact among the others."""
    records = [*FACTS, *snapshot("wms", [stock_row(12)])]
    path = write_lines(tmp_path / "f.jsonl", records)
    found = json.loads(atp("explain", "S", "uk", "--facts", str(path), "--json").stdout)
    assert (found["figures"]["drifted_units"], found["figures"]["over_units"]) == (8, 8)
    [truth] = found["truths"]
    assert (truth["place"], truth["keys"]) == (
        "n1",
        [{"line": None, "ours": {"sellable": 20}, "theirs": {"sellable": 12}}],
    )
    text = atp("explain", "S", "uk", "--facts", str(path)).stdout
    assert "stock n1 by wms, as of 2026-01-05T12:00:00.000Z: 8 units drift" in text
    path = write_lines(tmp_path / "g.jsonl", [*records, correction(12)])
    found = json.loads(atp("explain", "S", "uk", "--facts", str(path), "--json").stdout)
    assert found["figures"]["drifted_units"] == 0
    assert ("correction|x-1", "BASELINE") in [(fact["event_id"], fact["status"]) for fact in found["facts"]]


def decided(verb: str, exception_id: str, at: str = "2026-01-05T12:40:00.000Z") -> Record:
    """A person's word on the exception of S."""
    value = {"type": f"exception.{verb}", "exception_id": exception_id, "sku": "S", "by": "ops", "reason": "seen"}
    return {"topic": "atp.reconciliation.decisions.v1", "key": "S", "value": {**value, "decided_at": at}}


def test_decisions_in_the_file_are_followed(tmp_path: Path) -> None:
    """Approved: the correction that would follow is told; rejected: the drift counts no more; in vain: refused."""
    records = [*FACTS, *snapshot("wms", [stock_row(12)])]
    [proposed] = verified(tmp_path, records, 1)["exceptions"]
    assert proposed["state"] == "PROPOSED"
    found = verified(tmp_path, [*records, decided("approved", proposed["exception_id"])], 1)
    assert [(one["state"], one["history"][-1]["by"]) for one in found["exceptions"]] == [("APPROVED", "ops")]
    [fact] = found["corrections"]
    assert (fact["correlation_id"], fact["quantities"]) == (proposed["exception_id"], {"sellable": 12})
    found = verified(tmp_path, [*records, decided("rejected", proposed["exception_id"])], 0)
    assert (found["exceptions"][0]["state"], found["corrections"]) == ("REJECTED", [])
    file = write_lines(tmp_path / "f.jsonl", [*records, decided("rejected", "x-unknown")])
    run = atp("reconcile", "verify", "--facts", str(file))
    assert '"reason":"DECISION_TOO_LATE"' in run.stderr
    assert "PROPOSED is needed" in run.stderr


def test_a_decision_counts_from_its_instant(tmp_path: Path) -> None:
    """A rejection holds while the next snapshot says the same, and no longer when it says something else."""
    first = [*FACTS, alive("wms", "2026-01-05T14:00:00.000Z"), *snapshot("wms", [stock_row(12)])]
    [proposed] = verified(tmp_path, first, 1)["exceptions"]
    records = [*first, decided("rejected", proposed["exception_id"])]
    later = "2026-01-05T12:50:00.000Z"
    found = verified(tmp_path, [*records, *snapshot("wms", [stock_row(12)], later)], 0)
    assert [one["state"] for one in found["exceptions"]] == ["REJECTED"]
    found = verified(tmp_path, [*records, *snapshot("wms", [stock_row(9)], later)], 1)
    assert [(one["state"], one["units"]) for one in found["exceptions"]] == [("PROPOSED", 11)]


def test_a_decision_whose_correction_is_in_the_file_was_done(tmp_path: Path) -> None:
    """Decision and correction as the topics hold them: nothing is open, and nothing is refused."""
    records = [*FACTS, *snapshot("wms", [stock_row(12)]), correction(12), decided("approved", "x-1")]
    assert verified(tmp_path, records, 0)["exceptions"] == []

"""`atp explain` from a file: every component of the number, and what became of every fact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from atp.commands.explain import _merged
from tests.cli import adjusted, atp, count, fact, is_one_line, node, placed, policy, write_lines


def explain(path: Path, *arguments: str) -> dict[str, Any]:
    """The explanation as a program reads it."""
    run = atp("explain", "S", "uk", "--facts", str(path), "--json", *arguments)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def statuses(explained: dict[str, Any]) -> dict[str, str]:
    """event_id → what became of it."""
    return {fact["event_id"]: fact["status"] for fact in explained["facts"]}


def test_every_fact_is_told_what_became_of_it(tmp_path: Path) -> None:
    """Placed, superseded, stale, in doubt, replaced, duplicate and refused facts are told apart."""
    before, same = adjusted("before", "09:00:00.000", 7), adjusted("after", "11:00:00.000", 3)
    refused = {**adjusted("bad", "11:00:00.000", 1), "key": "S"}
    refused["value"] = {**refused["value"], "delta": 0}
    first = adjusted("early", "08:00:00.000", 1)
    records = [node(), first, count("late", "10:00:00.000", 40), before, count("old", "08:30:00.000", 9)]
    records += [adjusted("near", "10:00:00.500", -2), same, same, refused, placed("order", "11:30:00.000", 5)]
    found = explain(write_lines(tmp_path / "f.jsonl", records))
    assert found["figures"]["atp"] == 36
    listed = [(fact["event_id"], fact["status"]) for fact in found["facts"]]
    assert listed == [
        ("early", "SUPERSEDED"),
        ("late", "BASELINE"),
        ("before", "SUPERSEDED"),
        ("old", "STALE_SYNC"),
        ("near", "IN_DOUBT"),
        ("after", "PLACED"),
        ("after", "DUPLICATE"),
        ("bad", "REFUSED"),
        ("order", "OPEN"),
    ]
    assert found["figures"]["flags"] == {"AMBIGUOUS": "units too close to a count to be placed: n1 2"}


def test_the_components_add_up(tmp_path: Path) -> None:
    """Sellable, weighted receiving, supply and demand by day, and what channels keep for each other."""
    receipt = {"receipt_id": "po", "line": 1, "version": 1, "node": "n1", "stage": "IN_TRANSIT", "eta": "2026-01-07"}
    receipt |= {"expected": 10, "received": 0, "put_away": 0, "held": 0}
    records = [
        node(),
        policy(safety_stock=2, protections={"store": 3}, priorities={"store": 1}, buffer_percent=10),
        count("c", "10:00:00.000", 40),
        fact("receipt.shipped", "asn", "10:10:00.000", **receipt),
        placed("today", "10:20:00.000", 5),
        placed("later", "10:30:00.000", 12, due_date="2026-01-08"),
    ]
    figures = explain(write_lines(tmp_path / "f.jsonl", records))["figures"]
    assert (figures["sellable"], figures["holds"], figures["atp"]) == (40, 0, 32)
    assert figures["supply"] == [
        {"node": "n1", "stage": "IN_TRANSIT", "eta": "2026-01-07", "open": 10, "weight": "0.9", "days_overdue": 0}
    ]
    assert [bucket["projected"] for bucket in figures["buckets"][:5]] == [35, 35, 44, 32, 32]
    web = figures["channels"]["web"]
    assert (web["withheld"], web["protected_for_others"], web["confident"]) == (2, {"store": 3}, 27)
    assert (web["conservative_base"], web["buffer"], web["conservative"]) == (23, 3, 15)


def test_a_late_lower_version_re_dates_a_share(tmp_path: Path) -> None:
    """The effects shown are those that stand at the end, version by version."""
    line = {"receipt_id": "po", "line": 1, "node": "n1", "expected": 10, "held": 0, "eta": "2026-01-05"}
    second = fact(
        "receipt.put_away", "v2", "12:00:00.000", version=2, stage="PUT_AWAY", received=10, put_away=10, **line
    )
    first = fact(
        "receipt.put_away", "v1", "11:00:00.000", version=1, stage="PUT_AWAY", received=4, put_away=4, **line
    )
    records = [node(), second, first, count("c", "11:30:00.000", 4)]
    found = explain(write_lines(tmp_path / "f.jsonl", records))
    effects = {fact["event_id"]: (fact["status"], fact.get("effects")) for fact in found["facts"]}
    assert effects["v1"] == ("SUPERSEDED", {"sellable": 4})
    assert effects["v2"] == ("PLACED", {"sellable": 6})
    assert found["figures"]["sellable"] == 10


def test_the_text_names_the_number_and_its_parts(tmp_path: Path) -> None:
    """Without --json a person reads an indented waterfall."""
    path = write_lines(tmp_path / "f.jsonl", [node(), count("c", "10:00:00.000", 40), placed("o", "11:00:00.000", 5)])
    run = atp("explain", "S", "uk", "--facts", str(path))
    assert run.returncode == 0, run.stderr
    assert "ATP 35, shortage 0" in run.stdout
    assert "40  sellable" in run.stdout
    assert "[o, line 3]" in run.stdout
    assert "\x1b" not in run.stdout


def test_it_agrees_with_the_fold(tmp_path: Path) -> None:
    """The same file, the same now: the same ATP and channel quantities as `atp fold` prints."""
    records = [node(), count("c", "10:00:00.000", 40), placed("o", "11:00:00.000", 5)]
    path = write_lines(tmp_path / "f.jsonl", records)
    now = "2026-01-06T00:00:00Z"
    folded = json.loads(atp("fold", str(path), "--now", now).stdout)
    figures = explain(path, "--now", now)["figures"]
    assert figures["atp"] == folded["atp"]
    for name, channel in folded["channels"].items():
        assert figures["channels"][name]["sellable"] == channel["sellable"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """An unknown SKU, region or node is one line that names it, exit code 1."""
    path = write_lines(
        tmp_path / "f.jsonl", [node(), count("c", "10:00:00.000", 4), count("d", "10:00:00.000", 4, "n2")]
    )
    other = atp("explain", "T", "uk", "--facts", str(path))
    assert other.returncode == 1
    assert is_one_line(other)
    assert "'T'" in other.stderr
    elsewhere = atp("explain", "S", "mars", "--facts", str(path))
    assert elsewhere.returncode == 1
    assert "it has in uk" in elsewhere.stderr
    assert "n2" in elsewhere.stderr


class Message(NamedTuple):
    """As much of a Kafka message as the order needs."""

    of: str
    at_ms: int

    def topic(self) -> str:
        """Its topic."""
        return self.of

    def timestamp(self) -> tuple[int, int]:
        """Kind and time."""
        return (1, self.at_ms)


def test_topics_are_merged_as_the_worker_merges_them() -> None:
    """By time, but each topic in its own order: one topic read first must not make the others too old."""
    read = [Message("a", 10), Message("a", 30), Message("a", 20), Message("b", 5), Message("b", 25)]
    assert [(m.of, m.at_ms) for m in _merged(read)] == [("b", 5), ("a", 10), ("b", 25), ("a", 30), ("a", 20)]

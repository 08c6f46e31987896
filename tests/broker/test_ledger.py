"""The ledger from the topics themselves: closed, proven against them, and kept when their retention has passed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from atp import admin
from atp.lane.keys import partition_of
from atp.topics import STOCK
from tests.broker.test_cli_on_brokers import PARTITIONS, create_topics, fresh
from tests.cli import adjusted, atp, count, is_one_line, node, placed, policy, write_lines
from tests.unit.ledgers import dated

__all__ = ["fresh"]
MORNING, EVENING = "2026-01-06T07:00:00Z", "2026-01-06T20:00:00Z"


def alive(watermark: str) -> dict[str, Any]:
    """A heartbeat of the one source."""
    value = {"type": "source.alive", "source": "test", "region": "uk", "watermark": watermark, "totals": {}}
    return {"topic": "sources.heartbeats.v1", "key": "test|uk", "value": value}


def publish(bootstrap: str, folder: Path, *lines: dict[str, Any]) -> None:
    """Records to their topics."""
    run = atp("publish", str(write_lines(folder / "facts.jsonl", list(lines))), "--bootstrap", bootstrap)
    assert run.returncode == 0, run.stderr


def ledger(command: str, bootstrap: str, folder: Path, *options: str) -> list[dict[str, Any]]:
    """`atp ledger …` from the broker; what it said."""
    run = atp("ledger", command, "--out", str(folder / "ledger"), "--bootstrap", bootstrap, "--json", *options)
    assert run.returncode == 0, run.stderr + run.stdout
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_days_are_closed_from_the_topics_and_proven_against_them(fresh: str, tmp_path: Path) -> None:
    """Nothing is done twice; a late fact restates; every revision verifies."""
    create_topics(fresh)
    first = [count("c1", "10:00:00", 10), adjusted("a1", "10:30:00", 5), placed("r1", "11:00:00", 3)]
    publish(fresh, tmp_path, node(), policy(required_sources=["test"]), *first, alive("2026-01-06T00:00:00Z"))
    assert [(m["revision"], m["status"]) for m in ledger("close", fresh, tmp_path, "--now", MORNING)] == [
        (1, "FINAL")
    ]
    assert ledger("close", fresh, tmp_path, "--now", MORNING) == []
    publish(fresh, tmp_path, dated(adjusted("late", "10:00:00", -4), "2026-01-05T18:00", "2026-01-06T08:00"))
    (restated,) = ledger("close", fresh, tmp_path, "--now", EVENING)
    assert (restated["revision"], restated["status"]) == (2, "RESTATED")
    assert restated["control_totals"]["closing_sellable"] == 11
    for revision in ("1", "2"):
        assert ledger("verify", fresh, tmp_path, "--revision", revision)[0]["wrong"] == []


@pytest.mark.kafka
@pytest.mark.parametrize("fresh", ["kafka"], indirect=True)
def test_what_retention_has_taken_is_still_proven(fresh: str, tmp_path: Path) -> None:
    """Facts that the topic no longer holds are in the archive; without it the close stops and says what is gone."""
    config = create_topics(fresh)
    publish(fresh, tmp_path, node(), count("c1", "10:00:00", 10), adjusted("a1", "10:30:00", 5))
    assert len(ledger("close", fresh, tmp_path, "--now", MORNING)) == 1
    retention_passes(config, before=1)
    assert ledger("verify", fresh, tmp_path)[0]["wrong"] == []
    publish(fresh, tmp_path, dated(adjusted("a2", "10:00:00", 1), "2026-01-06T10:00"))
    assert len(ledger("close", fresh, tmp_path, "--now", "2026-01-07T07:00:00Z")) == 1
    run = atp("ledger", "close", "--out", str(tmp_path / "other"), "--bootstrap", fresh, "--now", MORNING)
    assert run.returncode == 1
    assert is_one_line(run)
    assert "begins at offset 1, but was archived up to 0" in run.stderr


def retention_passes(config: dict[str, Any], before: int) -> None:
    """Delete the first records of SKU S."""
    place = TopicPartition(STOCK.name, partition_of("S", PARTITIONS), before)
    client = AdminClient({**config, "log_level": 0}, logger=admin.silent_logger())  # it answers while it lives
    for deleted in client.delete_records([place]).values():
        assert deleted.result(20).low_watermark == before


def test_a_broker_without_topics_is_told_in_one_line(fresh: str, tmp_path: Path) -> None:
    """Nothing is closed of nothing."""
    run = atp("ledger", "close", "--out", str(tmp_path / "ledger"), "--bootstrap", fresh)
    assert run.returncode == 1
    assert is_one_line(run)
    assert "does not exist" in run.stderr

"""`atp dead-letters`: what a worker refused is listed by cause, and replayed once it is good."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from atp import admin
from atp.brokers.embedded import EmbeddedBroker
from atp.commands.processes import temporary_folder, workers
from atp.lane.keys import partition_of
from atp.topics import STOCK
from tests.broker.test_cli_on_brokers import PARTITIONS, create_topics
from tests.cli import adjusted, atp, count, is_one_line, node, write_lines


@pytest.fixture
def bootstrap(tmp_path: Path) -> Iterator[str]:
    """A broker with a worker that has seen a node and a count."""
    with EmbeddedBroker() as broker, temporary_folder() as folder:
        create_topics(broker.bootstrap)
        with workers(1, folder, {"ATP_BOOTSTRAP": broker.bootstrap, "ATP_SESSION_TIMEOUT_MS": "3000"}):
            first = write_lines(tmp_path / "f.jsonl", [node(), count("c1", "10:00:00.000", 5)])
            assert atp("publish", str(first), "--bootstrap", broker.bootstrap).returncode == 0
            yield broker.bootstrap


def send(bootstrap: str, value: bytes, partition: int) -> None:
    """One raw record of the stock topic."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0}, logger=admin.silent_logger())
    producer.produce(STOCK.name, value, b"S", partition=partition)
    assert producer.flush(20) == 0


def letters(bootstrap: str, *options: str) -> dict[str, Any]:
    """What the list says."""
    run = atp("dead-letters", "list", "--bootstrap", bootstrap, "--json", *options)
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout))


def await_letters(bootstrap: str, number: int) -> dict[str, Any]:
    """The list, once it has so many letters."""
    deadline = time.monotonic() + 120
    while (found := letters(bootstrap))["letters"] < number:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


def test_letters_are_grouped_and_the_good_ones_replayed(bootstrap: str) -> None:
    """A record in a wrong partition is good in the right one; nonsense stays what it is and is named."""
    home = partition_of("S", PARTITIONS)
    found = adjusted("a1", "10:05:00.000", 3)["value"]
    send(bootstrap, json.dumps(found).encode(), (home + 1) % PARTITIONS)
    send(bootstrap, b"nonsense", home)
    groups = {group["reason"]: group for group in await_letters(bootstrap, 2)["groups"]}
    assert {reason: group["letters"] for reason, group in groups.items()} == {"WRONG_PARTITION": 1, "UNDECODABLE": 1}

    tried = atp("dead-letters", "replay", "--bootstrap", bootstrap, "--json", "--dry-run")
    assert tried.returncode == 1
    report = json.loads(tried.stdout)
    assert (report["replayed"], report["good"]) == (0, [groups["WRONG_PARTITION"]["id"]])
    assert [left["id"] for left in report["refused"]] == [groups["UNDECODABLE"]["id"]]

    for _ in range(2):  # a second replay changes nothing: the event id is known
        done = atp("dead-letters", "replay", "--reason", "WRONG_PARTITION", "--bootstrap", bootstrap, "--json")
        assert (done.returncode, json.loads(done.stdout)["replayed"]) == (0, 1), done.stderr
    deadline = time.monotonic() + 120
    while '"sellable":8' not in (run := atp("explain", "S", "uk", "--bootstrap", bootstrap, "--json")).stdout:
        assert time.monotonic() < deadline, run.stdout + run.stderr
        time.sleep(0.3)
    assert letters(bootstrap, "--each", "--id", groups["UNDECODABLE"]["id"])["each"][0]["value"] == "nonsense"
    assert letters(bootstrap, "--since", "2099-01-01T00:00:00Z")["letters"] == 0


def test_the_check_and_wrong_words_end_in_one_line(bootstrap: str) -> None:
    """--check is 1 when there is a letter; unknown reasons and topics name what is allowed, exit 2."""
    send(bootstrap, b"nonsense", 0)
    await_letters(bootstrap, 1)
    checked = atp("dead-letters", "list", "--check", "--bootstrap", bootstrap)
    assert (checked.returncode, is_one_line(checked)) == (1, True)
    for wrong in (["--reason", "BAD"], ["--topic", "nowhere"], ["--since", "yesterday"]):
        run = atp("dead-letters", "list", *wrong, "--bootstrap", bootstrap)
        assert (run.returncode, is_one_line(run)) == (2, True), run.stderr

"""The commands on running brokers: publish, doctor, explain, dev and a short demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from atp import admin
from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.kafka import KafkaCluster
from atp.commands import clients
from atp.commands.processes import temporary_folder, workers
from atp.lane.keys import partition_of
from tests.cli import atp, count, is_one_line, node, placed, policy, write_lines
from tests.conftest import require_kafka_tools

PARTITIONS = 8


@pytest.fixture
def embedded() -> Iterator[str]:
    """The bootstrap address of a fresh embedded broker."""
    with EmbeddedBroker() as broker:
        yield broker.bootstrap


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.broker("embedded")),
        pytest.param("kafka", marks=[pytest.mark.broker("kafka"), pytest.mark.kafka]),
    ]
)
def fresh(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh broker of each kind: the product's topics have fixed names."""
    if request.param == "kafka":
        require_kafka_tools()
    with KafkaCluster() if request.param == "kafka" else EmbeddedBroker() as broker:
        yield broker.bootstrap


def create_topics(bootstrap: str) -> dict[str, Any]:
    """All topics of the catalogue; answers the connection settings."""
    config = {"bootstrap.servers": bootstrap}
    admin.ensure(config, PARTITIONS, keep_forever=True)
    return config


def many_records(path: Path, counts: int = 300) -> Path:
    """A valid file: a node, a policy, many facts of SKU S."""
    facts = [count(f"c{n}", f"10:{n // 60:02}:{n % 60:02}.000", n) for n in range(counts)]
    return write_lines(path, [node(), policy(), *facts, placed("order", "11:00:00.000", 5)])


def checks(run: subprocess.CompletedProcess[str]) -> dict[str, tuple[bool, str]]:
    """check → (ok, message) of a doctor's JSON."""
    return {check["check"]: (check["ok"], check["message"]) for check in json.loads(run.stdout)["checks"]}


def test_published_facts_reach_the_canonical_record_and_are_explained(fresh: str, tmp_path: Path) -> None:
    """publish → worker → doctor → explain: the explained number is the published one, on both brokers."""
    config = create_topics(fresh)
    path = many_records(tmp_path / "f.jsonl")
    run = atp("publish", str(path), "--bootstrap", fresh, "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["published"] == 303
    with temporary_folder() as folder, workers(1, folder, {"ATP_BOOTSTRAP": fresh, "ATP_SESSION_TIMEOUT_MS": "3000"}):
        await_record(config, "S|uk")
        doctor = atp("doctor", "--bootstrap", fresh, "--json")
        explained = atp("explain", "S", "uk", "--bootstrap", fresh, "--json")
    assert doctor.returncode == 0, doctor.stdout
    assert "0 facts wait" in checks(doctor)["lag"][1]
    found = json.loads(explained.stdout)
    assert found["figures"]["atp"] == 299 - 5
    assert found["differs"] == {}
    assert found["waiting"] == 0
    assert len(found["facts"]) == 301


def await_record(config: dict[str, Any], key: str) -> None:
    """Return once the worker has published the record of the last fact."""
    place = ("atp.availability.v1", partition_of(key.partition("|")[0], PARTITIONS))
    deadline = time.monotonic() + 120
    with clients.consumer(config) as reader:
        while time.monotonic() < deadline:
            values = [json.loads(m.value()) for m in clients.read_whole(reader, [place]) if m.key() == key.encode()]
            if values and values[-1]["reserved"]["firm"] == 5:
                return
            time.sleep(0.2)
    pytest.fail(f"no record of {key}")


def test_records_lie_where_the_worker_looks(embedded: str, tmp_path: Path) -> None:
    """Key, partition and timestamp of a published fact; a deletion is a record without value."""
    config = create_topics(embedded)
    gone = {"topic": "reference.nodes.v1", "key": "n1", "value": None}
    run = atp("publish", str(write_lines(tmp_path / "f.jsonl", [node(), count("c", "10:00:00.000", 5), gone])),
              "--bootstrap", embedded)  # fmt: skip
    assert run.returncode == 0, run.stderr
    with clients.consumer(config) as reader:
        (fact,) = clients.read_whole(reader, [("inventory.stock.v1", p) for p in range(PARTITIONS)])
        first, last = clients.read_whole(reader, [("reference.nodes.v1", 0)])
    assert (fact.key(), fact.partition()) == (b"S", partition_of("S", PARTITIONS))
    assert fact.timestamp()[1] == 1767607200000
    assert (first.key(), first.value() is None, last.key(), last.value()) == (b"n1", False, b"n1", None)


def test_skip_invalid_publishes_the_rest(embedded: str, tmp_path: Path) -> None:
    """With --skip-invalid the good lines are published, the bad ones reported, exit code 0."""
    create_topics(embedded)
    path = write_lines(tmp_path / "f.jsonl", [node(), "nonsense", count("c", "10:00:00.000", 5)])
    run = atp("publish", str(path), "--bootstrap", embedded, "--skip-invalid", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["published"] == 2
    assert json.loads(run.stderr)["line"] == 2


def test_publish_needs_the_topics(embedded: str, tmp_path: Path) -> None:
    """A missing topic is one line that names it: nothing is created by the way."""
    run = atp("publish", str(write_lines(tmp_path / "f.jsonl", [node()])), "--bootstrap", embedded)
    assert run.returncode == 1
    assert is_one_line(run)
    assert "topic reference.nodes.v1 is missing" in run.stderr


def test_doctor_names_what_is_missing(embedded: str) -> None:
    """On an empty broker every missing topic is a problem with what would mend it."""
    run = atp("doctor", "--bootstrap", embedded)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "PROBLEM  topics            topic inventory.stock.v1 is missing: create it with 8 partitions" in run.stdout


def test_doctor_sees_wrong_partitions(embedded: str) -> None:
    """A fact topic with another partition count is a problem: keys would lie with other tasks."""
    client = admin.client({"bootstrap.servers": embedded})
    client.create_topics([NewTopic("oms.reservations.v1", 3)])["oms.reservations.v1"].result(10)
    run = atp("doctor", "--bootstrap", embedded, "--json")
    assert run.returncode == 1
    assert "oms.reservations.v1 has 3 partitions: 8 are needed" in run.stdout


def test_doctor_reads_the_control_documents(embedded: str) -> None:
    """A policy or mode that no worker takes, and a node reference without nodes, are problems by name."""
    config = create_topics(embedded)
    empty = checks(atp("doctor", "--bootstrap", embedded, "--json"))
    assert empty["control documents"] == (
        False,
        "reference.nodes.v1 holds no node: no stock can be given to a region",
    )
    producer = Producer(config)
    producer.produce("atp.policies.v1", b'{"scope": "default", "horizon_days": 0}', b"default")
    producer.produce("atp.modes.v1", b'{"region": "uk", "channel": "web", "mode": "SUSPENDED"}', b"uk|web")
    producer.produce("atp.modes.v1", b'{"region": "uk", "channel": "app", "mode": "CAREFUL"}', b"uk|app")
    producer.flush(10)
    wrong = checks(atp("doctor", "--bootstrap", embedded, "--json"))
    assert not wrong["control documents"][0]
    assert "uk|web" not in wrong["control documents"][1]
    assert "atp.modes.v1 key 'uk|app': mode = 'CAREFUL'" in wrong["control documents"][1]
    assert "atp.policies.v1 key 'default': horizon_days = 0" in wrong["control documents"][1]
    assert wrong["transactions"] == (True, "the broker has no transactions: a worker runs at least once")


def test_doctor_sees_facts_that_nobody_works_off(embedded: str, tmp_path: Path) -> None:
    """Facts without a worker are a problem."""
    create_topics(embedded)
    atp("publish", str(many_records(tmp_path / "f.jsonl")), "--bootstrap", embedded)
    ok, message = checks(atp("doctor", "--bootstrap", embedded, "--json"))["lag"]
    assert not ok
    assert "no worker has run" in message


def test_doctor_without_a_broker(tmp_path: Path) -> None:
    """No broker, and a store folder that cannot be made: both are named, exit code 1."""
    (tmp_path / "file").touch()
    run = atp("doctor", "--bootstrap", "127.0.0.1:1", "--json", ATP_DATA_DIR=str(tmp_path / "file" / "data"))
    assert run.returncode == 1
    found = checks(run)
    assert set(found) == {"store folder", "broker"}
    assert not any(ok for ok, _ in found.values())
    assert "is no folder" in found["store folder"][1]


def test_explain_without_topics_is_one_line(embedded: str) -> None:
    """An empty broker explains nothing, and says what is missing."""
    run = atp("explain", "S", "uk", "--bootstrap", embedded)
    assert run.returncode == 1
    assert is_one_line(run)
    assert "topic inventory.stock.v1 is missing" in run.stderr


def test_a_short_demo_equals_the_fold() -> None:
    """Two days through broker and worker: every record equals the fold, and nothing is left behind."""
    run = atp("demo", "--limit", "2", "--json")
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    assert summary["equal"]
    assert summary["differing"] == []
    assert summary["refused_by_fold"] == 0
    assert summary["keys"] > 500
    assert "every canonical record equals the fold" in run.stderr


def test_the_demo_refuses_topics_that_hold_records(embedded: str, tmp_path: Path) -> None:
    """On a broker of one's own the demo needs fresh topics, and says so before it starts anything."""
    create_topics(embedded)
    atp("publish", str(many_records(tmp_path / "f.jsonl", 3)), "--bootstrap", embedded)
    run = atp("demo", "--limit", "1", "--broker", embedded)
    assert run.returncode == 1
    assert is_one_line(run)
    assert "already holds records" in run.stderr


PROGRAMS = [
    pytest.param(("atp.cli", "dev"), id="dev"),
    pytest.param(("atp.cli", "demo", "--limit", "3"), id="demo"),
    pytest.param(("atp.brokers.kafka",), id="kafka", marks=[pytest.mark.broker("kafka"), pytest.mark.kafka]),
]


@pytest.fixture
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that starts others; its temporary folder is its own: others make theirs meanwhile."""
    if "atp.brokers.kafka" in request.param:
        require_kafka_tools()
    with subprocess.Popen(
        [sys.executable, "-m", *request.param], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        yield process
        process.kill()


def ends_with_all(process: subprocess.Popen[str], by: signal.Signals, folder: Path) -> None:
    """The signal ends the program in good order, with every child and every file."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, by)
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, 130), errors
    assert "Traceback" not in errors
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_that_was_started(
    program: subprocess.Popen[str], by: signal.Signals, tmp_path: Path
) -> None:
    """Ctrl-C or SIGTERM: broker, workers and folders are gone."""
    assert program.stdout is not None
    assert program.stdout.readline().strip()  # said once everything was started
    assert psutil.Process(program.pid).children()
    ends_with_all(program, by, tmp_path)


@pytest.mark.parametrize("program", PROGRAMS, indirect=True)
def test_a_signal_ends_what_was_begun(program: subprocess.Popen[str], tmp_path: Path) -> None:
    """SIGTERM before anything is ready: what is there already goes as well."""
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("atp-*/*")):
        assert program.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ends_with_all(program, signal.SIGTERM, tmp_path)

"""`atp replay`: facts are sent again, nothing changes; and if something does, it is told."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.kafka import KafkaCluster
from atp.commands import fact_replay
from atp.commands.errors import CommandError
from atp.commands.lines import Outgoing
from atp.commands.processes import temporary_folder, workers
from atp.topics import STOCK
from tests.broker.test_cli_on_brokers import create_topics
from tests.cli import adjusted, atp, count, is_one_line, node, write_lines
from tests.conftest import require_kafka_tools

pytestmark = pytest.mark.timeout(600)  # a Kafka node starts within it, on whatever machine
DAY = ("--since", "2026-01-05T00:00:00Z", "--until", "2026-01-06T00:00:00Z")


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with a worker that has seen a count, a fact that contradicts it, and one of another day."""
    if request.param == "kafka":
        require_kafka_tools()
    kind = KafkaCluster if request.param == "kafka" else EmbeddedBroker
    with kind() as broker, temporary_folder() as folder:
        create_topics(broker.bootstrap)
        with workers(1, folder, {"ATP_BOOTSTRAP": broker.bootstrap, "ATP_SESSION_TIMEOUT_MS": "3000"}):
            later = adjusted("a1", "11:00:00.000", 3)
            later["value"] |= {"occurred_at": "2026-01-06T11:00:00Z", "recorded_at": "2026-01-06T11:00:00Z"}
            lines = [node(), count("c1", "10:00:00.000", 5), count("c1", "10:00:00.000", 6), later]
            path = write_lines(tmp_path_factory.mktemp("facts") / "f.jsonl", list(lines))
            assert atp("publish", str(path), "--bootstrap", broker.bootstrap).returncode == 0
            await_sellable(broker.bootstrap, 8)
            yield broker.bootstrap


def await_sellable(bootstrap: str, units: int) -> None:
    """Return once everything is worked off, and the record of S says so."""
    deadline = time.monotonic() + 120
    while True:
        run = atp("explain", "S", "uk", "--bootstrap", bootstrap, "--json")
        found = json.loads(run.stdout) if run.returncode == 0 else {"waiting": -1}
        if found["waiting"] == 0 and found["differs"] == {} and f'"sellable":{units},' in run.stdout:
            return
        assert time.monotonic() < deadline, run.stdout + run.stderr
        time.sleep(0.3)


def replayed(bootstrap: str, *options: str) -> dict[str, Any]:
    """What a replay without effect says."""
    run = atp("replay", *DAY, *options, "--bootstrap", bootstrap, "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    return dict(json.loads(run.stdout))


def test_a_replay_changes_nothing(bootstrap: str) -> None:
    """The facts of the span that were taken are sent again, and no record, mode, letter or exception follows."""
    planned = replayed(bootstrap, "--dry-run")
    assert (planned["facts"], planned["refused_before"], planned["sent"]) == (1, 1, False)
    assert replayed(bootstrap, "--source", "nobody", "--dry-run")["facts"] == 0
    found = replayed(bootstrap)
    assert (found["facts"], found["skus"], found["live_skus"]) == (1, 1, 0)
    assert set(found["effects"].values()) == {0}
    await_sellable(bootstrap, 8)
    assert replayed(bootstrap, "--dry-run")["facts"] == 2  # that one, and the one that was sent again


def test_an_effect_is_told(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact that did count after all: its record is published anew, and the command says which, and fails."""
    fact = adjusted("unheard of", "12:00:00.000", 2)["value"]
    plan = fact_replay.Plan([Outgoing(STOCK.name, "S", msgspec.json.encode(fact), None, 1)])
    monkeypatch.setattr(fact_replay, "planned", lambda *_: plan)
    monkeypatch.setenv("ATP_BOOTSTRAP", bootstrap)
    with pytest.raises(CommandError, match=r"not without effect: 1 republished; atp\.availability\.v1 S\|uk"):
        fact_replay.run(fact_replay.Span.of(DAY[1], DAY[3]), False, False, io.StringIO())


def test_a_span_has_a_beginning_and_an_end(tmp_path: Path) -> None:
    """A span that ends before it begins is refused in one line, without a broker."""
    run = atp("replay", "--since", DAY[3], "--until", DAY[1], ATP_BOOTSTRAP="127.0.0.1:1", ATP_DATA_DIR=str(tmp_path))
    assert (run.returncode, is_one_line(run)) == (2, True)
    assert "an instant after --since" in run.stderr

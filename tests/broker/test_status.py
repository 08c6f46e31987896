"""`atp status` and `atp tasks resume` against workers that run, restore and fail."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from confluent_kafka import Producer

from atp import admin
from atp.brokers.embedded import EmbeddedBroker
from atp.commands.processes import temporary_folder, workers
from atp.topics import STOCK
from tests.broker.test_cli_on_brokers import create_topics
from tests.broker.test_dead_letters import await_letters
from tests.cli import atp, is_one_line

PARTITIONS = 8


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_status_tells_a_failed_task_and_resume_brings_it_back(tmp_path: Path) -> None:
    """All partitions run; a flood of nonsense fails its task alone, by name; resumed, it goes on."""
    port = str(free_port())
    asked = {"ATP_WORKERS": f"http://127.0.0.1:{port}"}
    with EmbeddedBroker() as broker, temporary_folder() as folder:
        create_topics(broker.bootstrap)
        given = {"ATP_BOOTSTRAP": broker.bootstrap, "ATP_SESSION_TIMEOUT_MS": "3000", "ATP_WEB_PORT": port}
        with workers(1, folder, {**given, "ATP_DEAD_LETTERS_PER_MINUTE": "50"}):
            await_code(0, asked)
            flood(broker.bootstrap, 3, 30)
            await_letters(broker.bootstrap, 30)
            # a turn of its own: what one turn holds beyond the limit would fail it for ever
            flood(broker.bootstrap, 3, 30)
            failed = await_code(1, asked)
            assert [p for p in failed["problems"] if p.startswith("sku/3 is FAILED: ")] == failed["problems"]
            assert atp("tasks", "resume", "sku", "3", **asked).returncode == 0
            await_code(0, asked)
            again = atp("tasks", "resume", "sku", "99", **asked)
            assert (again.returncode, is_one_line(again)) == (1, True)
            wrong = atp("tasks", "resume", "nonsense", "3", **asked)
            assert (wrong.returncode, is_one_line(wrong)) == (2, True)
    silent = atp("status", **asked)
    assert (silent.returncode, is_one_line(silent)) == (1, True)
    assert "does not answer" in silent.stderr


def await_code(code: int, asked: dict[str, str], timeout_s: float = 180) -> dict[str, list[str]]:
    """Ask until the status ends with a code; what it said."""
    deadline = time.monotonic() + timeout_s
    while True:
        run = atp("status", "--json", **asked)
        if run.returncode == code:
            return dict(json.loads(run.stdout))
        assert time.monotonic() < deadline, run.stdout + run.stderr
        time.sleep(0.3)


def flood(bootstrap: str, partition: int, letters: int) -> None:
    """Records that nobody can read."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0}, logger=admin.silent_logger())
    for number in range(letters):
        producer.produce(STOCK.name, b"nonsense", f"k{number}".encode(), partition=partition)
    assert producer.flush(20) == 0

"""The game day on a product that runs: harm, the operator's action from the runbook, the score."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atp.brokers.embedded import EmbeddedBroker
from atp.commands import game_day
from atp.commands.processes import temporary_folder, workers
from tests.broker.test_cli_on_brokers import create_topics
from tests.broker.test_status import free_port
from tests.cli import atp, is_one_line, node, policy, write_lines

LIMIT_S = 300


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A worker on an embedded broker with a node and a policy; what the program needs to find it."""
    port = str(free_port())
    with EmbeddedBroker() as broker, temporary_folder() as folder:
        create_topics(broker.bootstrap)
        given = {"ATP_BOOTSTRAP": broker.bootstrap, "ATP_DEAD_LETTERS_PER_MINUTE": "50"}
        path = write_lines(tmp_path_factory.mktemp("drill") / "reference.jsonl", [node(), policy()])
        assert atp("publish", str(path), **given).returncode == 0
        with workers(1, folder, {**given, "ATP_SESSION_TIMEOUT_MS": "3000", "ATP_WEB_PORT": port}):
            asked = {**given, "ATP_WORKERS": f"http://127.0.0.1:{port}"}
            deadline = time.monotonic() + 120
            while (run := atp("status", **asked)).returncode:
                assert time.monotonic() < deadline, run.stdout + run.stderr
            yield asked


def seed_of(degradation: str) -> int:
    """The first seed that does this harm."""
    return next(seed for seed in range(100) if game_day.drawn(seed)[0] == degradation)


def mend_policy(given: dict[str, str], tmp_path: Path) -> None:
    """A newer version without the harm, as the runbook has it."""
    version = int(time.time())  # above every one before
    mended = [policy(version=version), policy(scope="region:uk", version=version)]
    path = write_lines(tmp_path / "mended.jsonl", list(mended))
    atp("publish", str(path), **given)


def mend_channel(given: dict[str, str], _tmp_path: Path) -> None:
    """Whatever is suspended is let go."""
    for row in json.loads(atp("modes", "list", "--json", **given).stdout)["modes"]:
        atp("modes", "set", row["region"], row["channel"], "CONFIDENT", **given)


def mend_task(given: dict[str, str], _tmp_path: Path) -> None:
    """Every failed task is resumed, by the name that the status gives it."""
    for problem in json.loads(atp("status", "--json", **given).stdout)["problems"]:
        if " is FAILED" in problem:
            atp("tasks", "resume", *problem.partition(" ")[0].split("/"), **given)


def mend_drift(given: dict[str, str], _tmp_path: Path) -> None:
    """Every exception that waits is approved."""
    for found in atp("exceptions", "list", "--state", "PROPOSED", "--ids", **given).stdout.split():
        atp("exceptions", "approve", found, "--reason", "counted", **given)


MENDS: dict[str, Callable[[dict[str, str], Path], None]] = {
    "wrong-policy": mend_policy,
    "channel-suspended": mend_channel,
    "task-failed": mend_task,
    "control-document-refused": mend_policy,
    "drift": mend_drift,
    "exception-backlog": mend_drift,
}


def test_every_harm_is_tried() -> None:
    """No degradation that a drill may make is left out here; each has its page."""
    assert set(MENDS) == set(game_day.HARMS)


@pytest.mark.parametrize("degradation", MENDS)
def test_the_right_action_ends_the_drill(product: dict[str, str], tmp_path: Path, degradation: str) -> None:
    """The harm shows, nothing is named before the end, the right action mends it and is scored."""
    seed = str(seed_of(degradation))
    command = [
        sys.executable,
        "-m",
        "atp.cli",
        "drill",
        "game-day",
        "--seed",
        seed,
        "--limit",
        str(LIMIT_S),
        "--json",
    ]
    environment = {"PATH": "", **product}
    drill = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        while drill.poll() is None:
            time.sleep(1.0)
            MENDS[degradation](product, tmp_path)
        said, wrong = drill.communicate()
    finally:
        drill.kill()
    assert drill.returncode == 0, wrong
    found = json.loads(said)
    assert (found["degradation"], found["seed"]) == (degradation, int(seed))
    assert 0 <= found["seconds"] <= LIMIT_S
    assert Path(found["runbook"]).exists()


def test_what_is_not_mended_has_no_score(product: dict[str, str]) -> None:
    """Without the right action the drill ends as a failed check that names harm and page."""
    run = atp("drill", "game-day", "--seed", str(seed_of("channel-suspended")), "--limit", "1", "--json", **product)
    assert (run.returncode, is_one_line(run)) == (1, True)
    assert json.loads(run.stdout)["seconds"] is None


def test_a_drill_never_leaves_this_machine() -> None:
    """Another machine's broker is refused before anything is done."""
    run = atp("drill", "game-day", ATP_BOOTSTRAP="kafka.example:9092")
    assert (run.returncode, is_one_line(run)) == (2, True)

"""Signals that come at a bad moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from atp.commands.processes import open_stores

FORKED = """
import os, signal, sys
from pathlib import Path
from atp.brokers.kafka import KafkaCluster
from atp.brokers.process import Child, ended_by_signal

os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.{signal}))
with ended_by_signal():
    {start}
    print("went on")
"""
STARTS = [
    pytest.param('Child(["sleep", "60"], Path(sys.argv[1]))', id="child"),
    pytest.param("KafkaCluster(nodes=2)._prepare(Path())", id="kafka"),
]
SWALLOWED = """
import os, signal, time
from atp.brokers.process import ended_by_signal

class Told:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

try:
    with ended_by_signal():
        Told()
        for _ in range(600):
            time.sleep(0.1)
        print("went on")
except KeyboardInterrupt:
    print("ended")
"""


def run_script(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, with its temporary folder."""
    command = [sys.executable, "-c", script, str(folder / "log")]
    java = folder / "java"
    java.write_text("#!/bin/sh\nexec sleep 60\n")
    java.chmod(0o755)
    environment = {**os.environ, "TMPDIR": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("by", ["SIGINT", "SIGTERM"])
def test_a_signal_that_comes_while_a_child_is_forked_is_not_lost(by: str, start: str, tmp_path: Path) -> None:
    """It ends the program when the child has started, and the child with it."""
    run = run_script(tmp_path, FORKED.format(signal=by, start=start))
    assert run.returncode == -signal.SIGINT
    assert "went on" not in run.stdout
    assert "Exception ignored" not in run.stderr
    asleep = [process for process in psutil.process_iter() if process.name() == "sleep"]
    assert not [process for process in asleep if process.environ().get("TMPDIR") == str(tmp_path)]


def test_a_signal_that_comes_in_a_destructor_is_heard(tmp_path: Path) -> None:
    """Python ignores what a destructor raises; the program ends all the same, a moment later."""
    run = run_script(tmp_path, SWALLOWED)
    assert run.returncode == 0
    assert run.stdout == "ended\n"


def test_a_process_that_ended_has_no_stores_open() -> None:
    """Who waits for a worker's stores must come to see that it ended, and say why."""
    ended = subprocess.Popen(["true"])
    ended.wait(10)
    assert open_stores(ended.pid) == set()

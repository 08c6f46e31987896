"""A child process that is started while a signal comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PROGRAM = """
import os, signal, sys
from pathlib import Path
from atp.brokers.process import Child, ended_by_signal

os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.{signal}))
with ended_by_signal():
    Child(["sleep", "60"], Path(sys.argv[1]))
    print("went on")
"""


@pytest.mark.parametrize("by", ["SIGINT", "SIGTERM"])
def test_a_signal_that_comes_while_a_child_is_forked_is_not_lost(by: str, tmp_path: Path) -> None:
    """It ends the program when the child has started, and the child with it."""
    folder = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM.format(signal=by), str(tmp_path / "log")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=folder)
    assert run.returncode == -signal.SIGINT
    assert "went on" not in run.stdout
    assert "Exception ignored" not in run.stderr
    asleep = [process for process in psutil.process_iter() if process.name() == "sleep"]
    assert not [process for process in asleep if process.environ().get("TMPDIR") == str(tmp_path)]

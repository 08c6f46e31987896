"""What a command starts beside itself: embedded broker, workers, folders; all gone when it ends, however it ends."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.process import LOOPBACK, BrokerStartError, Child, held_signals
from atp.commands.errors import CommandError

STOP_GRACE_S = 8.0
# The embedded broker lets a group's first member wait for half its session.
SESSION_ON_EMBEDDED = {"ATP_SESSION_TIMEOUT_MS": "6000"}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed with all it holds."""
    folder = None
    try:
        with held_signals():
            folder = Path(tempfile.mkdtemp(prefix="atp-"))
        yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def embedded_broker(port: int | None = None) -> Iterator[str]:
    """The bootstrap address of an embedded broker of our own."""
    broker = EmbeddedBroker(port)
    try:
        yield broker.start().bootstrap
    except BrokerStartError as error:
        raise CommandError(str(error).splitlines()[0]) from None
    finally:
        broker.stop()


def open_stores(pid: int) -> set[Path]:
    """Folders of the stores that a process has open; none of one that has ended."""
    try:
        files = [Path(file.path) for file in psutil.Process(pid).open_files()]
    except psutil.NoSuchProcess:
        return set()
    return {file.parent for file in files if file.name == "LOCK"}


class Worker:
    """A worker in a process of its own."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        own = {"ATP_DATA_DIR": str(folder / name), "ATP_WEB_PORT": "0"}
        if "ATP_INSTANCE_ID" in os.environ:  # one identity cannot serve several workers
            own["ATP_INSTANCE_ID"] = name
        command = [sys.executable, "-m", "atp.cli", "worker"]
        self.child = Child(command, folder / f"{name}.log", {**own, **environment})

    def check(self) -> None:
        """Raise when it has ended by itself."""
        if not self.child.running:
            raise CommandError(f"{self.name} ended with code {self.child.process.returncode}: {self.last_words()}")

    def cpu_s(self) -> float:
        """CPU seconds that it has used."""
        used = psutil.Process(self.child.pid).cpu_times()
        return float(used.user + used.system)

    def serves(self, lane: str) -> bool:
        """Whether it has a partition of a lane: the store of one is open."""
        return any(store.parent.name == lane for store in open_stores(self.child.pid))

    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = [line for line in self.child.log_tail(30).splitlines() if line.strip(" \x1b[?25lh")]
        return lines[-1].strip() if lines else "it wrote nothing"


@contextmanager
def facade(
    bootstrap: str, folder: Path, port: int, worker_url: str, given: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """The façade and console in a process of its own, for this machine only. `given`: more of its environment."""
    environment = {
        "ATP_BOOTSTRAP": bootstrap,
        "ATP_FACADE_PORT": str(port),
        "ATP_FACADE_BIND": LOOPBACK,
        "ATP_WORKERS": worker_url,
        **(given or {}),
    }
    child = None
    try:
        with held_signals():
            child = Child([sys.executable, "-m", "atp.cli", "facade"], folder / "facade.log", environment)
        yield child
    finally:
        if child is not None:
            child.stop(STOP_GRACE_S)


@contextmanager
def workers(count: int, folder: Path, environment: Mapping[str, str]) -> Iterator[list[Worker]]:
    """Some workers; the stop is asked of all, then awaited."""
    started: list[Worker] = []
    try:
        for number in range(1, count + 1):
            with held_signals():
                started.append(Worker(f"worker-{number}", folder, environment))
        yield started
    finally:
        for worker in started:
            worker.child.terminate()
        for worker in started:
            worker.child.stop(STOP_GRACE_S)

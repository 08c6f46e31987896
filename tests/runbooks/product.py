"""A small product to operate on: a broker, workers, and the platform words that runbooks use for them.

Runbook blocks are shell. `worker_start` and its like reach us as files in a folder: a thread of ours that lives as
long as the product carries them out, since the kernel ends a process with the thread that started it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Producer

from atp import admin
from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.kafka import KafkaCluster
from atp.brokers.process import Child, free_ports
from atp.lane.keys import partition_of

ROOT = Path(__file__).parents[2]
PARTITIONS = 2
SESSION_MS = 3_000
SCRIPT_TIMEOUT_S = 300
PLATFORM = """
ask() { : > "$CONTROL/$1"; while [ -e "$CONTROL/$1" ]; do sleep 0.1; done; }
worker_start() { ask "worker_start $1"; }
worker_stop() { ask "worker_stop $1"; }
broker_start() { ask "broker_start $1"; }
release_use() { ask "release_use $1"; }
store_grow() { ask "store_grow $1"; }
source_start() { ask "source_start $1"; }
source_stop() { ask "source_stop $1"; }
source_snapshot() { ask "source_snapshot $1"; }
"""

Line = dict[str, Any]


class Product:
    """Broker and workers of one test; use it with `with`."""

    def __init__(self, broker: EmbeddedBroker | KafkaCluster, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.control = folder / "control"
        self.control.mkdir(parents=True)
        self.settings: dict[str, str] = {}  # of every worker and command started from now on
        self.words: dict[str, Callable[[str], object]] = {
            "worker_start": self._worker_start, "worker_stop": self._worker_stop, "worker_kill": self._worker_kill,
        }  # fmt: skip
        self._ports = dict(zip(("worker-1", "worker-2"), free_ports(2), strict=True))
        self._workers: dict[str, Child] = {}
        self.closing: list[Callable[[], object]] = []  # what a degradation made beside processes
        self._ended = threading.Event()
        self._controller = threading.Thread(target=self._obey, name="platform")

    # -- the platform

    def __enter__(self) -> Self:
        admin.ensure({"bootstrap.servers": self.broker.bootstrap}, PARTITIONS, keep_forever=True)
        (self.folder / "platform.sh").write_text(PLATFORM)
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._controller.join()
        for worker in self._workers.values():
            worker.kill()
        for close in self.closing:
            close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, word: str, name: str) -> None:
        """Have the platform do something, as `worker_start worker-1` in a shell does."""
        request = self.control / f"{word} {name}"
        request.touch()
        while request.exists():
            assert self._controller.is_alive(), f"{word} {name} failed"
            time.sleep(0.02)

    def ask_now(self, word: str, name: str) -> None:
        """As `ask`, for a word that is made of others."""
        self.words[word](name)

    def _obey(self) -> None:
        while not self._ended.is_set():
            for request in list(self.control.iterdir()):
                word, _, name = request.name.partition(" ")
                self.words[word](name)
                request.unlink()
            for name in list(self._workers):  # as every platform does: who ends by himself is started again
                self._worker_start(name)
            time.sleep(0.05)

    def data_dir(self, worker: str) -> Path:
        """The folder of a worker's stores."""
        return self.folder / worker / "data"

    def _worker_start(self, name: str) -> None:
        running = self._workers.get(name)
        if running is not None and running.running:
            return
        (self.folder / name).mkdir(exist_ok=True)
        own = {"ATP_DATA_DIR": str(self.data_dir(name)), "ATP_INSTANCE_ID": name}
        own["ATP_WEB_PORT"] = str(self._ports[name])
        command = [sys.executable, "-m", "atp.cli", "worker"]
        self._workers[name] = Child(command, self.folder / name / "log.txt", {**self.environment(), **own})

    def _worker_stop(self, name: str) -> None:
        if worker := self._workers.pop(name, None):
            worker.stop(grace_s=20)

    def _worker_kill(self, name: str) -> None:
        self._workers.pop(name).kill()

    # -- people at work

    def environment(self, workers: Iterable[str] = ("worker-1",)) -> dict[str, str]:
        """What a person's shell and a worker know."""
        urls = ",".join(f"http://127.0.0.1:{self._ports[name]}" for name in workers)
        return {
            "ATP_BOOTSTRAP": self.broker.bootstrap, "ATP_PARTITIONS": str(PARTITIONS), "ATP_WORKERS": urls,
            "ATP_SESSION_TIMEOUT_MS": str(SESSION_MS), "CONTROL": str(self.control), "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **self.settings,
        }  # fmt: skip

    def shell(self, script: str, **words: str) -> subprocess.CompletedProcess[str]:
        """Run a block of a runbook in the product's folder; `words`: what its reader has to fill in."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("ATP_")}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f". ./platform.sh\n{script}"], cwd=self.folder, text=True,
            capture_output=True, timeout=SCRIPT_TIMEOUT_S, check=False, env={**known, **self.environment(), **words},
        )  # fmt: skip

    def await_good(self, script: str, timeout_s: float = 180, **words: str) -> None:
        """Run a verification until it ends with 0."""
        deadline = time.monotonic() + timeout_s
        while (run := self.shell(script, **words)).returncode != 0:
            assert time.monotonic() < deadline, f"{script}\n{run.stdout}{run.stderr}\n{self.logs()}"
            time.sleep(0.3)

    def logs(self) -> str:
        """The end of every worker's log."""
        return "\n".join(f"{name}: {worker.log_tail(15)}" for name, worker in self._workers.items())

    # -- facts

    def publish(self, *lines: Line, **where: int) -> None:
        """Send lines of any topic as their sources would, without a check; `where`: to this partition."""
        producer = Producer(
            {"bootstrap.servers": self.broker.bootstrap, "partitioner": "murmur2_random", "log_level": 0}
        )
        for line in lines:
            value = line["value"]
            encoded = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            producer.produce(line["topic"], encoded, line["key"].encode(), **where)
        assert producer.flush(20) == 0

    def partition(self, sku: str) -> str:
        """The partition of a SKU, as a word."""
        return str(partition_of(sku, PARTITIONS))

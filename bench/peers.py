"""The programs compared: ours, Kafka Streams, stock Faust. Each is a process with a group to watch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atp.brokers.jars import dependency_jars
from atp.brokers.process import Child
from bench.load import FACT_TOPICS, WARM_UP_TOPIC, create_topics
from bench.measure import Group

HERE = Path(__file__).parent
PROJECT = HERE.parent


@dataclass
class Peer:
    """A program that reads the fact topics.

    Args:
        name: how the report calls it; `does` says what it computes and under which guarantee.
        group: the consumer group whose commits show its progress.
        limit: stop after so many events (slow peers); None: all.
        output: the topic it publishes to, for counting; `transactional` when its gaps are commit markers.
    """

    name: str
    does: str
    command: list[str]
    group: str
    env: dict[str, str] = field(default_factory=dict)
    limit: int | None = None
    output: str | None = None
    transactional: bool = True
    child: Child | None = None

    def start(self, bootstrap: str, folder: Path) -> None:
        """Start the process, ready to be measured."""
        self._spawn(bootstrap, folder)

    def finish(self) -> dict[str, Any]:
        """Stop the process; returns what it says about itself."""
        assert self.child is not None
        self.child.stop(grace_s=10)
        return {}

    def alive(self) -> bool:
        """True while the process runs."""
        return self.child is not None and self.child.running

    def _spawn(self, bootstrap: str, folder: Path, stdin: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        env = {"ATP_BOOTSTRAP": bootstrap, "ATP_DATA_DIR": str(folder), "PYTHONPATH": str(PROJECT), **self.env}
        self.child = Child(self.command, folder / "log", env, stdin)


@dataclass
class StreamsPeer(Peer):
    """Kafka Streams in a JVM that first works through the warm-up topic."""

    commit_ms: int = 100
    threads: int = 2
    warm_up_events: int = 0

    def start(self, bootstrap: str, folder: Path) -> None:
        """Start the JVM, warm it up, then start the application that is measured."""
        self.output = f"bench.sums.{self.commit_ms}.v1"
        create_topics(bootstrap, [self.output, f"{self.output}.warmup"])
        self.command = [*java_streams(), bootstrap, str(folder / "state"), str(self.commit_ms), str(self.threads)]
        self._spawn(bootstrap, folder, stdin=True)
        self._tell(f"run {self.group}-warmup {self.output}.warmup {WARM_UP_TOPIC}")
        Group(bootstrap, f"{self.group}-warmup", [WARM_UP_TOPIC]).wait(self.warm_up_events, self.alive)
        self._tell("stop")
        self._tell(f"run {self.group} {self.output} {','.join(FACT_TOPICS)}")

    def finish(self) -> dict[str, Any]:
        """Ask for its own figures, then end it."""
        assert self.child is not None
        self._tell("stop")
        stdin = self.child.process.stdin
        assert stdin is not None
        stdin.close()
        self.child.process.wait(timeout=60)
        said: dict[str, Any] = json.loads(self.child.log_tail(1))
        return said

    def _tell(self, line: str) -> None:
        assert self.child is not None
        stdin = self.child.process.stdin
        assert stdin is not None
        stdin.write(f"{line}\n".encode())
        stdin.flush()


def java_streams() -> list[str]:
    """Compile the Kafka Streams program (its jars are fetched once); the command line that runs it."""
    jars = dependency_jars(HERE / "streams" / "pom.xml", "bench-streams")
    classes = jars / "classes"
    source = HERE / "streams" / "Sum.java"
    subprocess.run(["javac", "-cp", f"{jars}/*", "-d", str(classes), str(source)], check=True)
    return ["java", "-Xms1g", "-Xmx1g", "-cp", f"{classes}:{jars}/*", "Sum"]


def streams(commit_ms: int, warm_up_events: int) -> StreamsPeer:
    """Kafka Streams with one commit interval."""
    return StreamsPeer(
        name=f"Kafka Streams, {commit_ms} ms",
        does="a sum per SKU and region, RocksDB, exactly once",
        command=[],
        group=f"bench-streams-{commit_ms}",
        commit_ms=commit_ms,
        warm_up_events=warm_up_events,
    )


def stock_faust(store: str, limit: int) -> Peer:
    """The agent and table of `bench.stock_faust`."""
    return Peer(
        name=f"stock Faust, {store} table",
        does="a sum per SKU and region, at least once",
        command=[sys.executable, "-m", "faust", "-A", "bench.stock_faust", "worker", "-l", "error", "--without-web"],
        group=f"bench-faust-{store}",
        env={"BENCH_STORE": store},
        limit=limit,
        output=f"bench-faust-{store}-sums-changelog",
        transactional=False,
    )


def ours(command: str, group: str, output: str) -> Peer:
    """The worker of this project on its replay clock."""
    return Peer(
        name="atp",
        does="full availability, RocksDB, exactly once",
        command=command.split(),
        group=group,
        env={"ATP_CLOCK": "replay", **{k: v for k, v in os.environ.items() if k.startswith("ATP_")}},
        output=output,
    )

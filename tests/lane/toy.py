"""Hands for the tests of the toy application: topics, producer, worker processes, and what came out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).parents[2]


class Toy:
    """One toy application on one broker, with its own topics, group and data folder."""

    def __init__(self, bootstrap: str, folder: Path, partitions: int = 4, **settings: Any) -> None:
        self.name = f"toy-{uuid.uuid4().hex[:8]}"
        self.bootstrap = bootstrap
        self.folder = folder
        self.partitions = partitions
        self.settings = {"partitions": partitions, "session_timeout_ms": 6_000, "heartbeat_interval_ms": 1_000}
        self.settings |= settings
        self.workers: list[Worker] = []
        self.sent: Counter[str] = Counter()
        self.topics = {t: f"{self.name}.{t}" for t in ("a", "b", "counts", "dead-letters")}
        self.changelog = f"{self.name}-lane-changelog"

    def create_topics(self) -> None:
        """Every topic the toy needs."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        compact = {"cleanup.policy": "compact"}
        new = [NewTopic(topic, self.partitions, 1) for topic in self.topics.values()]
        new += [NewTopic(self.changelog, self.partitions, 1, config=compact), NewTopic(f"{self.name}.control", 1, 1)]
        for future in admin.create_topics(new).values():
            future.result(30)

    def produce(self, count: int, keys: int = 50, size: int = 0) -> None:
        """Send events, alternating between the two input topics, keys in rotation."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random", "linger.ms": 20})
        pad = "x" * size
        for i in range(count):
            key = f"key-{i % keys}"
            value = json.dumps({"id": uuid.uuid4().hex, "n": 1, "pad": pad}).encode()
            while True:
                try:
                    producer.produce(self.topics["ab"[i // keys % 2]], value, key)
                    break
                except BufferError:
                    producer.poll(0.1)
            self.sent[key] += 1
        producer.flush(60)

    def start(self, index: int = 0, **settings: Any) -> Worker:
        """Start a worker process."""
        worker = Worker(self, index, {**self.settings, **settings})
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """Kill what still runs."""
        for worker in self.workers:
            worker.kill()

    def read(self, topic: str, isolation: str = "read_committed") -> list[Any]:
        """Every record of a topic, up to its end as captured now."""
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": uuid.uuid4().hex, "isolation.level": isolation,
            "enable.auto.commit": False, "auto.offset.reset": "earliest", "enable.partition.eof": True,
        })  # fmt: skip
        consumer.assign([TopicPartition(topic, p, 0) for p in range(self.partitions)])
        found, ended = [], set()
        while len(ended) < self.partitions:
            message = consumer.poll(10)
            assert message is not None, f"{topic} gave nothing for 10 s"
            if message.error():
                ended.add(message.partition())
            else:
                found.append(message)
        consumer.close()
        return found

    def counts(self) -> dict[str, int]:
        """Latest published count per key."""
        return {m.key().decode(): int(m.value()) for m in self.read(self.topics["counts"])}

    def await_counts(self, timeout_s: float = 180) -> list[Any]:
        """Wait until the published counts equal what was sent; every output record."""
        deadline = time.monotonic() + timeout_s
        while (found := self.counts()) != dict(self.sent):
            if time.monotonic() > deadline:
                difference = {k: (n, found.get(k)) for k, n in self.sent.items() if found.get(k) != n}
                raise AssertionError(f"{difference}\n{[w.tail() for w in self.workers]}")
            time.sleep(0.3)
        return self.read(self.topics["counts"])


class Worker:
    """A Faust worker process."""

    def __init__(self, toy: Toy, index: int, settings: dict[str, Any]) -> None:
        self.folder = toy.folder / f"worker-{index}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log.txt"
        self.status_file = self.folder / "status.json"
        self.status_file.unlink(missing_ok=True)
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "TOY_NAME": toy.name, "TOY_BROKER": toy.bootstrap,
            "TOY_DATA": str(self.folder), "TOY_INSTANCE": f"worker-{index}",
            "TOY_STATUS": str(self.status_file), "TOY_SETTINGS": json.dumps(settings),
        }  # fmt: skip
        command = [sys.executable, "-m", "faust", "-A", "tests.lane.toy_app", "worker", "-l", "info", "--without-web"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def status(self) -> Any:
        """What the worker last wrote about itself, or None."""
        return json.loads(self.status_file.read_bytes()) if self.status_file.exists() else None

    def await_news(self, timeout_s: float = 60) -> Any:
        """What it writes about itself from now on."""
        known, deadline = self.status_file.stat().st_mtime_ns, time.monotonic() + timeout_s
        while self.status_file.stat().st_mtime_ns == known:
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.1)
        return self.status()

    def commits(self) -> dict[int, int]:
        """Commits by partition of the tasks that run here."""
        return {int(number): found["commits"] for number, found in self.status()["counters"].items()}

    def await_running(self, partitions: int, timeout_s: float = 180) -> None:
        """Wait until so many tasks run here."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status()
            states = [task["state"] for task in status["status"]] if status else []
            if states.count("RUNNING") == partitions == len(states):
                return
            assert time.monotonic() < deadline, f"{status}\n{self.tail()}"
            time.sleep(0.2)

    def kill(self) -> None:
        """As kill -9 does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 60) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def tail(self, size: int = 3000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-size:]

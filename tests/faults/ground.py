"""The ground: a three-node cluster, worker processes, careless sources, and a consumer that watches.

Topics that are compacted roll their segments every second and are cleaned all the time, so that every fault happens
under compaction. The dead letters lie on node 1 alone: with it they are down, and all else is not.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from confluent_kafka import Consumer, IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, OffsetSpec, ResourceType
from rocksdict import Options, Rdict

from atp import admin
from atp.app import lanes
from atp.brokers.kafka import KafkaCluster, KafkaNode
from atp.brokers.process import Child
from atp.commands.processes import open_stores
from atp.topics import AVAILABILITY, DEAD_LETTERS
from bench.load import load_reference
from tests.faults import invariants
from tests.faults.fold import Fold, content_of
from tests.faults.kills import every_step
from tests.faults.load import Careless, Sent
from tests.faults.watch import PATIENCE_S, Place, Watcher

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
READ_COMMITTED = IsolationLevel.READ_COMMITTED
SESSION_MS = 6_000
SETTLE_S = 420.0
WAIT_S = 420.0  # for what takes seconds on a machine that has nothing else to do, minutes at a load of 60
TELL_S = 2.0
RATE = 600  # facts/s, when nothing else is said
SAMPLE_S = 1.0
CLEANED = {"segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "2000"}
# What it takes to write years-old facts, and to lose none by age.
ANY_TIME = {
    "log.message.timestamp.after.max.ms": str(2**62),
    "log.message.timestamp.before.max.ms": str(2**62),
}


class Publisher(threading.Thread):
    """Sends at a rate until stopped; every acknowledged record is noted."""

    def __init__(self, bootstrap: str, source: Careless, acknowledged: dict[Place, set[int]]) -> None:
        super().__init__(name="publisher")
        self._source = iter(source)
        self.acknowledged = acknowledged
        self.unplaced: dict[Place, set[int]] = {}  # acknowledged without an offset: hashes of what was sent
        self.rate = 0.0
        self.sent = 0
        self.errors: list[str] = []
        self._over = threading.Event()
        self._producer = Producer({
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 10, "log_level": 0,
            "message.timeout.ms": 600_000, "queue.buffering.max.messages": 200_000, "reconnect.backoff.max.ms": 500,
        }, logger=admin.silent_logger())  # fmt: skip

    def run(self) -> None:
        """Send what is due, twenty times a second."""
        before_s, owed = time.monotonic(), 0.0
        while not self._over.wait(0.05):
            now_s = time.monotonic()
            owed += (now_s - before_s) * self.rate
            before_s = now_s
            while owed >= 1:
                self.send(next(self._source))
                owed -= 1
            self._producer.poll(0)

    def send(self, record: Sent) -> None:
        """Queue one record; waits while the queue is full."""
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, record.partition, self._noted, record.timestamp_ms
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.sent += 1
                return

    def _noted(self, error: Any, message: Any) -> None:
        if error is not None:
            self.errors.append(str(error))
            return
        place = message.topic(), message.partition()
        if message.offset() is None:  # a broker that had it already says so, and not where
            self.unplaced.setdefault(place, set()).add(content_of(message))
        else:
            self.acknowledged.setdefault(place, set()).add(message.offset())

    def flush(self) -> None:
        """Return once everything is acknowledged."""
        assert self._producer.flush(PATIENCE_S) == 0, "the sources' records were not acknowledged"
        assert not self.errors, self.errors[:3]

    def stop(self) -> None:
        """End it; what was not sent is forgotten."""
        self._over.set()
        self.join()
        self._producer.purge()


class Ground:
    """Use it with `with`; nothing of it outlives the block."""

    def __init__(
        self, folder: Path, seed: int = 1, skus: int = 200, day_facts: int = 200_000, rate: float = RATE
    ) -> None:
        self.folder = folder
        self.partitions = PARTITIONS
        self.kafka = KafkaCluster(3, properties=ANY_TIME)
        self.source = Careless(seed, skus, day_facts, PARTITIONS)
        self.rate = rate
        self.kill_orders = every_step(random.Random(seed))
        self.acknowledged: dict[Place, set[int]] = {}
        self.workers: dict[str, Child] = {}
        self.leaving: list[Child] = []  # those of which an end by themselves is awaited
        self.revived = self.kills = 0
        self.rss_mb = self.disk_mb = 0
        self._sampled_s = 0.0
        self.paused_at: dict[Place, int] = {}  # ends of the inputs when the sources paused last

    # -- life

    def __enter__(self) -> Self:
        self.kafka.start()
        try:
            self._prepare()
        except BaseException:
            self.kafka.stop()
            raise
        return self

    def _prepare(self) -> None:
        self.bootstrap = self.kafka.bootstrap
        self.admin = admin.client({"bootstrap.servers": self.bootstrap})
        on_node_1, forever = [[1]] * PARTITIONS, {"retention.ms": "-1"}
        letters = NewTopic(DEAD_LETTERS.name, PARTITIONS, replica_assignment=on_node_1, config=forever)
        self.admin.create_topics([letters])[DEAD_LETTERS.name].result(WAIT_S)
        admin.ensure({"bootstrap.servers": self.bootstrap}, PARTITIONS, replication=3, keep_forever=True)
        for topic in {AVAILABILITY.name, *(lane.changelog_topic for lane in lanes.values())}:
            self.configure(topic, CLEANED)
        load_reference(self.bootstrap)
        self.groups = {name: self._group(lane.full_name) for name, lane in lanes.items()}
        self.fold = Fold(self.bootstrap, PARTITIONS)
        self.watcher = Watcher(self.bootstrap, PARTITIONS, self._sample)
        self.watcher.start()
        self.publisher = Publisher(self.bootstrap, self.source, self.acknowledged)
        self.publisher.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.publisher.stop()
        for worker in [*self.workers.values(), *self.leaving]:
            worker.kill()
        self.watcher.stop()
        self.fold.close()
        for group in self.groups.values():
            group.close()
        self.kafka.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _group(self, group_id: str) -> Consumer:
        return Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": group_id, "isolation.level": "read_committed",
            "reconnect.backoff.max.ms": 500, "log_level": 0,
        }, logger=admin.silent_logger())  # fmt: skip

    def configure(self, topic: str, settings: dict[str, str]) -> None:
        """Change settings of a topic."""
        entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in settings.items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(WAIT_S)

    # -- workers

    def data(self, worker: str) -> Path:
        """The folder of a worker's stores."""
        return self.folder / worker / "data"

    def start(self, name: str = "worker-1", **more: str) -> Child:
        """Start a worker under its static name; it keeps its folder from one start to the next."""
        assert name not in self.workers or not self.workers[name].running, f"{name} runs already"
        self.data(name).mkdir(parents=True, exist_ok=True)
        environment = {
            "ATP_BOOTSTRAP": self.bootstrap, "ATP_DATA_DIR": str(self.data(name)), "ATP_INSTANCE_ID": name,
            "ATP_PARTITIONS": str(PARTITIONS), "ATP_REPLICATION": "3", "ATP_SESSION_TIMEOUT_MS": str(SESSION_MS),
            "ATP_DEAD_LETTERS_PER_MINUTE": "1000000", "PYTHONPATH": str(ROOT), **more,
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.faults.launch"]
        self.workers[name] = Child(command, self.folder / name / "log.txt", environment)
        return self.workers[name]

    def kill(self, name: str = "worker-1") -> None:
        """End a worker as kill -9 does."""
        self.kills += 1
        self.workers.pop(name).kill()

    def stop(self, name: str = "worker-1") -> int:
        """End a worker in good order (SIGTERM); its exit code."""
        worker = self.workers.pop(name)
        worker.stop(grace_s=WAIT_S)
        return int(worker.process.returncode)

    def await_end(self, name: str, timeout_s: float = WAIT_S) -> int:
        """Wait until a worker has ended by itself; its exit code."""
        worker = self.workers.pop(name)
        self.leaving.append(worker)
        self.await_true(lambda: not worker.running, timeout_s, lambda: f"{name} still runs")
        self.leaving.remove(worker)
        self.kills += worker.process.returncode == -signal.SIGKILL
        return int(worker.process.returncode)

    def freeze(self, name: str = "worker-1") -> None:
        """Stop a worker's time."""
        self.workers[name].send(signal.SIGSTOP)

    def thaw(self, name: str = "worker-1") -> None:
        """Let a frozen worker go on."""
        self.workers[name].send(signal.SIGCONT)

    def revive(self) -> None:
        """As every platform does: who ended by himself is started again."""
        for name in [name for name, worker in self.workers.items() if not worker.running]:
            self.revived += 1
            self.start(name)

    def owners(self) -> set[str]:
        """Workers that have stores open."""
        return {name for name, worker in self.workers.items() if open_stores(worker.pid)}

    def await_said(self, *either: str) -> None:
        """Wait until a worker's log since its start has one of these."""
        said = lambda: any(text in self.logs(lines=400) for text in either)  # noqa: E731
        self.await_true(said, WAIT_S, lambda: f"nobody said {either}")

    def stores(self, lane: str) -> dict[int, Path]:
        """The stores of a lane that living workers have open, by partition."""
        found = {}
        for worker in self.workers.values():
            for path in open_stores(worker.pid):
                if path.parent.name == lane:
                    found[int(path.name)] = path
        return found

    def crashed(self, store: Path) -> dict[bytes, bytes]:
        """The rows of a store as a crash at this instant would leave them."""
        owner = next(worker for worker in self.workers.values() if store in open_stores(worker.pid))
        copy = self.folder / "crashed"
        owner.send(signal.SIGSTOP)
        try:
            shutil.copytree(store, copy)
        finally:
            owner.send(signal.SIGCONT)
        db = Rdict(str(copy), Options(raw_mode=True))
        rows = dict(db.items())
        db.close()
        shutil.rmtree(copy)
        return rows

    def told(self) -> str:
        """What every living worker says of its tasks, and the end of its log."""
        for worker in self.workers.values():
            worker.send(signal.SIGUSR1)
        time.sleep(TELL_S)
        return self.logs()

    def logs(self, lines: int = 25) -> str:
        """The end of every worker's log."""
        logs = sorted(self.folder.glob("*/log.txt"))
        return "\n".join(f"--- {log.parent.name}\n" + "\n".join(_tail(log, lines)) for log in logs)

    # -- what happens meanwhile

    def flow(self, seconds: float, rate: float | None = None) -> None:
        """Let the sources send for a while."""
        self.publisher.rate = rate or self.rate
        time.sleep(seconds)
        self.publisher.rate = 0

    def flowing(self) -> None:
        """Let the sources send until told otherwise."""
        self.publisher.rate = self.rate

    def await_output(self, count: int = 1, timeout_s: float = WAIT_S) -> None:
        """Wait until so many more records are published."""
        until = self.watcher.count + count
        self.await_true(lambda: self.watcher.count >= until, timeout_s, lambda: "nothing is published")

    def await_served(self, timeout_s: float = WAIT_S) -> None:
        """Wait until every partition has published again."""
        since_s = time.monotonic()
        behind = lambda: [n for n, at_s in self.watcher.came_s.items() if at_s < since_s]  # noqa: E731
        self.await_true(lambda: not behind(), timeout_s, lambda: f"partitions {behind()} publish nothing")

    def await_true(self, holds: Callable[[], bool], timeout_s: float, why: Callable[[], object]) -> None:
        """Poll until something holds, or fail with the reason and what the workers said."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert self.watcher.error is None, self.watcher.error
            self.revive()
            assert time.monotonic() < deadline, f"after {timeout_s:.0f} s: {why()}\n{self.told()}"
            time.sleep(0.05)

    # -- what is so

    def coordinator(self, group_id: str) -> KafkaNode:
        """The node that coordinates a group now."""
        found = self.admin.describe_consumer_groups([group_id])[group_id].result(WAIT_S)
        return next(node for node in self.kafka.nodes if node.port == found.coordinator.port)

    def committed(self) -> dict[str, dict[Place, int]]:
        """Committed offsets of every lane's group."""
        found = {}
        for name, group in self.groups.items():
            wanted = [TopicPartition(t, n) for t in lanes[name].world.inputs for n in range(PARTITIONS)]
            found[name] = {(at.topic, at.partition): max(0, at.offset) for at in _patiently(group.committed, wanted)}
        return found

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Last stable offsets, asked anew while a broker is away, by a client that knows no old leader."""
        asker, left, found = admin.client({"bootstrap.servers": self.bootstrap}), set(places), {}
        deadline = time.monotonic() + PATIENCE_S
        while left:
            wanted = {TopicPartition(*place): OffsetSpec.latest() for place in left}
            for at, answer in asker.list_offsets(wanted, isolation_level=READ_COMMITTED, request_timeout=10).items():
                with contextlib.suppress(KafkaException):
                    found[at.topic, at.partition] = int(answer.result().offset)
            left -= found.keys()
            assert not left or time.monotonic() < deadline, f"no answer about {left}"
        return found

    def lag(self) -> dict[Place, int]:
        """Records that lay in the inputs when the sources paused and are not committed yet, where there are any.

        The lanes talk on with each other, about days that are to be closed: their topics are never at rest.
        """
        committed = {place: at for found in self.committed().values() for place, at in found.items()}
        return {place: end - committed[place] for place, end in self.paused_at.items() if end > committed[place]}

    def settle(self, timeout_s: float = SETTLE_S) -> float:
        """Nothing more is sent; wait until all is committed; how long it took, s."""
        self.publisher.rate = 0
        time.sleep(0.1)  # what is on its way into the queue
        self.publisher.flush()
        started_s = time.monotonic()
        self.paused_at = self.ends([place for found in self.committed().values() for place in found])
        self.await_true(lambda: not self.lag(), timeout_s, lambda: f"I6 lag: {self.lag()}")
        return time.monotonic() - started_s

    def check(self) -> float:
        """Settle; every invariant must hold; how long settling took, s."""
        took_s = self.settle()
        invariants.check(self)
        return took_s

    def _sample(self) -> None:
        if time.monotonic() - self._sampled_s < SAMPLE_S:
            return
        self._sampled_s = time.monotonic()
        for worker in list(self.workers.values()):
            self.rss_mb = max(self.rss_mb, _rss_mb(worker.pid))
        for name in list(self.workers):
            self.disk_mb = max(self.disk_mb, _size_mb(self.data(name)))


def _rss_mb(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss >> 20)
    except psutil.NoSuchProcess:
        return 0


def _size_mb(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total >> 20


def _tail(log: Path, lines: int) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-lines:]


def _patiently(ask: Callable[..., Any], about: Any) -> Any:
    """Ask again while a broker is away."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask(about, timeout=5)
        except KafkaException:
            assert time.monotonic() < deadline, f"no answer about {about}"
            time.sleep(0.1)

"""The whole product on one broker, as its tests see it: worker processes, facts in, records and dead letters out.

Everything is compared with a fold of the very lines that were published. Facts are published with the time of their
recording as record timestamp, and the workers replay: their `now` follows the facts and the heartbeats, so that a
final heartbeat brings them to the instant the fold is told.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from atp.brokers.process import Child
from atp.commands.fold import fold_file
from atp.commands.processes import open_stores
from atp.domain.fold import World
from atp.domain.record import comparable
from atp.domain.times import from_ms, rfc3339, to_ms
from atp.topics import AVAILABILITY, CATALOGUE, DEAD_LETTERS, FACT_TOPICS, HEARTBEATS, MODE_CHANGES, MODES

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
GROUP = "atp-sku"
FACT_NAMES = {topic.name for topic in FACT_TOPICS}
SETTLE_S = 240.0  # a bound for the slowest machine, not an expectation
SESSION_MS = 3_000  # a dead worker's partitions are free after this; the embedded broker waits as long at a start
SHARED_SESSION_MS = 8_000  # on the embedded broker a rebalance takes 3 s and more, in which nobody may be given up
STAYS_S = 1.6  # longer than the tick in which a worker looks at what time alone has changed

Line = dict[str, Any]
OnDelivery = Callable[[object, Message], None]


class RunningBroker(Protocol):
    """What the tests need of either broker."""

    transactions: bool

    @property
    def bootstrap(self) -> str: ...


class Version(NamedTuple):
    """One canonical record as it was published."""

    key: str
    version: int
    published_at: str


class Reader:
    """Follows a whole topic, read committed, from its beginning."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": f"test-{uuid.uuid4().hex}", "enable.auto.commit": False,
            "isolation.level": "read_committed", "fetch.wait.max.ms": 50, "log_level": 0,
        })  # fmt: skip
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])

    def more(self, timeout_s: float = 0.1) -> list[Message]:
        """What has come since; waits a little for the first."""
        found = []
        for message in self._consumer.consume(5_000, timeout_s):
            error = message.error()
            assert error is None, error
            found.append(message)
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


class System:
    """Workers of one broker; use it with `with`. Nothing of it outlives the block."""

    def __init__(self, broker: RunningBroker, folder: Path) -> None:
        self.broker = broker
        self.exactly_once = broker.transactions
        self.folder = folder
        self.lines: list[Line] = []  # what was published and counts, in order
        self.session_ms = SESSION_MS
        self.now_ms = 0
        self.records: dict[str, dict[str, Any]] = {}  # latest canonical record by key
        self.versions: list[Version] = []  # every canonical record, in order of its partition
        self.dead_letters: list[dict[str, Any]] = []
        self.modes: dict[str, Line] = {}  # latest row of the modes topic by key, as a line
        self.modes_seen = 0
        self.mode_changes: list[dict[str, Any]] = []
        self._folded: tuple[object, dict[str, dict[str, Any]]] = (None, {})
        self._workers: dict[str, Child] = {}
        # By what was acknowledged: the embedded broker tells no true end of a topic.
        self._ends: dict[tuple[str, int], int] = {}
        self.raw_places: set[tuple[str, int, int]] = set()  # where records sent raw came to lie
        self._create_topics()
        self._producer = Producer({
            "bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random", "linger.ms": 5, "acks": "all",
            "message.max.bytes": 8 << 20, "log_level": 0,
        })  # fmt: skip
        self._group = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": GROUP, "log_level": 0})
        self._canonical = Reader(broker.bootstrap, AVAILABILITY.name, PARTITIONS)
        self._letters = Reader(broker.bootstrap, DEAD_LETTERS.name, PARTITIONS)
        self._modes = Reader(broker.bootstrap, MODES.name, 1)
        self._changes = Reader(broker.bootstrap, MODE_CHANGES.name, PARTITIONS)

    # -- workers

    def start(self, name: str = "worker-1") -> Child:
        """Start a worker under its static name; it keeps its folder from one start to the next."""
        assert name not in self._workers, f"{name} runs already"
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        environment = {
            "ATP_BOOTSTRAP": self.broker.bootstrap,
            "ATP_DATA_DIR": str(folder / "data"),
            "ATP_INSTANCE_ID": name,
            "ATP_PARTITIONS": str(PARTITIONS),
            "ATP_CLOCK": "replay",
            "ATP_SESSION_TIMEOUT_MS": str(self.session_ms),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "atp.cli", "worker"]
        self._workers[name] = Child(command, folder / "log.txt", environment)
        return self._workers[name]

    def stop(self, name: str = "worker-1") -> int:
        """End a worker in good order (SIGTERM); its exit code."""
        worker = self._workers.pop(name)
        worker.stop(grace_s=60)
        return int(worker.process.returncode)

    def kill(self, name: str = "worker-1") -> None:
        """End a worker as kill -9 does."""
        self._workers.pop(name).kill()

    # -- what goes in

    def publish(self, lines: Iterable[Line]) -> None:
        """Publish lines of any topic, in order; facts at the time of their recording."""
        for line in lines:
            self.lines.append(line)
            value = line["value"]
            stamp = _stamp_ms(line)
            self.now_ms = max(self.now_ms, stamp)
            encoded = None if value is None else json.dumps(value).encode()
            self._send(line["topic"], line["key"].encode(), encoded, stamp, self._sent)
        self.flush()

    def send(self, topic: str, key: bytes | None, value: bytes | None, partition: int) -> None:
        """Send one raw record; the fold does not see it."""
        self._send(topic, key, value, self.now_ms or 1, self._sent_raw, partition=partition)

    def _send(
        self, topic: str, key: bytes | None, value: bytes | None, stamp_ms: int, sent: OnDelivery, **where: int
    ) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, timestamp=stamp_ms, on_delivery=sent, **where)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _sent(self, error: object, message: Message) -> None:
        assert error is None, error
        if message.topic() in FACT_NAMES:
            at = (message.topic(), message.partition())
            self._ends[at] = max(self._ends.get(at, 0), message.offset() + 1)

    def _sent_raw(self, error: object, message: Message) -> None:
        self._sent(error, message)
        self.raw_places.add((message.topic(), message.partition(), message.offset()))

    def flush(self) -> None:
        """Return once the broker has everything."""
        assert self._producer.flush(30) == 0

    def advance_to(self, moment: datetime) -> None:
        """Let time pass: a heartbeat of a source that nobody depends on."""
        self.now_ms = max(self.now_ms, to_ms(moment))
        value = {"type": "source.alive", "source": "clock", "region": "none", "watermark": rfc3339(self.now_ms)}
        self.publish([{"topic": HEARTBEATS.name, "key": "clock|none", "value": value}])

    # -- what comes out

    def expected(self) -> dict[str, dict[str, Any]]:
        """What a fold makes of everything published, and of the modes that the region tasks decided, by key."""
        given = (len(self.lines), self.now_ms, self.modes_seen)
        if self._folded[0] != given:
            content = b"\n".join(json.dumps(line).encode() for line in [*self.lines, *self.modes.values()])
            folded = fold_file(content, World(), self.now_ms)
            found = {key: comparable(json.loads(record)) for key, record in folded.records()}
            self._folded = (given, found)
        return self._folded[1]

    def found(self) -> dict[str, dict[str, Any]]:
        """What the canonical topic says now, by key."""
        self._read()
        return {key: comparable(record) for key, record in self.records.items()}

    def letters(self) -> list[dict[str, Any]]:
        """All dead letters so far."""
        self._read()
        return self.dead_letters

    def await_fold(self, timeout_s: float = SETTLE_S) -> None:
        """Bring all to one `now`; wait until the topic equals the fold and the lag is 0; see that it stays so."""
        self.advance_to(from_ms(self.now_ms))
        modes_seen = -1
        while modes_seen != self.modes_seen:  # a mode that comes meanwhile is to be followed as well
            self.await_true(
                lambda: self.found() == self.expected(),
                timeout_s,
                lambda: f"lag {self.lag()}, {_difference(self.expected(), self.found())}",
            )
            self.await_true(lambda: self.lag() == 0, timeout_s, lambda: f"lag {self.lag()}")
            published, modes_seen, until = len(self.versions), self.modes_seen, time.monotonic() + STAYS_S
            while time.monotonic() < until:
                self._read()
        assert self.found() == self.expected(), _difference(self.expected(), self.found())
        assert len(self.versions) == published, "records were published again though nothing had changed"

    def await_true(
        self, holds: Callable[[], bool], timeout_s: float = SETTLE_S, why: Callable[[], object] = lambda: ""
    ) -> None:
        """Poll until something holds, or fail with the reason and what the workers said."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            for name, worker in self._workers.items():
                assert worker.running, f"{name} ended with {worker.process.returncode}:\n{self.logs()}"
            assert time.monotonic() < deadline, f"after {timeout_s:.0f} s: {why()}\n{self.logs()}"
            time.sleep(0.05)

    def assert_versions_rise(self, *, calm: bool = True) -> None:
        """Versions of a key count up by one: always under exactly once; else as long as all was `calm`.

        At least once, a turn that a crash cut off is worked off again: a version may then repeat.
        """
        last: dict[str, int] = {}
        for record in self.versions:
            step = record.version - last.get(record.key, 0)
            allowed = {1} if calm or self.exactly_once else {0, 1}
            assert step in allowed, f"{record} came after version {last.get(record.key, 0)}"
            last[record.key] = record.version

    def lag(self) -> int:
        """Records of the fact topics that the group has not committed yet."""
        wanted = [TopicPartition(*at) for at in self._ends]
        committed = {(at.topic, at.partition): max(0, at.offset) for at in self._group.committed(wanted, timeout=10)}
        return sum(end - committed[at] for at, end in self._ends.items())

    def owners(self) -> set[str]:
        """Workers that hold partitions of the fact topics now: those whose stores are locked by a living process."""
        return {name for name, worker in self._workers.items() if open_stores(worker.pid)}

    def logs(self) -> str:
        """The end of every worker's log."""
        return "\n".join(
            f"--- {log.parent.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            for log in sorted(self.folder.glob("*/log.txt"))
        )

    def _read(self) -> None:
        for message in self._canonical.more():
            record = json.loads(message.value())
            key = message.key().decode()
            self.records[key] = record
            self.versions.append(Version(key, record["version"], record["published_at"]))
        self.dead_letters += [json.loads(message.value()) for message in self._letters.more(0.01)]
        for message in self._modes.more(0.01):
            key = message.key().decode()
            self.modes[key] = {"topic": MODES.name, "key": key, "value": json.loads(message.value())}
            self.modes_seen += 1
        self.mode_changes += [json.loads(message.value()) for message in self._changes.more(0.01)]

    # -- life

    def _create_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
        wanted = [
            NewTopic(t.name, PARTITIONS if t.co_partitioned else 1, 1, config=dict(t.settings)) for t in CATALOGUE
        ]
        for future in admin.create_topics(wanted).values():
            future.result(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.kill()
        self._group.close()
        self._canonical.close()
        self._letters.close()
        self._modes.close()
        self._changes.close()
        self._producer.purge()


def _stamp_ms(line: Line) -> int:
    """The time a line brings: a fact's recording, a heartbeat's watermark."""
    name = "recorded_at" if line["topic"] in FACT_NAMES else "watermark"
    said = (line["value"] or {}).get(name)
    return to_ms(datetime.fromisoformat(said)) if said else 1


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    shown = [f"{key}: {_fields(expected.get(key, {}), found.get(key, {}))}" for key in wrong[:3]]
    return f"{len(wrong)} of {len(expected)} records differ\n" + "\n".join(shown)


def _fields(expected: dict[str, Any], found: dict[str, Any]) -> str:
    names = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    return "; ".join(f"{name}: fold {expected.get(name)}, topic {found.get(name)}" for name in sorted(names))


def is_fact(line: Line) -> bool:
    """Whether a line lies on a fact topic."""
    return line["topic"] in FACT_NAMES

"""Follows topics from their beginning in a thread of its own, and knows when it has everything.

A partition is *complete* at the instant at which the broker was asked for its end, if everything before that end had
been read when the answer came. Ends are asked for all partitions at once, without waiting, every `ASK_S`; so a quiet
topic stays complete, and a broker that does not answer makes it old. Reads committed records only; where the broker
has no transactions the same holds for all records. A partition that was made anew is read anew. The embedded broker
names the start of the last batch as the end, so a start also waits for the end that the reading itself comes to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from atp.admin import silent_logger

ASK_S, POLL_S, RETRY_S = 1.0, 0.05, 0.5
READ_AT_ONCE = 2_000
TIMEOUT_S = 5.0
# Group membership is not used; the name only shows up in the broker's logs.
CONSUMER: dict[str, Any] = {
    "group.id": "atp-follower",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 100,
    "log_level": 0,
}
Place = tuple[str, int]


class Sink(Protocol):
    """Takes what is read; called from the follower's thread only."""

    def begin(self, places: Sequence[Place]) -> None:
        """These partitions will be read."""

    def take(self, message: Any) -> None:
        """The next message of a partition."""

    def complete(self, place: Place, at_ms: int) -> None:
        """A partition was complete at an instant of the monotonic clock."""

    def forget(self, place: Place) -> None:
        """A partition began anew."""


def monotonic_ms() -> int:
    """The clock by which ages are measured (ms)."""
    return time.monotonic_ns() // 1_000_000


class _Asked(NamedTuple):
    """The ends that were asked for at an instant."""

    at_ms: int
    futures: dict[Place, Future[Any]]
    identities: dict[str, Future[Any]]

    def done(self) -> bool:
        """Whether the broker has answered, or will not."""
        return all(future.done() for futures in (self.futures, self.identities) for future in futures.values())


class Follower:
    """Reads `topics` (name → required) into a sink until it is stopped. A topic that is not there is left out."""

    def __init__(
        self,
        config: dict[str, Any],
        topics: dict[str, bool],
        sink: Sink,
        on_error: Callable[[str], None] = lambda _error: None,
    ) -> None:
        self._config, self._topics, self._sink, self._on_error = config, topics, sink, on_error
        self.error: str | None = None
        self.missing: list[str] = []
        self.ready = threading.Event()
        self.ends: dict[Place, int] = {}
        self.reached: dict[Place, int] = {}
        self._stop = threading.Event()
        self._asked: _Asked | None = None
        self._identities: dict[str, str] = {}
        self._targets: dict[Place, tuple[int, int]] = {}  # when an end was asked for, and the end
        self._next_ask_s = 0.0
        self._ended: set[Place] = set()  # the end was seen at least once; see the embedded broker above
        self._complete: set[Place] = set()
        self._thread = threading.Thread(target=self._run, name="atp-follower", daemon=True)

    def start(self) -> None:
        """Begin in the background."""
        self._thread.start()

    def stop(self, timeout_s: float = TIMEOUT_S) -> None:
        """End, and wait for the end."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def lag(self) -> int:
        """Offsets between what was read and the ends that the broker last told."""
        return sum(max(0, end - self.reached.get(place, 0)) for place, end in self.ends.items())

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except KafkaException as error:
                self._say(error.args[0].str())
                self._stop.wait(RETRY_S)
            except BaseException as error:  # nobody would see a thread that ended
                self._say(f"{type(error).__name__}: {error}")
                self.ready.clear()
                raise

    def _say(self, error: str | None) -> None:
        if error != self.error:
            self.error = error
            if error is not None:
                self._on_error(error)

    def _follow(self) -> None:
        logger = silent_logger()
        consumer = Consumer({**CONSUMER, **self._config}, logger=logger)
        admin = AdminClient({**self._config, "log_level": 0}, logger=logger)
        try:
            places = self._places(admin)
            self._sink.begin(places)
            self.reached, self.ends = dict.fromkeys(places, 0), {}
            self._targets, self._ended, self._complete, self._asked = {}, set(), set(), None
            self._next_ask_s = 0.0
            self._identities = {n: str(f.result().topic_id) for n, f in self._describe(admin).items()}
            consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in places])
            while not self._stop.is_set():
                for message in consumer.consume(READ_AT_ONCE, timeout=POLL_S):
                    self._take(consumer, message)
                self._ask(admin)
        finally:
            consumer.close()

    def _places(self, admin: AdminClient) -> list[Place]:
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        self.missing = [name for name in self._topics if name not in known]
        if absent := [name for name in self.missing if self._topics[name]]:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {', '.join(absent)}"))
        return [(name, p) for name in self._topics if name in known for p in range(len(known[name].partitions))]

    def _describe(self, admin: AdminClient) -> dict[str, Future[Any]]:
        names = TopicCollection(sorted({topic for topic, _ in self.reached}))
        return dict(admin.describe_topics(names, request_timeout=TIMEOUT_S))

    def _take(self, consumer: Consumer, message: Any) -> None:
        error, place = message.error(), (message.topic(), message.partition())
        if error is None:
            self._sink.take(message)
            self.reached[place] = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            self.reached[place] = max(self.reached[place], message.offset())
            self._ended.add(place)
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._again(consumer, place)
        else:
            self._say(error.str())

    def _again(self, consumer: Consumer, place: Place) -> None:
        self.reached[place] = 0
        self._ended.discard(place)
        self._complete.discard(place)
        self._targets.pop(place, None)
        self._sink.forget(place)
        consumer.incremental_unassign([TopicPartition(*place)])
        consumer.incremental_assign([TopicPartition(*place, OFFSET_BEGINNING)])

    def _ask(self, admin: AdminClient) -> None:
        """Look at the ends that were asked for; ask again when it is time."""
        if self._asked is not None and self._asked.done():
            asked, self._asked = self._asked, None
            self._note_ends(asked)
        self._judge()
        if self._asked is None and time.monotonic() >= self._next_ask_s:
            self._next_ask_s = time.monotonic() + ASK_S
            # one that still waits is not asked for: under steady traffic a newer end would never be reached in time
            open_places = [place for place in self.reached if place not in self._targets]
            specs = {TopicPartition(*place): OffsetSpec.latest() for place in open_places}
            if not specs:
                return
            found = admin.list_offsets(
                specs, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT_S
            )
            futures = {(tp.topic, tp.partition): future for tp, future in found.items()}
            self._asked = _Asked(monotonic_ms(), futures, self._describe(admin))

    def _note_ends(self, asked: _Asked) -> None:
        """Raises when a topic is another one than before; what the broker does not tell only makes the view older."""
        found, wrong = _results(asked.identities)
        if any(str(topic.topic_id) != self._identities[name] for name, topic in found.items()):
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_ID, "a topic was made anew"))
        ends, wrong_ends = _results(asked.futures)
        if wrong is None:  # only the ends of topics that are surely the same count
            self.ends |= {place: result.offset for place, result in ends.items()}
            self._targets |= {place: (asked.at_ms, result.offset) for place, result in ends.items()}
        self._say(wrong or wrong_ends)

    def _judge(self) -> None:
        """Which partitions have got to an end that was asked for."""
        for place, (asked_ms, end) in list(self._targets.items()):
            if self.reached[place] >= end and place in self._ended:
                del self._targets[place]
                self._complete.add(place)
                self._sink.complete(place, asked_ms)
        if len(self._complete) == len(self.reached):
            self.ready.set()
        else:
            self.ready.clear()


def _results(futures: dict[Any, Future[Any]]) -> tuple[dict[Any, Any], str | None]:
    """What was answered, and the last error."""
    found, wrong = {}, None
    for name, future in futures.items():
        try:
            found[name] = future.result()
        except KafkaException as error:
            wrong = error.args[0].str()
    return found, wrong

"""What a consumer that reads committed records sees: topics to their end, and the published ones as they come."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from atp.admin import silent_logger
from atp.topics import AVAILABILITY, DEAD_LETTERS

Place = tuple[str, int]
AT_ONCE = 5_000
PATIENCE_S = 180.0  # without any progress: a broker may be coming back


class Tail:
    """Reads some partitions from their beginning, to the end and further on."""

    def __init__(self, bootstrap: str, places: Iterable[Place]) -> None:
        self.places = list(places)
        self._ended: dict[Place, int] = dict.fromkeys(self.places, -1)
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": f"faults-{uuid.uuid4().hex}", "enable.auto.commit": False,
            "isolation.level": "read_committed", "enable.partition.eof": True, "fetch.wait.max.ms": 50,
            "reconnect.backoff.max.ms": 500, "log_level": 0,
        }, logger=silent_logger())  # fmt: skip
        self._consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in self.places])

    def more(self, timeout_s: float = 0.1) -> list[Message]:
        """What has come since; a broker that does not answer is waited for."""
        found = []
        for message in self._consumer.consume(AT_ONCE, timeout_s):
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended[message.topic(), message.partition()] = message.offset()
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.UNKNOWN_TOPIC_OR_PART):
                raise KafkaException(error)
        return found

    def to_the_end(self) -> Iterator[Message]:
        """Everything up to the ends that the partitions have now."""
        ends = {place: self._end(place) for place in self.places}
        deadline = time.monotonic() + PATIENCE_S
        while left := {place: end for place, end in ends.items() if self._ended[place] < end}:
            found = self.more()
            if found:
                deadline = time.monotonic() + PATIENCE_S
            yield from found
            assert time.monotonic() < deadline, f"nothing came for {PATIENCE_S:.0f} s; not read: {left}"

    def _end(self, place: Place) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                start, end = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=5)
            except KafkaException:
                assert time.monotonic() < deadline, f"{place} has no leader"
            else:
                return int(end) if end > start else -1

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


class _Record(msgspec.Struct):
    version: int


_version = msgspec.json.Decoder(_Record).decode


class Watcher(threading.Thread):
    """Follows what is published from the first record on: versions that went back, gaps in service, dead letters."""

    def __init__(self, bootstrap: str, partitions: int, sample: Callable[[], None]) -> None:
        super().__init__(name="watcher")
        numbers = range(partitions)
        self._tail = Tail(bootstrap, [(topic.name, n) for topic in (AVAILABILITY, DEAD_LETTERS) for n in numbers])
        self._sample = sample
        self._over = threading.Event()
        self.error: BaseException | None = None
        self.records: dict[str, bytes] = {}
        self.versions: dict[str, int] = {}
        self.fell: list[str] = []  # a version that did not rise
        self.letters: list[Any] = []
        self.count = 0
        self.came_s = dict.fromkeys(numbers, time.monotonic())
        self.gaps_s = dict.fromkeys(numbers, 0.0)

    def run(self) -> None:
        """Read until told to stop."""
        try:
            while not self._over.is_set():
                for message in self._tail.more():
                    self._take(message)
                self._sample()
        except BaseException as error:  # noqa: BLE001 # told to whoever asks next
            self.error = error
        finally:
            self._tail.close()

    def _take(self, message: Message) -> None:
        if message.topic() == DEAD_LETTERS.name:
            self.letters.append((message.partition(), msgspec.json.decode(message.value())))
            return
        key, version, now_s = message.key().decode(), _version(message.value()).version, time.monotonic()
        if version <= self.versions.get(key, 0):
            self.fell.append(f"{key}: version {version} after {self.versions[key]}")
        self.records[key], self.versions[key] = message.value(), version
        self.count += 1
        number = message.partition()
        self.gaps_s[number] = max(self.gaps_s[number], now_s - self.came_s[number])
        self.came_s[number] = now_s

    def mark(self) -> None:
        """From here on gaps in service are measured afresh."""
        now_s = time.monotonic()
        for number in self.gaps_s:
            self.gaps_s[number], self.came_s[number] = 0.0, now_s

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()

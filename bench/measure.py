"""Measures one peer: committed offsets against CPU time, sampled until it has caught up.

The window runs from the first to the last commit seen, so start-up counts for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.load import partitions_of

SAMPLE_S = 0.05
STALL_S = 60.0


@dataclass(frozen=True)
class Sample:
    """State at one instant; CPU in seconds since the process began."""

    at_s: float
    committed: int
    peer_cpu_s: float
    broker_cpu_s: float


@dataclass(frozen=True)
class Figures:
    """What a peer did in its window."""

    events: int
    wall_s: float
    cpu_s: float
    broker_cpu_s: float
    first_commit_after_s: float
    rss_max_mb: int

    @property
    def events_per_s(self) -> float:
        """Events per second on the clock."""
        return self.events / self.wall_s

    @property
    def events_per_cpu_s(self) -> float:
        """Events per second of CPU of the peer's processes (user and system)."""
        return self.events / self.cpu_s


@dataclass(frozen=True)
class Output:
    """Contents of an output topic written by transactions."""

    records: int
    partition_commits: int
    keys: int


class StalledError(RuntimeError):
    """A peer made no progress for a minute, or ended."""


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system seconds of processes and their children so far."""
    total = 0.0
    for pid in pids:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
    return total


class Group:
    """A consumer group's committed offsets over some topics."""

    def __init__(self, bootstrap: str, name: str, topics: Sequence[str]) -> None:
        # A consumer that never joins: asking by the admin client crashed with a group not yet known.
        self._reader = Consumer({"bootstrap.servers": bootstrap, "group.id": name})
        self._name, self._places = name, partitions_of(topics)

    def committed(self) -> int:
        """Sum of committed offsets; 0 while the group is unknown."""
        try:
            return sum(max(0, place.offset) for place in self._reader.committed(self._places, timeout=10))
        except KafkaException:
            return 0

    def wait(self, limit: int, alive: Callable[[], bool], each: Callable[[int], None] | None = None) -> None:
        """Return when `limit` events are committed; calls `each` with every figure seen.

        Raises:
            StalledError: the peer ended, or committed nothing new for `STALL_S`.
        """
        last, changed_s = 0, time.monotonic()
        while last < limit:
            if not alive():
                raise StalledError(f"{self._name} ended at {last} of {limit} events")
            seen = self.committed()
            if each:
                each(seen)
            if seen > last:
                last, changed_s = seen, time.monotonic()
            if time.monotonic() - changed_s > STALL_S:
                raise StalledError(f"{self._name} stalled at {last} of {limit} events")
            time.sleep(SAMPLE_S)


def measure(group: Group, limit: int, pid: int, broker_pids: Sequence[int], alive: Callable[[], bool]) -> Figures:
    """Follow a peer until `limit` events are committed."""
    started_s = time.monotonic()
    samples: list[Sample] = []
    rss_mb: list[int] = [0]

    def take(committed: int) -> None:
        samples.append(Sample(time.monotonic(), committed, cpu_seconds([pid]), cpu_seconds(broker_pids)))
        rss_mb.append(psutil.Process(pid).memory_info().rss >> 20)

    group.wait(limit, alive, take)
    first = next(sample for sample in samples if sample.committed)
    last = samples[-1]
    return Figures(
        events=last.committed - first.committed,
        wall_s=last.at_s - first.at_s,
        cpu_s=last.peer_cpu_s - first.peer_cpu_s,
        broker_cpu_s=last.broker_cpu_s - first.broker_cpu_s,
        first_commit_after_s=first.at_s - started_s,
        rss_max_mb=max(rss_mb),
    )


def read_output(bootstrap: str, topic: str) -> Output:
    """Count the records and the commit markers of an output topic; an offset without a record is a marker."""
    time.sleep(1)  # the markers of the last transaction follow its commit
    settings = {"bootstrap.servers": bootstrap, "group.id": "bench-output", "enable.partition.eof": True}
    consumer = Consumer({**settings, "isolation.level": "read_uncommitted"})
    places = partitions_of([topic])
    offsets = sum(consumer.get_watermark_offsets(place)[1] for place in places)
    consumer.assign([TopicPartition(place.topic, place.partition, 0) for place in places])
    records, ended, keys = 0, 0, set()
    while ended < len(places):
        for message in consumer.consume(10_000, timeout=5):
            if message.error():
                ended += 1
            else:
                records += 1
                keys.add(message.key())
    consumer.close()
    if not records:
        raise StalledError(f"nothing was published to {topic}: the facts were committed, but not processed")
    return Output(records, offsets - records, len(keys))

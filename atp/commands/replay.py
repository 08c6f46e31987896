"""The replay of `atp demo`: produces facts in order, folds each as it goes, never runs far ahead of the worker."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, Producer

from atp.commands import clients
from atp.commands.errors import CommandError
from atp.domain.decoding import decode
from atp.domain.facts import FACT_TYPES
from atp.domain.fold import State, World, apply, reckon
from atp.domain.freshness import parse_heartbeat
from atp.domain.nodes import parse_node
from atp.domain.policy import parse_policy
from atp.domain.record import comparable, content_bytes, record_bytes, record_key
from atp.domain.refusals import Refusal
from atp.domain.times import rfc3339
from atp.lane.keys import partition_of
from atp.sources.retail_outbox import Record
from atp.sources.retail_world import REGIONS, SOURCES
from atp.topics import HEARTBEATS, NODES, POLICIES

CHUNK, PACED_CHUNK = 500, 20
AHEAD_FACTS = 100_000  # under way: what a worker reads ahead is memory, and lag
LOOK_S = 0.05
LINGER_MS = 100
FLUSH_S = 60.0
Comparable = dict[str, dict[str, Any]]


class Fold:
    """The same facts folded without broker or worker: what their records are held against."""

    def __init__(self) -> None:
        self.state, self.world = State.in_memory(), World()
        self.horizons = self.world.policies.horizons()
        self.by_sku: Counter[str] = Counter()
        self.refused = 0
        self._beats: dict[bytes, bytes] = {}

    def take(self, record: Record) -> bool:
        """Take a record in; whether it is a fact."""
        topic, key, value, recorded_ms = record
        if topic not in FACT_TYPES:
            self._take_control(topic, key, value)
            return False
        fact = decode(topic, value)
        if isinstance(fact, Refusal) or isinstance(apply(fact, self.state, self.horizons, recorded_ms), Refusal):
            self.refused += 1
        else:
            self.by_sku[fact.sku] += 1
        return True

    def _take_control(self, topic: str, key: bytes, value: bytes) -> None:
        if topic == HEARTBEATS.name:
            self._beats[key] = value  # only the latest of each source and region counts
        elif topic == NODES.name:
            node = parse_node(msgspec.json.decode(value))
            self.world.nodes[node.node] = node
        elif topic == POLICIES.name:
            self.world.policies.put(parse_policy(msgspec.json.decode(value)))
            self.horizons = self.world.policies.horizons()

    def records(self, now_ms: int) -> Comparable:
        """The comparable content of every record, by key."""
        for value in self._beats.values():
            self.world.watermarks.put(parse_heartbeat(msgspec.json.decode(value)))
        found = {}
        for sku in self.by_sku:
            for region, reckoning in reckon(sku, self.state, self.world, self.horizons, now_ms):
                content = content_bytes(reckoning.content)
                record = record_bytes(sku, region, 1, now_ms, now_ms, content, b"{}")
                found[record_key(sku, region)] = comparable(msgspec.json.decode(record))
        return found


def make_producer(config: dict[str, Any]) -> Producer:
    """A producer that tells of failures only: a report for each of a million successes would cost seconds.

    It lingers: full batches cost the broker and the workers, which share this machine, a fraction of small ones.
    """
    options = {"delivery.report.only.error": True, "on_delivery": _failed, "linger.ms": LINGER_MS}
    return clients.make_producer(config, **options)


def _failed(error: KafkaError | None, message: Message) -> None:
    if error is not None:
        raise CommandError(f"a record of {message.topic()} was not delivered: {error.str()}")


class Sample(msgspec.Struct, gc=False):
    """A fact whose way is timed: where it lies, and when it was produced."""

    topic: str
    offset: int
    produced_s: float


class Replay:
    """Records on their way to the broker, and the fold beside it."""

    def __init__(self, records: Iterator[Record], producer: Producer, group: Consumer, config: Pace) -> None:
        self._records, self._producer, self._group, self._pace = records, producer, group, config
        self.fold = Fold()
        self.sent = self.facts = self.consumed = 0
        self.replay_ms = self.start_ms = 0
        self.waited_s = 0.0
        self.samples: list[deque[Sample]] = [deque() for _ in range(config.partitions)]
        self.counts = {(topic, p): 0 for topic in FACT_TYPES for p in range(config.partitions)}
        self._looked_s = self._began_s = 0.0

    @property
    def consumed_all(self) -> bool:
        """Whether the workers have committed everything that was produced."""
        return self.consumed >= self.facts

    def step(self) -> bool:
        """Send and fold the next records, or wait a moment; False once all are sent."""
        now_s = time.monotonic()
        self._began_s = self._began_s or now_s
        if self._must_wait(now_s):
            time.sleep(0.005)
            self.waited_s += time.monotonic() - now_s
            self._producer.poll(0)
            return True
        chunk = list(islice(self._records, self._pace.chunk))
        self._send(chunk, now_s)
        for record in chunk:
            self.facts += self.fold.take(record)
        return bool(chunk)

    def _must_wait(self, now_s: float) -> bool:
        if self.start_ms and self.replay_ms > self._pace.until_ms(self.start_ms, now_s - self._began_s):
            self.look()
            return True
        if self._too_far_ahead():
            self.look()
            return self._too_far_ahead()
        return False

    def _too_far_ahead(self) -> bool:
        return self.facts - self.consumed > AHEAD_FACTS

    def look(self) -> None:
        """See how far the workers have come; not more often than is useful."""
        if time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        found = clients.committed(self._group, self.counts)
        self.consumed = sum(max(0, at) for at in found.values())

    def _send(self, chunk: list[Record], now_s: float) -> None:
        if not chunk:
            return
        produce, counts, partitions = self._producer.produce, self.counts, self._pace.partitions
        sampled = False
        for topic, key, value, recorded_ms in chunk:
            produce(topic, value, key, timestamp=recorded_ms)
            if topic in FACT_TYPES:
                place = topic, partition_of(key.decode(), partitions)
                if not sampled:  # topics are fresh: what was sent before tells the offset
                    self.samples[place[1]].append(Sample(topic, counts[place], now_s))
                    sampled = True
                counts[place] += 1
        self.replay_ms = chunk[-1][3]
        self.start_ms = self.start_ms or chunk[0][3]
        self.sent += len(chunk)
        self._producer.poll(0)

    def finish(self) -> int:
        """Let every source say that it has sent all; answer the replay's last instant."""
        end_ms = self.replay_ms
        for record in final_heartbeats(end_ms):
            self.fold.take(record)
            self._producer.produce(record[0], record[2], record[1], timestamp=record[3])
        if self._producer.flush(FLUSH_S):
            raise CommandError(f"the broker did not take all records within {FLUSH_S:.0f} s")
        return end_ms


class Pace(msgspec.Struct, frozen=True):
    """How fast the replay may go, and over how many partitions."""

    partitions: int
    speed: float | None = None  # seconds of replay per second; None: as fast as the worker takes it

    @property
    def chunk(self) -> int:
        """Records sent at once."""
        return CHUNK if self.speed is None else PACED_CHUNK

    def until_ms(self, start_ms: int, spent_s: float) -> float:
        """How far the replay may have come after so many seconds."""
        return float("inf") if self.speed is None else start_ms + spent_s * self.speed * 1000


def final_heartbeats(end_ms: int) -> Iterator[Record]:
    """Every source and region: all facts recorded up to the end were sent."""
    for source in SOURCES:
        for region in REGIONS:
            document = {"type": "source.alive", "source": source, "region": region, "watermark": rfc3339(end_ms)}
            yield HEARTBEATS.name, f"{source}|{region}".encode(), msgspec.json.encode(document), end_ms

"""End-to-end latency: from sending a fact to reading the canonical record that contains it.

Adjustments are the probes: each changes its record for sure, and the record's `inputs` name the offset up to
which it has read.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict, deque
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition

from atp.domain.facts import STOCK_TOPIC
from bench.load import AVAILABILITY_TOPIC, Sender, partitions_of
from bench.workload import Record, Workload

SLICE_S = 0.01
DRAIN_S = 10.0
PROBE_EVERY = 20


class Probes:
    """Facts under way, by canonical key: (offset, sent at)."""

    def __init__(self) -> None:
        self.waiting: dict[str, deque[tuple[int, float]]] = defaultdict(deque)
        self.latencies_ms: list[float] = []
        self.sent = 0
        # A record may be read before we hear where its fact lies: by key, up to where was read, and when.
        self._read: dict[str, tuple[int, float]] = {}

    def watch(self, record: Record) -> Any:
        """A delivery callback that notes the offset, if this fact is a probe."""
        if b'"stock.adjusted"' not in record.value:
            return None
        fact = json.loads(record.value)
        key, sent_s = f"{fact['sku']}|{fact['node'][:2]}", time.monotonic()

        def delivered(error: Any, message: Message) -> None:
            if error is not None:
                return
            self.sent += 1
            upto, at_s = self._read.get(key, (-1, 0.0))
            if message.offset() <= upto:
                self.latencies_ms.append((at_s - sent_s) * 1000)
            else:
                self.waiting[key].append((message.offset(), sent_s))

        return delivered

    def arrived(self, message: Message) -> None:
        """Close the probes this canonical record contains."""
        key = message.key().decode()
        if not message.value():
            return
        now_s, upto = time.monotonic(), json.loads(message.value())["inputs"].get(STOCK_TOPIC, -1)
        self._read[key] = upto, now_s
        waiting = self.waiting.get(key)
        while waiting and waiting[0][0] <= upto:
            self.latencies_ms.append((now_s - waiting.popleft()[1]) * 1000)

    def summary(self, rate: float) -> dict[str, Any]:
        """p50, p99 and maximum in ms, and how many probes never came back."""
        found = sorted(self.latencies_ms)
        if not found:
            return {"events_per_s": rate, "probes": self.sent, "lost": self.sent}
        return {
            "events_per_s": rate,
            "probes": self.sent,
            "lost": self.sent - len(found),
            "p50_ms": round(found[len(found) // 2], 1),
            "p99_ms": round(found[len(found) * 99 // 100], 1),
            "max_ms": round(found[-1], 1),
        }


def _follow(bootstrap: str) -> Consumer:
    """A reader at the end of the canonical topic."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "bench-latency", "fetch.wait.max.ms": 10}
    consumer = Consumer({**settings, "isolation.level": "read_committed"})
    places = partitions_of([AVAILABILITY_TOPIC])
    consumer.assign([TopicPartition(p.topic, p.partition, consumer.get_watermark_offsets(p)[1]) for p in places])
    return consumer


def measure_latency(bootstrap: str, workload: Workload, rate: float, seconds: float) -> dict[str, Any]:
    """Send further facts of the workload at `rate` a second and time the probes."""
    records = list(itertools.islice(workload, int(rate * seconds)))
    sender, consumer, probes = Sender(bootstrap, workload.skus, linger_ms=2), _follow(bootstrap), Probes()
    started_s, sent = time.monotonic(), 0
    while sent < len(records):
        due = min(len(records), int((time.monotonic() - started_s) * rate))
        for number in range(sent, due):
            record = records[number]
            sender.send(record, None, probes.watch(record) if number % PROBE_EVERY == 0 else None)
        sent = due
        _collect(sender, consumer, probes)
    took_s = time.monotonic() - started_s
    deadline_s = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline_s and (probes.sent == 0 or any(probes.waiting.values())):
        _collect(sender, consumer, probes)
    consumer.close()
    return probes.summary(round(len(records) / took_s))


def _collect(sender: Sender, consumer: Consumer, probes: Probes) -> None:
    sender.producer.poll(0)
    for message in consumer.consume(5000, timeout=SLICE_S):
        if not message.error():
            probes.arrived(message)

"""What careless sources send: a tenth twice, some late, some ids used again for something else, some nonsense.

`Workload` of the benchmark gives valid facts of one simulated day; here they are repeated, shuffled and spoilt.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Iterator
from typing import NamedTuple

from atp.lane.keys import partition_of
from atp.topics import FACT_TOPICS
from bench.workload import Record, Workload

REPEATED, LATE, REUSED, POISONED = 0.10, 0.15, 0.005, 0.003
LATE_BY, REPEATED_BY = 200, 400  # records, at most
OVERSIZE_BYTES = 100_000  # beyond what a dead letter keeps of its raw value


class Sent(NamedTuple):
    """One record to be produced."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    timestamp_ms: int


class Careless:
    """An endless iterator of records; the same seed gives the same ones."""

    def __init__(self, seed: int, skus: int, day_facts: int, partitions: int) -> None:
        self._workload = Workload(day_facts, seed, skus)
        self._partitions = partitions
        self._rng = random.Random(seed)
        self._waiting: list[tuple[int, int, Sent]] = []
        self._order = itertools.count()
        self._records = self._generate()

    def __iter__(self) -> Iterator[Sent]:
        return self._records

    def _generate(self) -> Iterator[Sent]:
        for at, record in enumerate(self._workload):
            self._plan(at, record)
            while self._waiting and self._waiting[0][0] <= at:
                yield heapq.heappop(self._waiting)[2]

    def _plan(self, at: int, record: Record) -> None:
        rng, sent = self._rng, self._sent(record)
        due = at + (rng.randint(1, LATE_BY) if rng.random() < LATE else 0)
        self._push(due, sent)
        if rng.random() < REPEATED:
            self._push(at + rng.randint(0, REPEATED_BY), sent)
        if rng.random() < REUSED and (other := _other_payload(sent.value)):
            self._push(due + 1, sent._replace(value=other))  # after the first of its partition
        if rng.random() < POISONED:
            self._push(at, self.poison(sent))

    def _sent(self, record: Record) -> Sent:
        key = self._workload.skus[record.sku]
        return Sent(record.topic, partition_of(key.decode(), self._partitions), key, record.value, record.recorded_ms)

    def _push(self, due: int, sent: Sent) -> None:
        heapq.heappush(self._waiting, (due, next(self._order), sent))

    def chance(self, share: float) -> bool:
        """True this often."""
        return self._rng.random() < share

    def poison(self, like: Sent) -> Sent:
        """A record that must be refused: bytes, schema, no key, another's key or partition, oversize."""
        topic = self._rng.choice(FACT_TOPICS).name
        elsewhere = (like.partition + 1) % self._partitions
        return self._rng.choice([
            like._replace(topic=topic, value=b"\xff\x00 no JSON"),
            like._replace(topic=topic, value=b'{"type":"stock.adjusted","event_id":7}'),
            like._replace(key=None),
            like._replace(key=b"another"),
            like._replace(partition=elsewhere),
            like._replace(topic=topic, value=b'"' + b"x" * OVERSIZE_BYTES + b'"'),
        ])  # fmt: skip


def _other_payload(value: bytes) -> bytes | None:
    """The same event id with another quantity, where that is simple."""
    fact = json.loads(value)
    if fact["type"] == "stock.adjusted":
        return json.dumps({**fact, "delta": fact["delta"] + 7 or 9}).encode()
    if fact["type"] == "stock.returned":
        return json.dumps({**fact, "quantity": fact["quantity"] + 7}).encode()
    return None

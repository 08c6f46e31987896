"""What should have come out: a fold of the fact topics as they lie on the broker, without the engine.

It reads topic by topic, not in the order in which the workers read: the outcome must be the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Message
from xxhash import xxh3_64_intdigest

from atp import topics
from atp.app import control, lanes
from atp.domain.decoding import decode
from atp.domain.fold import State, World, apply, reckon
from atp.domain.intake import Admitted, Horizons, misplaced
from atp.domain.record import content_bytes, record_key
from atp.domain.refusals import Refusal
from atp.domain.times import LATEST_NOW_MS
from atp.lane.keys import partition_of
from atp.lane.ports import Chunk, Record
from tests.faults.watch import Place, Tail

HORIZONS = Horizons()


class Here(NamedTuple):
    """The place of a record, as admission asks for it."""

    partition: int
    partitions: int

    def owns(self, key: str) -> bool:
        """Whether the key belongs here."""
        return partition_of(key, self.partitions) == self.partition


class Fold:
    """Grows with the topics; every record is folded once."""

    def __init__(self, bootstrap: str, partitions: int) -> None:
        self.bootstrap, self.partitions = bootstrap, partitions
        self.state = State.in_memory()
        self.skus: set[str] = set()
        self.refused: Counter[tuple[str, int, int]] = Counter()
        self.offsets: dict[Place, set[int]] = {}
        self.contents: dict[Place, set[int]] = {}
        self.facts = self.distinct = 0
        places = [(topic.name, number) for topic in topics.FACT_TOPICS for number in range(partitions)]
        self._tail = Tail(bootstrap, places)

    def advance(self) -> None:
        """Fold what has come since."""
        for message in self._tail.to_the_end():
            self._take(message)

    def _take(self, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        self.offsets.setdefault((topic, partition), set()).add(offset)
        self.contents.setdefault((topic, partition), set()).add(content_of(message))
        self.facts += 1
        outcome: Any = decode(topic, message.value())
        if not isinstance(outcome, Refusal):
            fact = outcome
            outcome = misplaced(fact, message.key(), Here(partition, self.partitions))
            outcome = outcome or apply(fact, self.state, HORIZONS, LATEST_NOW_MS)
        if isinstance(outcome, Refusal):
            self.refused[topic, partition, offset] += 1
        else:
            self.skus.add(fact.sku)
            self.distinct += isinstance(outcome, Admitted)

    def records(self, world: World, now_ms: dict[int, int]) -> dict[str, Any]:
        """Content of every canonical record, by key; `now_ms` of each partition."""
        return contents(self.state, self.skus, world, now_ms, self.partitions)

    def close(self) -> None:
        """Let go of the connection."""
        self._tail.close()


def content_of(message: Message) -> int:
    """A hash of what a record says."""
    return xxh3_64_intdigest(message.value() or b"", xxh3_64_intdigest(message.key() or b""))


def contents(
    state: State, skus: Iterable[str], world: World, now_ms: dict[int, int], partitions: int
) -> dict[str, Any]:
    """Content of the records of some SKUs, by key."""
    return {
        record_key(sku, region): msgspec.json.decode(content_bytes(reckoning.content))
        for sku in skus
        for region, reckoning in reckon(sku, state, world, HORIZONS, now_ms[partition_of(sku, partitions)])
    }


def world_of(bootstrap: str) -> World:
    """What people and sources have said, read from the control topics as a worker reads them."""
    views = [view for lane in lanes.values() for view in lane.world.views.views.values()]
    tail = Tail(bootstrap, {(view.topic, 0) for view in views})
    for message in tail.to_the_end():
        record = Record(message.topic(), 0, message.offset(), 0, message.key(), message.value())
        for view in views:
            if view.topic == message.topic():
                view.positions = [0]
                view.apply(Chunk(message.topic(), 0, 0, message.offset() + 1, 0, [record]))
    tail.close()
    for view in views:
        view.notify()
    return control.world

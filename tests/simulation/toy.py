"""A counting domain with everything the engine offers: marks, rows, buckets, wake times, a control view.

A fact is `id|units|ripe_ms`. A key's record is `total|ripe|policy`: all its units, those whose time has come, and
the policy it was reckoned with. `folded` says the same from the input topics alone, with nothing of the engine.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import xxhash

from atp.lane.batch import Batch
from atp.lane.keys import partition_of
from atp.lane.marks import MarkTable
from atp.lane.memory import MemoryBroker
from atp.lane.ports import Record
from atp.lane.spread import SpreadTable
from atp.lane.table import BaseTable, Table
from atp.lane.views import Views

INPUTS = ["in.a", "in.b"]
OUTPUT, LETTERS, CHANGELOG, CONTROL = "out", "letters", "changelog", "control"
FOREVER_MS = 1 << 60


class Count(msgspec.Struct, array_like=True):
    """Units of a key, with the times at which they become ripe."""

    total: int = 0
    ripening: list[tuple[int, int]] = []


class Published(msgspec.Struct, array_like=True):
    """What was last published for a key."""

    content: str = ""


class Event(msgspec.Struct, array_like=True):
    """One applied fact."""

    units: int


def parsed(record: Record) -> tuple[str, int, int] | None:
    """Id, units and time of a fact, or None."""
    try:
        name, units, ripe_ms = (record.value or b"").decode().split("|")
        return name, int(units), int(ripe_ms)
    except ValueError:
        return None


def digest(data: bytes) -> int:
    """What tells one fact from another."""
    return xxhash.xxh3_64_intdigest(data)


class Toy:
    """Stages `count` and `publish` of one worker process."""

    stages: ClassVar = ["count", "publish"]
    inputs: ClassVar = INPUTS

    def __init__(self, views: Views, agent_raises: Any) -> None:
        self._agent_raises = agent_raises
        self.counts: Table[Count] = Table("counts", Count)
        self.published: Table[Published] = Table("published", Published)
        self.events: SpreadTable[Event] = SpreadTable("events", Event, 4)
        self.marks = MarkTable("marks", 4, 1)
        self.tables: list[BaseTable] = [self.marks, self.events, self.counts, self.published]
        self.sweep_table = self.counts
        self.policies = views.add(CONTROL)

    async def run(self, stage: str, batch: Batch) -> None:
        """The agents."""
        batch.enter_stage(stage)
        with batch:
            (self._count if stage == "count" else self._publish)(batch)
        batch.check()

    def _count(self, batch: Batch) -> None:
        for record in batch:
            self._agent_raises("count")
            refusal = self._apply(batch, record)
            if refusal is not None:
                batch.refuse(record, refusal, "as the seed wanted")

    def _apply(self, batch: Batch, record: Record) -> str | None:
        fact, key = parsed(record), (record.key or b"").decode()
        if fact is None:
            return "POISON"
        if not batch.owns(key):
            return "WRONG_PARTITION"
        name, units, ripe_ms = fact
        payload = digest(record.value or b"")
        known = self.marks.get(key, digest(name.encode()))
        if known is not None:
            return None if known[0] == payload else "CONFLICT"
        self.marks.put(key, digest(name.encode()), payload, FOREVER_MS, 0)
        self.events.put(key, name, Event(units))
        row = self.counts.get((key,)) or Count()
        row.total += units
        row.ripening = [*row.ripening, (ripe_ms, units)]
        self.counts[key,] = row
        batch.touch(key)
        return None

    def _publish(self, batch: Batch) -> None:
        policy = (self.policies.get("policy") or b"0").decode()
        for key in sorted(batch.dirty | batch.due | batch.swept):
            self._agent_raises("publish")
            row = self.counts[key,]
            ripe = sum(units for at_ms, units in row.ripening if at_ms <= batch.now_ms)
            later = [at_ms for at_ms, _ in row.ripening if at_ms > batch.now_ms]
            if later:
                batch.wake_at(key, min(later))
            content = f"{row.total}|{ripe}|{policy}"
            last = self.published.get((key,))
            if last is None or last.content != content:
                self.published[key,] = Published(content)
                batch.send(OUTPUT, key.encode(), content.encode())


class Folded:
    """What the input topics alone say."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.totals: dict[str, int] = {}
        self.events: dict[str, dict[str, int]] = {}
        self.refused: dict[tuple[str, int, int], str] = {}
        seen: dict[tuple[str, str], bytes | None] = {}
        partitions = len(broker.topics[INPUTS[0]])
        for topic in INPUTS:
            for record in broker.records(topic):
                refusal = self._apply(record, seen, partitions)
                if refusal is not None:
                    self.refused[topic, record.partition, record.offset] = refusal
        self.policy = max([int(r.value or b"0") for r in broker.records(CONTROL)], default=0)

    def _apply(self, record: Record, seen: dict[tuple[str, str], bytes | None], partitions: int) -> str | None:
        fact, key = parsed(record), (record.key or b"").decode()
        if fact is None:
            return "POISON"
        if partition_of(key, partitions) != record.partition:
            return "WRONG_PARTITION"
        name, units, _ = fact
        if (key, name) in seen:
            return None if seen[key, name] == record.value else "CONFLICT"
        seen[key, name] = record.value
        self.totals[key] = self.totals.get(key, 0) + units
        self.events.setdefault(key, {})[name] = units
        return None

    def records(self) -> dict[str, str]:
        """The record of every key once all is ripe."""
        return {key: f"{total}|{total}|{self.policy}" for key, total in self.totals.items()}

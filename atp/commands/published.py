"""The published records as a consumer of the canonical topic sees them; with how late they are."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from atp.commands.replay import Comparable, Sample
from atp.domain.record import comparable
from atp.topics import AVAILABILITY

READ_AT_ONCE = 5_000
LAGS_SHOWN = 300


class Seen(msgspec.Struct):
    """What the view shows of a canonical record."""

    region: str
    atp: int
    flags: list[str]


class _Inputs(msgspec.Struct):
    inputs: dict[str, int]


_seen = msgspec.json.Decoder(Seen).decode
_inputs = msgspec.json.Decoder(_Inputs).decode


class Published:
    """The latest canonical record of every key."""

    def __init__(self, reader: Consumer, samples: list[deque[Sample]]) -> None:
        self._reader, self._samples = reader, samples
        self.latest: dict[str, bytes] = {}
        self.count = 0
        self.lags_ms: list[int] = []
        self._changed: set[str] = set()
        self._unseen: set[str] = set()
        self._shown: dict[str, Seen] = {}
        reader.assign([TopicPartition(AVAILABILITY.name, p, OFFSET_BEGINNING) for p in range(len(samples))])

    def read(self, wait_s: float = 0.0) -> int:
        """Take in what has been published; answer how much."""
        messages = [m for m in self._reader.consume(READ_AT_ONCE, timeout=wait_s) if m.error() is None]
        last: dict[int, bytes] = {}
        for message in messages:
            key, value = message.key().decode(), message.value()
            self.latest[key] = last[message.partition()] = value
            self._changed.add(key)
        self.count += len(messages)
        for partition, value in last.items():
            self._time(partition, value)
        return len(messages)

    def _time(self, partition: int, value: bytes) -> None:
        """Samples that lie before the inputs of a record are in what was published."""
        waiting = self._samples[partition]
        if not waiting:
            return
        inputs, now_s = _inputs(value).inputs, time.monotonic()
        kept = [sample for sample in waiting if sample.offset >= inputs.get(sample.topic, 0)]
        self.lags_ms += [int((now_s - s.produced_s) * 1000) for s in waiting if s.offset < inputs.get(s.topic, 0)]
        waiting.clear()
        waiting.extend(kept)

    def changed(self) -> set[str]:
        """Keys that were published since the last call."""
        found, self._changed = self._changed, set()
        self._unseen |= found
        return found

    def shown(self) -> dict[str, Seen]:
        """Every record as the view shows it."""
        self.changed()
        for key in self._unseen:
            self._shown[key] = _seen(self.latest[key])
        self._unseen.clear()
        return self._shown

    def flags(self) -> dict[str, Counter[str]]:
        """How many records carry each flag, by region."""
        found: dict[str, Counter[str]] = {}
        for seen in self.shown().values():
            found.setdefault(seen.region, Counter()).update(seen.flags)
        return found

    def lag(self, shown: int = LAGS_SHOWN) -> dict[str, int]:
        """Percentiles (ms) of the way from produced to published, over the latest samples."""
        lags = sorted(self.lags_ms[-shown:])
        if not lags:
            return {}
        return {f"p{p}": lags[min(len(lags) - 1, len(lags) * p // 100)] for p in (50, 95, 99)}


class Comparison:
    """The published records against what they should be."""

    def __init__(self, published: Published, expected: Comparable) -> None:
        self._published, self._expected = published, expected
        self.differing = set(expected)
        self._judge(set(published.latest))

    def update(self) -> None:
        """Judge what was published since."""
        self._judge(self._published.changed())

    def _judge(self, keys: set[str]) -> None:
        for key in keys:
            if self._found(key) == self._expected.get(key):
                self.differing.discard(key)
            else:
                self.differing.add(key)

    def _found(self, key: str) -> dict[str, Any]:
        return comparable(msgspec.json.decode(self._published.latest[key]))

    def difference(self, key: str) -> dict[str, list[Any]]:
        """field → [published, expected] of a key."""
        published = self._found(key) if key in self._published.latest else {}
        expected = self._expected.get(key, {})
        names = sorted(published.keys() | expected.keys())
        return {n: [published.get(n), expected.get(n)] for n in names if published.get(n) != expected.get(n)}

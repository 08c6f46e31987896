"""Input of one task, buffered per topic and merged in time order.

The log delivers what it fetches; the task takes what is due. While a topic-partition has a backlog, no
other is processed further than `max_skew_ms` ahead of it: a task that works off a long backlog would
otherwise let one topic run days ahead of the facts another still holds.

A paced topic is taken in small portions, so that a burst in it never makes the records of others wait.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Mapping
from itertools import accumulate

from atp.lane.errors import DiscontinuityError
from atp.lane.ports import Chunk, Record

UNSEEN = -1


class _Topic:
    """What is buffered of one topic: whole chunks, the first perhaps partly taken."""

    __slots__ = ("count", "end", "expected", "last_ms", "most", "pieces", "taken")

    def __init__(self, position: int, end: int, most: int) -> None:
        self.most = most  # records that a turn may take
        self.taken = position  # next offset the task will commit
        self.expected = position  # where the next chunk must start
        self.end = end
        self.last_ms = UNSEEN
        self.count = 0
        self.pieces: deque[tuple[list[Record], list[int], int]] = deque()

    @property
    def paced(self) -> bool:
        return self.most < sys.maxsize

    @property
    def behind(self) -> bool:
        return self.expected < self.end

    def skip_to(self, position: int) -> None:
        """Nothing but markers and gaps up to here."""
        if self.pieces:
            records, order, _ = self.pieces[-1]
            self.pieces[-1] = (records, order, position)
        else:
            self.taken = position


class Buffer:
    """The sink a log delivers to and a task takes from."""

    def __init__(
        self,
        positions: Mapping[str, int],
        ends: Mapping[str, int],
        limit: int,
        skew_ms: int,
        paced: Mapping[str, int] | None = None,
    ) -> None:
        most = paced or {}
        self._topics = {
            topic: _Topic(at, ends[topic], most.get(topic, sys.maxsize)) for topic, at in positions.items()
        }
        self._limit = limit
        self._skew_ms = skew_ms
        self._error: Exception | None = None
        self.arrived = asyncio.Event()

    def deliver(self, chunk: Chunk) -> None:
        """Take a chunk; it must start where the one before ended."""
        topic = self._topics[chunk.topic]
        if chunk.start != topic.expected:
            self.fail(DiscontinuityError(f"{chunk.topic} continued at {chunk.start}, not at {topic.expected}"))
            return
        topic.expected = chunk.next
        if not chunk.records:
            topic.end = chunk.end
            topic.skip_to(chunk.next)
            if not topic.behind and self.ready():  # it held others back
                self.arrived.set()
            return
        topic.end = max(topic.end, chunk.end)
        order = list(accumulate([r.timestamp_ms for r in chunk.records], max, initial=topic.last_ms))[1:]
        topic.last_ms = order[-1]
        topic.count += len(order)
        topic.pieces.append((chunk.records, order, chunk.next))
        self.arrived.set()

    def full(self, name: str) -> bool:
        """Whether enough of this topic is buffered."""
        return self._topics[name].count >= self._limit

    def fail(self, error: Exception) -> None:
        """Remember why input stopped; raised at the next take."""
        self._error = self._error or error
        self.arrived.set()

    @property
    def count(self) -> int:
        """Records buffered that a turn may take."""
        return sum([min(topic.count, topic.most) for topic in self._topics.values()])

    @property
    def broken(self) -> bool:
        """Whether the next take raises."""
        return self._error is not None

    def lag(self) -> dict[str, int]:
        """Per topic, offsets between what was taken and the last known end."""
        return {name: max(0, topic.end - topic.taken) for name, topic in self._topics.items()}

    def offsets(self) -> dict[str, int]:
        """Next offset per topic after everything taken so far."""
        return {name: topic.taken for name, topic in self._topics.items()}

    def consumed_ms(self, now_ms: int) -> int:
        """Before this time, at most `now_ms`, nothing is left: neither buffered nor, as far as is known, logged."""
        found = now_ms
        for topic in self._topics.values():
            if topic.pieces:
                found = min(found, topic.pieces[0][1][0])
            elif topic.behind:
                found = min(found, topic.last_ms)
        return found

    def take(self, limit: int, *, paced: bool = True) -> list[Record]:
        """Records that may be processed now, merged by time, stable per topic and in declared order.

        `paced`: those of paced topics too.
        """
        if self._error is not None:
            raise self._error
        horizon = self._horizon()
        topics = [topic for topic in self._topics.values() if paced or not topic.paced]
        taken = [self._take_topic(topic, min(limit, topic.most), horizon) for topic in topics]
        parts = [part for part in taken if part[0]]
        if len(parts) <= 1:
            return parts[0][0] if parts else []
        return _merge(parts)

    def ready(self, *, paced: bool | None = None) -> bool:
        """Whether a take would return records, or raise; `paced`: of paced topics only, or of the others."""
        if self._error is not None:
            return True
        horizon = self._horizon()
        topics = [topic for topic in self._topics.values() if paced is None or topic.paced is paced]
        return any(t.pieces and t.pieces[0][1][0] <= horizon for t in topics)

    def _horizon(self) -> float:
        behind = [topic.last_ms for topic in self._topics.values() if topic.behind]
        if not behind:
            return float("inf")
        oldest = min(behind)
        return oldest + self._skew_ms if oldest != UNSEEN else float("-inf")

    def _take_topic(self, topic: _Topic, limit: int, horizon: float) -> tuple[list[Record], list[int]]:
        records: list[Record] = []
        order: list[int] = []
        while topic.pieces and len(records) < limit:
            piece, times, end = topic.pieces[0]
            allowed = _allowed(times, limit - len(records), horizon)
            if allowed == len(piece):
                topic.pieces.popleft()
                topic.taken = end
            elif allowed:
                topic.pieces[0] = (piece[allowed:], times[allowed:], end)
                topic.taken = piece[allowed - 1].offset + 1
            records += piece[:allowed]
            order += times[:allowed]
            topic.count -= allowed
            if allowed < len(piece):
                break
        return records, order


def _allowed(times: list[int], room: int, horizon: float) -> int:
    if times[-1] <= horizon:
        return min(room, len(times))
    count = 0
    for at in times[:room]:
        if at > horizon:
            break
        count += 1
    return count


def _merge(parts: list[tuple[list[Record], list[int]]]) -> list[Record]:
    records: list[Record] = []
    times: list[int] = []
    for part, order in parts:
        records += part
        times += order
    return [records[i] for i in sorted(range(len(records)), key=times.__getitem__)]

"""Batches: what agents see of a turn. A turn is everything one commit makes true."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

import msgspec

from atp.lane.errors import BatchFailedError
from atp.lane.keys import partition_of
from atp.lane.ports import Headers, Out, Record
from atp.lane.rows import Rows
from atp.lane.table import BaseTable
from atp.lane.wakes import Wakes


class DeadLetter(msgspec.Struct):
    """A refused record as it is published: where it lay, why it was refused, and what it was."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    message: str
    key: str | None  # base64
    value: str | None  # base64, at most `dead_letter_bytes` of the raw value
    value_bytes: int
    value_sha256: str | None


class TaskTables:
    """The lane's tables with the rows of one task, bound together while a batch is open."""

    __slots__ = ("pairs", "wakes")

    def __init__(self, pairs: list[tuple[BaseTable, Rows]], wakes: Wakes) -> None:
        self.pairs = pairs
        self.wakes = wakes

    def bind(self) -> None:
        """Point the tables at this task."""
        for table, rows in self.pairs:
            table.bind(rows)

    def unbind(self) -> None:
        """Point the tables at nothing."""
        for table, _ in self.pairs:
            table.unbind()


class Turn:
    """What one commit will contain; batches of the turn add to it."""

    __slots__ = (
        "burst", "carried", "consumed_ms", "dead_letter_bytes", "dead_letters", "dirty", "due", "goes_on",
        "is_tick", "items", "more_asked", "now_ms", "offsets", "outputs", "partition", "partitions", "records",
        "sweep_asked", "swept", "tables",
    )  # fmt: skip

    def __init__(
        self,
        tables: TaskTables,
        partition: int,
        partitions: int,
        records: list[Record],
        now_ms: int,
        offsets: Mapping[str, int],
        *,
        is_tick: bool = False,
        due: Iterable[str] = (),
        swept: Iterable[str] = (),
        dead_letter_bytes: int = 65_536,
        consumed_ms: int | None = None,
        goes_on: bool = False,
        burst: bool = False,
    ) -> None:
        self.tables = tables
        self.partition = partition
        self.partitions = partitions
        self.records = records
        self.now_ms = now_ms
        self.offsets = offsets
        self.is_tick = is_tick
        self.due = set(due)
        self.swept = set(swept)
        self.dead_letter_bytes = dead_letter_bytes
        self.consumed_ms = now_ms if consumed_ms is None else consumed_ms
        self.goes_on = goes_on
        self.burst = burst
        self.dirty: dict[str, set[str] | None] = {}  # None: touched as a whole
        self.carried: dict[str, Headers] = {}
        self.items: dict[str, list[Any]] = {}
        self.outputs: dict[tuple[str, int], list[Out]] = {}
        self.dead_letters: list[Out] = []
        self.sweep_asked = False
        self.more_asked = False


class Batch:
    """One slice of a turn (or its keys, for the final stage), handed from stage to stage.

    Use it as `with batch:`; the block must be synchronous. An exception in the block fails the turn:
    nothing of it is committed.
    """

    __slots__ = ("_due", "_error", "_items", "_keys", "_swept", "_turn", "done", "on_done", "records", "stage")

    def __init__(self, turn: Turn, records: list[Record]) -> None:
        self._turn = turn
        self.records = records
        self.stage = ""
        self.done = False
        self.on_done: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._items: dict[str, list[Any]] = {}
        self._keys: set[str] | None = None
        self._due: set[str] = set()
        self._swept: set[str] = set()

    # -- what it holds

    @property
    def partition(self) -> int:
        """Partition number, the same over all input topics."""
        return self._turn.partition

    @property
    def partitions(self) -> int:
        """How many partitions each input topic has."""
        return self._turn.partitions

    @property
    def now_ms(self) -> int:
        """The task's time, the same for the whole turn; never goes back."""
        return self._turn.now_ms

    @property
    def is_tick(self) -> bool:
        """Whether this turn came from the passing of time alone."""
        return self._turn.is_tick

    @property
    def consumed_ms(self) -> int:
        """Records before this time were worked off, this turn's included, as far as the log has told."""
        return self._turn.consumed_ms

    @property
    def offsets(self) -> Mapping[str, int]:
        """Next offset per input topic once this turn is committed."""
        return self._turn.offsets

    @property
    def dirty(self) -> set[str]:
        """Keys touched in this turn; complete in the final stage."""
        return set(self._turn.dirty) if self._keys is None else self._keys

    @property
    def due(self) -> set[str]:
        """Keys whose wake time has come, without those in `dirty`."""
        return self._due

    @property
    def swept(self) -> set[str]:
        """Keys the sweep has reached, without those in `dirty` or `due`."""
        return self._swept

    def items(self, stage: str | None = None) -> list[Any]:
        """What was forwarded to a stage (default: the one running)."""
        return self._items.get(self.stage if stage is None else stage, [])

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items())

    def owns(self, key: str) -> bool:
        """Whether Kafka's default partitioner puts the key into this partition."""
        return partition_of(key, self._turn.partitions) == self._turn.partition

    # -- what agents do with it

    def forward(self, stage: str, item: Any) -> None:
        """Hand an item to a later stage of this batch; to the final stage: of this turn."""
        self._items.setdefault(stage, []).append(item)

    def touch(self, key: str, *parts: str) -> None:
        """Have the final stage look at this key; at some parts of it, or, without parts, at all of it."""
        dirty = self._turn.dirty
        if not parts:
            dirty[key] = None
        elif key not in dirty:
            dirty[key] = set(parts)
        else:
            known = dirty[key]
            if known is not None:
                known.update(parts)

    def touched(self, key: str) -> set[str] | None:
        """The parts of a key that were touched in this turn; None: all of it is to be looked at."""
        turn = self._turn
        return None if key in turn.swept or key in turn.due else turn.dirty.get(key)

    def carry(self, key: str, headers: Headers) -> None:
        """Keep headers of a record for what this turn will send about its key; the latest ones win."""
        self._turn.carried[key] = headers

    def carried(self, key: str) -> Headers:
        """What was kept for a key in this turn."""
        return self._turn.carried.get(key, ())

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = (), partition: int = -1
    ) -> None:
        """Write a record with this turn, by default to our own partition number of the topic."""
        at = (topic, self._turn.partition if partition < 0 else partition)
        self._turn.outputs.setdefault(at, []).append(Out(key, value, self._turn.now_ms, headers))

    def send_to_owner(self, topic: str, key: str, value: bytes) -> None:
        """Write a record with this turn to the partition that Kafka's default partitioner gives its key.

        The topic has as many partitions as ours.
        """
        self.send(topic, key.encode(), value, partition=partition_of(key, self._turn.partitions))

    def refuse(self, record: Record, code: str, message: str) -> None:
        """Send a record to the dead letters, with this turn."""
        raw, limit = record.value, self._turn.dead_letter_bytes
        letter = DeadLetter(
            topic=record.topic, partition=record.partition, offset=record.offset,
            timestamp_ms=record.timestamp_ms, reason=code, message=message,
            key=None if record.key is None else base64.b64encode(record.key[:limit]).decode(),
            value=None if raw is None else base64.b64encode(raw[:limit]).decode(),
            value_bytes=0 if raw is None else len(raw),
            value_sha256=None if raw is None else hashlib.sha256(raw).hexdigest(),
        )  # fmt: skip
        key = f"{record.topic}|{record.partition}|{record.offset}".encode()
        out = Out(key, msgspec.json.encode(letter), self._turn.now_ms)
        self._turn.dead_letters.append(out)

    def wake_at(self, key: str, at_ms: int) -> None:
        """Have the final stage look at this key at that time; the latest call for a key counts."""
        self._turn.tables.wakes.set(key, at_ms)

    def go_on(self) -> None:
        """Have the next turn come soon, with or without records: a long piece of work is done in small ones."""
        self._turn.more_asked = True

    def start_sweep(self) -> None:
        """Have the final stage look at every key, at the pace of the sweep."""
        self._turn.sweep_asked = True

    # -- the block

    def __enter__(self) -> Batch:
        self._turn.tables.bind()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._turn.tables.unbind()
        self._finish(error)
        # Swallowed here because it is not lost: the task raises it and fails the turn, while the agent
        # goes on with the next batch of another partition.
        return isinstance(error, Exception)

    # -- the task's side

    def enter_stage(self, stage: str) -> None:
        """The batch is about to be handed to a stage."""
        self.stage = stage
        self.done = False
        self._error = None

    def fail(self, error: BaseException) -> None:
        """The agent let go of the batch without handling it."""
        self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        self.done = True
        self._error = error
        if self.on_done is not None:
            self.on_done()

    def check(self) -> None:
        """Raise unless the agent handled the batch."""
        if self._error is not None:
            raise BatchFailedError(f"stage {self.stage!r} failed: {self._error!r}") from self._error
        if not self.done:
            raise BatchFailedError(f"stage {self.stage!r} did not handle its batch")


def slices(
    turn: Turn, first_stage: str, final_stage: str, size: int, further: Callable[[], bool] = lambda: False
) -> Iterator[Batch]:
    """The records of a turn in batches; a tick, or a turn that goes on, is one empty batch without records.

    `further`: whether another empty batch may follow where an agent has more to do.
    """
    records = turn.records
    for start in range(0, max(len(records), int(turn.is_tick or turn.goes_on)), size):
        yield from _slice(turn, records[start : start + size], first_stage, final_stage)
    while turn.more_asked and further():
        turn.more_asked = False
        yield from _slice(turn, [], first_stage, final_stage)


def _slice(turn: Turn, records: list[Any], first_stage: str, final_stage: str) -> Iterator[Batch]:
    batch = Batch(turn, records)
    batch._items[first_stage] = batch.records
    yield batch
    turn.items.setdefault(final_stage, []).extend(batch._items.pop(final_stage, ()))


def final_batches(turn: Turn, final_stage: str, size: int) -> Iterator[Batch]:
    """The touched, due and swept keys of a turn in batches; all forwarded items go with the first."""
    due = turn.due.difference(turn.dirty)
    swept = turn.swept.difference(turn.dirty, due)
    keys = [(0, k) for k in turn.dirty] + [(1, k) for k in due] + [(2, k) for k in swept]
    items = turn.items.get(final_stage, [])
    for start in range(0, max(len(keys), 1 if items or turn.is_tick else 0), size):
        batch = Batch(turn, turn.records if start == 0 else [])
        sets: tuple[set[str], set[str], set[str]] = (set(), set(), set())
        for kind, key in keys[start : start + size]:
            sets[kind].add(key)
        batch._keys, batch._due, batch._swept = sets
        batch._items = {final_stage: items} if start == 0 else {}
        yield batch

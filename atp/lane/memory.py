"""The simulated side of the ports: a log with transactions, and a store, in memory.

The log behaves as Kafka does where the lane depends on it: transactions with markers that take offsets,
a last stable offset, aborted records that only read_committed readers do not see, fencing by
transactional id with settlement of what the fenced producer left open, offsets committed with the
transaction. An empty transaction of a fenced producer succeeds, as it does with aiokafka. It passes the
same contract tests as the real ones.

Every operation first awaits `world.step(name)`: a test may raise there, or never return.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from atp.lane.errors import FencedError, TransientError
from atp.lane.keys import partition_of
from atp.lane.ports import Bounds, Chunk, OutBatch, Record, Sink, TopicIdentity, TopicPartition

COMMITTED, ABORTED, OPEN, MARKER = range(4)


class _Slot:
    """One offset of a log: a record or a marker."""

    __slots__ = ("offset", "record", "state")

    def __init__(self, offset: int, record: Record | None, state: int) -> None:
        self.offset = offset
        self.record = record
        self.state = state


class _Partition:
    """One topic-partition; compaction may take slots away, offsets stay."""

    def __init__(self) -> None:
        self.slots: list[_Slot] = []
        self.next = 0
        self.start = 0

    def append(self, record: Record | None, state: int) -> _Slot:
        slot = _Slot(self.next, record, state)
        self.slots.append(slot)
        self.next += 1
        return slot

    @property
    def stable(self) -> int:
        """The last stable offset: that of the first record whose transaction is open."""
        return next((slot.offset for slot in self.slots if slot.state == OPEN), self.next)

    def read(self, start: int, limit: int) -> tuple[list[Record], int]:
        """Committed records from an offset on, and the offset after the last slot passed."""
        end, at = self.stable, bisect_left(self.slots, start, key=lambda slot: slot.offset)
        records: list[Record] = []
        for slot in self.slots[at:]:
            if slot.offset >= end or len(records) == limit:
                return records, slot.offset
            if slot.state == COMMITTED and slot.record is not None:
                records.append(slot.record)
        return records, end


class MemoryBroker:
    """What a cluster keeps: topics, transactions, committed offsets. Survives the workers' crashes."""

    def __init__(self) -> None:
        self.topics: dict[str, list[_Partition]] = {}
        self.ids: dict[str, str] = {}
        self.offsets: dict[str, dict[TopicPartition, int]] = {}
        self.epochs: dict[str, int] = {}
        self.open: dict[str, MemoryTransaction] = {}
        self._changed = asyncio.Event()

    def create(self, topic: str, partitions: int) -> None:
        """Create or recreate a topic."""
        self.topics[topic] = [_Partition() for _ in range(partitions)]
        self.ids[topic] = f"{topic}#{len(self.ids)}"

    def partition(self, topic: str, partition: int) -> _Partition:
        """A topic-partition that must exist."""
        if topic not in self.topics or partition >= len(self.topics[topic]):
            raise TransientError(f"{topic}/{partition} does not exist")
        return self.topics[topic][partition]

    def produce(self, topic: str, key: str, value: bytes, timestamp_ms: int, partition: int | None = None) -> int:
        """Write one record outside any transaction, as an upstream producer does."""
        number = partition_of(key, len(self.topics[topic])) if partition is None else partition
        where = self.partition(topic, number)
        record = Record(topic, number, where.next, timestamp_ms, key.encode(), value)
        self.touch()
        return where.append(record, COMMITTED).offset

    def compact(self, topic: str) -> None:
        """Keep the latest committed record per key, drop markers and aborted records; tombstones stay."""
        for partition in self.topics[topic]:
            end = partition.stable
            latest = {s.record.key: s.offset for s in partition.slots if s.state == COMMITTED and s.record}
            kept = set(latest.values())
            partition.slots = [s for s in partition.slots if s.offset >= end or s.offset in kept]

    def records(self, topic: str) -> list[Record]:
        """Everything a read_committed consumer of a topic would see."""
        return [r for p in self.topics[topic] for r in p.read(0, 1 << 60)[0]]

    def init(self, transactional_id: str) -> int:
        """Fence every earlier producer of the id and abort what it left open."""
        self.epochs[transactional_id] = epoch = self.epochs.get(transactional_id, -1) + 1
        left = self.open.pop(transactional_id, None)
        if left is not None:
            left.end(self, commit=False)
        return epoch

    def touch(self) -> None:
        """Wake everyone who waits for something new."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, timeout_s: float) -> None:
        """Wait for something new."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return


class MemoryTransaction:
    """Slots and offsets that become visible together."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.slots: list[_Slot] = []
        self.partitions: dict[TopicPartition, _Partition] = {}
        self.offsets: dict[TopicPartition, int] = {}

    def end(self, broker: MemoryBroker, *, commit: bool) -> None:
        """Write the markers."""
        for slot in self.slots:
            slot.state = COMMITTED if commit else ABORTED
        for partition in self.partitions.values():
            partition.append(None, MARKER)
        if commit:
            broker.offsets.setdefault(self.group, {}).update(self.offsets)
        broker.touch()


async def no_step(name: str) -> None:
    """The world in which nothing goes wrong."""


Step = Callable[[str], Awaitable[None]]


class MemoryWriter:
    """A producer on the memory broker."""

    def __init__(self, log: MemoryLog, partition: int) -> None:
        self._log = log
        self._partition = partition
        self._id = f"{log.name}-{partition}"
        self._epoch = log.broker.init(self._id) if log.transactional else -1
        self._transaction: MemoryTransaction | None = None
        self.transactional = log.transactional

    async def begin(self) -> None:
        """Open a transaction, locally."""
        await self._log.step("begin")
        self._transaction = MemoryTransaction(self._log.group)

    async def send(self, batches: Sequence[OutBatch]) -> dict[TopicPartition, int]:
        """Append every batch, or raise."""
        ends: dict[TopicPartition, int] = {}
        for batch in batches:
            await self._log.step(f"send {batch.topic}")
            self._check()
            where, tp = self._log.broker.partition(batch.topic, batch.partition), (batch.topic, batch.partition)
            for out in batch.records:
                record = Record(*tp, where.next, out.timestamp_ms, out.key, out.value, list(out.headers))
                slot = where.append(record, OPEN if self.transactional else COMMITTED)
                self._remember(slot, tp, where)
            ends[tp] = where.next
            self._log.broker.touch()
            await self._log.step(f"sent {batch.topic}")
        return ends

    def _remember(self, slot: _Slot, tp: TopicPartition, where: _Partition) -> None:
        if self.transactional:
            assert self._transaction is not None
            self._transaction.slots.append(slot)
            self._transaction.partitions[tp] = where
            self._log.broker.open[self._id] = self._transaction

    async def send_offsets(self, offsets: Mapping[str, int]) -> None:
        """Commit input offsets with the transaction, or at once."""
        await self._log.step("offsets")
        self._check()
        new = {(topic, self._partition): at for topic, at in offsets.items()}
        if self.transactional:
            assert self._transaction is not None
            self._transaction.offsets.update(new)
            self._log.broker.open[self._id] = self._transaction
        else:
            self._log.broker.offsets.setdefault(self._log.group, {}).update(new)
        await self._log.step("offsets sent")

    async def commit(self) -> None:
        """Write the markers; nothing at all for a transaction that never reached the broker."""
        await self._log.step("commit")
        if self._log.broker.open.get(self._id) is self._transaction and self._transaction is not None:
            self._check()
            del self._log.broker.open[self._id]
            self._transaction.end(self._log.broker, commit=True)
        elif self._transaction is not None and (self._transaction.slots or self._transaction.offsets):
            raise FencedError(f"{self._id}: another producer has taken over")
        self._transaction = None
        await self._log.step("committed")

    async def close(self) -> None:
        """Nothing to close."""

    def _check(self) -> None:
        if self.transactional and self._log.broker.epochs[self._id] != self._epoch:
            raise FencedError(f"{self._id}: another producer has taken over")


class MemoryReader:
    """A read_committed reader."""

    def __init__(self, log: MemoryLog, positions: Mapping[TopicPartition, int]) -> None:
        self._log = log
        self._positions = dict(positions)

    async def read(self, timeout_ms: int) -> list[Chunk]:
        """Next chunks, or none after the timeout."""
        await self._log.step("read")
        chunks = self._read()
        if not chunks:
            await self._log.broker.changed(timeout_ms / 1000)
            chunks = self._read()
        return chunks

    def _read(self) -> list[Chunk]:
        chunks = []
        for tp, start in self._positions.items():
            chunk = self._log.chunk(tp, start)
            if chunk.next != start:
                self._positions[tp] = chunk.next
                chunks.append(chunk)
        return chunks

    def position(self, topic: str, partition: int) -> int:
        """Next offset."""
        return self._positions[topic, partition]

    async def close(self) -> None:
        """Nothing to close."""


class MemoryLog:
    """One worker's view of the memory broker."""

    def __init__(
        self,
        broker: MemoryBroker,
        name: str,
        inputs: list[str],
        step: Step = no_step,
        *,
        transactional: bool = True,
        read_at_once: int = 500,
    ) -> None:
        self.broker = broker
        self.name = name
        self.group = name
        self.step = step
        self.transactional = transactional
        self._inputs = inputs
        self._read_at_once = read_at_once
        self._feeds: dict[int, asyncio.Task[None]] = {}

    def chunk(self, tp: TopicPartition, start: int) -> Chunk:
        """What can be read from an offset on."""
        partition = self.broker.partition(*tp)
        records, position = partition.read(start, self._read_at_once)
        return Chunk(*tp, start, max(start, position), partition.stable, records)

    async def open_writer(self, partition: int) -> MemoryWriter:
        """Fence, settle."""
        await self.step("init")
        return MemoryWriter(self, partition)

    async def committed(self, partition: int) -> dict[str, int | None]:
        """Committed offsets."""
        await self.step("fetch offsets")
        mine = self.broker.offsets.get(self.group, {})
        return {topic: mine.get((topic, partition)) for topic in self._inputs}

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """Start and last stable offset."""
        await self.step("bounds")
        where = self.broker.partition(topic, partition)
        return Bounds(where.start, where.stable)

    async def identity(self, topic: str) -> TopicIdentity:
        """Id and partition count."""
        await self.step("identity")
        if topic not in self.broker.topics:
            raise TransientError(f"topic {topic} does not exist")
        return TopicIdentity(self.broker.ids[topic], len(self.broker.topics[topic]))

    async def attach(self, partition: int, positions: Mapping[str, int], sink: Sink) -> None:
        """Deliver as records come."""
        await self.step("attach")
        self.detach(partition)
        feed = asyncio.get_running_loop().create_task(self._feed(partition, dict(positions), sink))
        self._feeds[partition] = feed

    def detach(self, partition: int) -> None:
        """Deliver nothing more."""
        feed = self._feeds.pop(partition, None)
        if feed is not None:
            feed.cancel()

    async def open_reader(self, positions: Mapping[TopicPartition, int]) -> MemoryReader:
        """Read committed records."""
        await self.step("open reader")
        return MemoryReader(self, positions)

    def crash(self) -> None:
        """The worker is gone: nothing is delivered, its transactions stay open until they are fenced."""
        for partition in list(self._feeds):
            self.detach(partition)

    async def _feed(self, partition: int, positions: dict[str, int], sink: Sink) -> None:
        while True:
            moved = False
            for topic, start in positions.items():
                chunk = self.chunk((topic, partition), start)
                if chunk.next != start and not sink.full(topic):
                    positions[topic] = chunk.next
                    sink.deliver(chunk)
                    moved = True
            if not moved:
                await self.broker.changed(0.05)
            await asyncio.sleep(0)


class MemoryStore:
    """Rows in a dictionary that outlives the store object, as a disk does."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self._rows = rows

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        return self._rows.get(key)

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """All rows."""
        for key, value in rows:
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value

    def scan(self, start: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows in key order."""
        for key in sorted(self._rows):
            if key >= start:
                if not key.startswith(prefix):
                    return
                yield key, self._rows[key]

    def close(self) -> None:
        """Nothing to flush."""


class MemoryStores:
    """Disks by partition."""

    def __init__(self) -> None:
        self.disks: dict[int, dict[bytes, bytes]] = {}

    def open(self, partition: int) -> MemoryStore:
        """What is there, or an empty disk."""
        return MemoryStore(self.disks.setdefault(partition, {}))

    def wipe(self, partition: int) -> None:
        """Empty it."""
        self.disks.pop(partition, None)

    def local(self) -> list[int]:
        """Partitions with a disk."""
        return sorted(self.disks)


class InlineSpawn:
    """Tasks on the running loop; blocking work at once, so that a run is deterministic."""

    def task(self, work: Any, name: str) -> asyncio.Task[None]:
        """Run a coroutine beside the caller."""
        return asyncio.get_running_loop().create_task(work, name=name)

    async def thread(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run it here."""
        return work(*args)

"""The simulated side of the ports: a log with transactions, and a store, in memory.

The log behaves as Kafka does where the lane depends on it: transactions with markers that take offsets and may be
written some time after the commit was answered, a last stable offset, aborted records that only read_committed
readers do not see, fencing by transactional id with settlement of what the fenced producer left open, a transaction
that lives at the broker until somebody ends it, offsets committed with the transaction. An empty transaction of a
fenced producer succeeds, as it does with aiokafka. It passes the same contract tests as the real ones.

Long because it is one broker. Every request goes through `call(name, effect)`: a test may delay, lose or refuse the
request or its answer, and stop the caller on either side of it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from atp.lane.errors import FencedError, TransientError
from atp.lane.keys import partition_of
from atp.lane.ports import Bounds, Chunk, OutBatch, Record, Sink, TopicIdentity, TopicPartition

COMMITTED, ABORTED, OPEN, MARKER = range(4)
POLL_S, FULL_POLL_S = 5.0, 0.05


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
        self.unstable: dict[int, None] = {}  # offsets whose transaction is open, ascending

    def append(self, record: Record | None, state: int) -> _Slot:
        slot = _Slot(self.next, record, state)
        if state == OPEN:
            self.unstable[self.next] = None
        self.slots.append(slot)
        self.next += 1
        return slot

    def settle(self, slot: _Slot, state: int) -> None:
        """The transaction of a slot has ended."""
        slot.state = state
        del self.unstable[slot.offset]

    @property
    def stable(self) -> int:
        """The last stable offset: that of the first record whose transaction is open."""
        return next(iter(self.unstable), self.next)

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
        self.prepared: dict[str, MemoryTransaction] = {}
        # Kafka answers a commit before its markers are written: called with what writes them. None: at once.
        self.later: Callable[[Callable[[], None]], None] | None = None
        self._waiting: dict[TopicPartition, list[asyncio.Future[None]]] = {}

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
        slot = where.append(record, COMMITTED)
        self.touch((topic, number))
        return slot.offset

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
        """Fence every earlier producer of the id; finish what it committed, abort what it left open."""
        self.epochs[transactional_id] = epoch = self.epochs.get(transactional_id, -1) + 1
        self.settle(transactional_id)
        left = self.open.pop(transactional_id, None)
        if left is not None:
            left.end(self, commit=False)
        return epoch

    def transaction(self, transactional_id: str, group: str) -> MemoryTransaction:
        """The transaction under way of an id: it lasts until somebody ends it."""
        self.settle(transactional_id)
        return self.open.setdefault(transactional_id, MemoryTransaction(group))

    def commit(self, transactional_id: str) -> None:
        """Decide to commit; the markers may come later."""
        decided = self.open.pop(transactional_id, None)
        if decided is None:
            return
        self.prepared[transactional_id] = decided
        if self.later is None:
            self.settle(transactional_id)
        else:
            self.later(partial(self.settle, transactional_id, decided))

    def settle(self, transactional_id: str, decided: MemoryTransaction | None = None) -> None:
        """Write the markers of a commit that was decided, unless they are there."""
        if decided is None or self.prepared.get(transactional_id) is decided:
            prepared = self.prepared.pop(transactional_id, None)
            if prepared is not None:
                prepared.end(self, commit=True)

    def touch(self, *changed: TopicPartition) -> None:
        """Wake everyone who waits for something new there."""
        for tp in changed:
            for waiter in self._waiting.pop(tp, ()):
                if not waiter.done():
                    waiter.set_result(None)

    async def changed(self, where: Iterable[TopicPartition], timeout_s: float) -> None:
        """Wait for something new in any of these."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        places = list(where)
        for tp in places:
            self._waiting.setdefault(tp, []).append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return
        finally:
            for tp in places:
                if waiter in self._waiting.get(tp, ()):
                    self._waiting[tp].remove(waiter)


class MemoryTransaction:
    """Slots and offsets that become visible together."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.slots: list[tuple[_Partition, _Slot]] = []
        self.partitions: dict[TopicPartition, _Partition] = {}
        self.offsets: dict[TopicPartition, int] = {}

    def append(self, where: _Partition, record: Record) -> None:
        """One more record."""
        self.slots.append((where, where.append(record, OPEN)))
        self.partitions[record.topic, record.partition] = where

    def end(self, broker: MemoryBroker, *, commit: bool) -> None:
        """Write the markers."""
        for where, slot in self.slots:
            where.settle(slot, COMMITTED if commit else ABORTED)
        for partition in self.partitions.values():
            partition.append(None, MARKER)
        if commit:
            broker.offsets.setdefault(self.group, {}).update(self.offsets)
        broker.touch(*self.partitions)


Step = Callable[[str], Awaitable[None]]
Call = Callable[[str, Callable[[], Any]], Awaitable[Any]]


async def at_once(name: str, effect: Callable[[], Any]) -> Any:
    """The world in which nothing takes time or goes wrong."""
    await asyncio.sleep(0)
    return effect()


def stepped(step: Step) -> Call:
    """Tell a test before every request and before its answer: it may raise there, or never return."""

    async def call(name: str, effect: Callable[[], Any]) -> Any:
        await step(name)
        answer = effect()
        await step(f"{name} answered")
        return answer

    return call


class MemoryWriter:
    """A producer on the memory broker."""

    def __init__(self, log: MemoryLog, partition: int) -> None:
        self._log = log
        self._partition = partition
        self._id = f"{log.name}-{partition}"
        self._epoch = log.broker.init(self._id) if log.transactional else -1
        self._empty = True
        self.transactional = log.transactional

    async def begin(self) -> None:
        """Open a transaction, locally."""
        await self._log.call("begin", lambda: None)
        self._empty = True

    async def send(self, batches: Sequence[OutBatch]) -> dict[TopicPartition, int]:
        """Append every batch, or raise."""
        ends: dict[TopicPartition, int] = {}
        for batch in batches:
            self._empty = False
            tp = (batch.topic, batch.partition)
            ends[tp] = await self._log.call(f"send {batch.topic}", partial(self._append, batch, tp))
        return ends

    def _append(self, batch: OutBatch, tp: TopicPartition) -> int:
        self._check()
        broker = self._log.broker
        where = broker.partition(*tp)
        under_way = broker.transaction(self._id, self._log.group) if self.transactional else None
        for out in batch.records:
            record = Record(*tp, where.next, out.timestamp_ms, out.key, out.value, list(out.headers))
            if under_way is not None:
                under_way.append(where, record)
            else:
                where.append(record, COMMITTED)
        broker.touch(tp)
        return where.next

    async def send_offsets(self, offsets: Mapping[str, int]) -> None:
        """Commit input offsets with the transaction, or at once."""
        self._empty = False
        await self._log.call("offsets", partial(self._set_offsets, dict(offsets)))

    def _set_offsets(self, offsets: Mapping[str, int]) -> None:
        self._check()
        broker, group = self._log.broker, self._log.group
        new = {(topic, self._partition): at for topic, at in offsets.items()}
        if self.transactional:
            broker.transaction(self._id, group).offsets.update(new)
        else:
            broker.offsets.setdefault(group, {}).update(new)

    async def commit(self) -> None:
        """Commit; the broker is not even asked about an empty transaction."""
        await self._log.call("commit", (lambda: None) if self._empty else self._commit)

    def _commit(self) -> None:
        self._check()
        self._log.broker.commit(self._id)

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
        if not self._there():
            await self._log.broker.changed(self._positions, timeout_ms / 1000)
        chunks: list[Chunk] = await self._log.call("read", self._there)
        self._positions.update({(chunk.topic, chunk.partition): chunk.next for chunk in chunks})
        return chunks

    def _there(self) -> list[Chunk]:
        chunks = [self._log.chunk(tp, start) for tp, start in self._positions.items()]
        return [chunk for chunk in chunks if chunk.next != chunk.start]

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
        call: Call = at_once,
        *,
        transactional: bool = True,
        read_at_once: int = 500,
    ) -> None:
        self.broker = broker
        self.name = name
        self.group = name
        self.call = call
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
        writer: MemoryWriter = await self.call("init", partial(MemoryWriter, self, partition))
        return writer

    async def committed(self, partition: int) -> dict[str, int | None]:
        """Committed offsets."""
        offsets: dict[str, int | None] = await self.call("fetch offsets", partial(self._committed, partition))
        return offsets

    def _committed(self, partition: int) -> dict[str, int | None]:
        mine = self.broker.offsets.get(self.group, {})
        return {topic: mine.get((topic, partition)) for topic in self._inputs}

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """Start and last stable offset."""
        bounds: Bounds = await self.call("bounds", partial(self._bounds, topic, partition))
        return bounds

    def _bounds(self, topic: str, partition: int) -> Bounds:
        where = self.broker.partition(topic, partition)
        return Bounds(where.start, where.stable)

    async def identity(self, topic: str) -> TopicIdentity:
        """Id and partition count."""
        identity: TopicIdentity = await self.call("identity", partial(self._identity, topic))
        return identity

    def _identity(self, topic: str) -> TopicIdentity:
        if topic not in self.broker.topics:
            raise TransientError(f"topic {topic} does not exist")
        return TopicIdentity(self.broker.ids[topic], len(self.broker.topics[topic]))

    async def attach(self, partition: int, positions: Mapping[str, int], sink: Sink) -> None:
        """Deliver as records come."""
        await self.call("attach", lambda: None)
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
        reader: MemoryReader = await self.call("open reader", partial(MemoryReader, self, positions))
        return reader

    def crash(self) -> None:
        """The worker is gone: nothing is delivered, its transactions stay open until they are fenced."""
        for partition in list(self._feeds):
            self.detach(partition)

    async def _feed(self, partition: int, positions: dict[str, int], sink: Sink) -> None:
        places = [(topic, partition) for topic in positions]
        while True:
            try:
                moved = [await self._feed_topic(tp, positions, sink) for tp in places]
            except TransientError as error:
                sink.fail(error)
                return
            if not any(moved):
                full = any(sink.full(topic) for topic in positions)
                await self.broker.changed(places, FULL_POLL_S if full else POLL_S)
            await asyncio.sleep(0)

    async def _feed_topic(self, tp: TopicPartition, positions: dict[str, int], sink: Sink) -> bool:
        topic, _ = tp
        chunk = self.chunk(tp, positions[topic])
        if chunk.next == chunk.start or sink.full(topic):
            return False
        positions[topic] = chunk.next
        sink.deliver(await self.call("fetch", lambda: chunk))
        return True


class MemoryStore:
    """Rows in a dictionary that outlives the store object, as a disk does."""

    def __init__(self, rows: dict[bytes, bytes], on_close: Callable[[], None] = lambda: None) -> None:
        self._disk: dict[bytes, bytes] | None = rows
        self._on_close = on_close

    @property
    def _rows(self) -> dict[bytes, bytes]:
        if self._disk is None:
            raise RuntimeError("the store is closed")
        return self._disk

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        return self._rows.get(key)

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """All rows."""
        disk = self._rows
        for key, value in rows:
            if value is None:
                disk.pop(key, None)
            else:
                disk[key] = value

    def scan(self, start: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows in key order."""
        rows = self._rows
        for key in sorted(rows):
            if key >= start:
                if not key.startswith(prefix):
                    return
                yield key, rows[key]

    def close(self) -> None:
        """Let others open it."""
        self._disk = None
        self._on_close()


class MemoryStores:
    """Disks by partition."""

    def __init__(self) -> None:
        self.disks: dict[int, dict[bytes, bytes]] = {}
        self._in_use: set[int] = set()

    def open(self, partition: int) -> MemoryStore:
        """What is there, or an empty disk; TransientError while it is open."""
        if partition in self._in_use:
            raise TransientError(f"disk {partition} is in use")
        self._in_use.add(partition)
        return MemoryStore(self.disks.setdefault(partition, {}), lambda: self._in_use.discard(partition))

    def crash(self) -> None:
        """The process that had them open is gone."""
        self._in_use.clear()

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

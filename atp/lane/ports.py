"""Ports: what the lane needs from the world. Each has a real side and a simulated one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")
Headers = Sequence[tuple[str, bytes | None]]
TopicPartition = tuple[str, int]


class Record(msgspec.Struct, gc=False):
    """One consumed record."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Chunk(msgspec.Struct, gc=False):
    """Records of one topic-partition from `start` up to, not including, `next`.

    Offsets may be missing in between: transaction markers, aborted records and compaction leave gaps.
    `end` is the last stable offset known when the chunk was read.
    """

    topic: str
    partition: int
    start: int
    next: int
    end: int
    records: list[Record]


class Out(msgspec.Struct, gc=False):
    """One record to write."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()


class OutBatch(msgspec.Struct, gc=False):
    """Records that are written as one record batch."""

    topic: str
    partition: int
    records: list[Out]


class Bounds(msgspec.Struct, frozen=True):
    """First offset still there and last stable offset of a topic-partition."""

    start: int
    end: int


class TopicIdentity(msgspec.Struct, frozen=True):
    """What tells a recreated topic from the one we knew; the id is empty where a broker has none."""

    topic_id: str
    partitions: int


class Writer(Protocol):
    """The one producer of a task. After any error it is closed and never used again."""

    transactional: bool

    async def begin(self) -> None:
        """Open a transaction."""

    async def send(self, batches: Sequence[OutBatch]) -> dict[TopicPartition, int]:
        """Return once every record batch is acknowledged: next offset per topic-partition written."""

    async def send_offsets(self, offsets: Mapping[str, int]) -> None:
        """Commit the input offsets of this partition: with the transaction, or at once without one."""

    async def commit(self) -> None:
        """Commit the transaction; an error leaves the outcome unknown."""

    async def close(self) -> None:
        """Let go of the connection; never raises."""


class Reader(Protocol):
    """A group-less read_committed reader of some topic-partitions."""

    async def read(self, timeout_ms: int) -> list[Chunk]:
        """Next chunks, possibly without records, or none when nothing came in time."""

    def position(self, topic: str, partition: int) -> int:
        """Next offset that will be read."""

    async def close(self) -> None:
        """Let go of the connection."""


class Sink(Protocol):
    """Where the log delivers the input of one partition."""

    def deliver(self, chunk: Chunk) -> None:
        """Take a chunk; never blocks."""

    def full(self, topic: str) -> bool:
        """Whether this topic should not be fetched for now."""

    def fail(self, error: Exception) -> None:
        """The input broke; nothing more will be delivered before the next attach."""


class Log(Protocol):
    """The broker, as a task sees it."""

    transactional: bool

    async def open_writer(self, partition: int) -> Writer:
        """Make us the only writer of the partition: fences every earlier one and settles its transaction."""

    async def committed(self, partition: int) -> dict[str, int | None]:
        """Committed offset of the partition in each input topic."""

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """Where the topic-partition starts and ends now."""

    async def identity(self, topic: str) -> TopicIdentity:
        """Id and partition count of a topic."""

    async def attach(self, partition: int, positions: Mapping[str, int], sink: Sink) -> None:
        """Deliver the input of the partition from these positions on."""

    def detach(self, partition: int) -> None:
        """Deliver nothing more."""

    async def open_reader(self, positions: Mapping[TopicPartition, int]) -> Reader:
        """Read outside the group, committed records only."""


class Store(Protocol):
    """Committed rows of one task on local disk; always at or behind the changelog."""

    def get(self, key: bytes) -> bytes | None:
        """One row."""

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Write all or nothing; None deletes."""

    def scan(self, start: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows in key order from `start` on while they begin with `prefix`."""

    def close(self) -> None:
        """Flush and release."""


class Stores(Protocol):
    """Opens the store of a partition; only one may be open at a time."""

    def open(self, partition: int) -> Store:
        """Open or create; raises `CorruptError` when what is there cannot be read."""

    def wipe(self, partition: int) -> None:
        """Delete everything of that partition."""

    def local(self) -> list[int]:
        """Partitions that have a store on this disk."""


class CorruptError(Exception):
    """The local store cannot be read; it is wiped and rebuilt from the changelog."""


class Clock(Protocol):
    """Where `now` comes from."""

    def now_ms(self, seen_ms: int) -> int:
        """Now, for a task whose newest record so far is of `seen_ms`."""


class Spawn(Protocol):
    """How concurrent work is started."""

    def task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a coroutine beside the caller."""

    def thread(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Run blocking work off the event loop."""


class Pipeline(Protocol):
    """The agents, in stages."""

    async def run(self, stage: str, batch: Any) -> None:
        """Let the agent of the stage handle the batch; raises what the agent raised."""


class AsyncioSpawn:
    """Tasks on the running loop, blocking work in its default threads."""

    def task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a coroutine beside the caller."""
        return asyncio.get_running_loop().create_task(work, name=name)

    async def thread(self, work: Callable[..., T], *args: Any) -> T:
        """Run blocking work off the event loop."""
        return await asyncio.to_thread(work, *args)

"""What the lane's core relies on, checked on the simulated ports and on the real ones alike."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from atp.lane.errors import FencedError, TransientError
from atp.lane.kafka_log import KafkaLog
from atp.lane.memory import MemoryBroker, MemoryLog, MemoryStore, MemoryStores
from atp.lane.ports import Chunk, CorruptError, Log, Out, OutBatch, Reader, Store, Stores
from atp.lane.rocks import RocksStores
from atp.lane.settings import LaneSettings

PARTITIONS = 2
Produce = Callable[[str, str, bytes, int], Awaitable[None]]


class Bench:
    """A log under test with two input topics and one other topic."""

    def __init__(self, log: Log, produce: Produce, recreate: Callable[[str], Awaitable[None]], prefix: str) -> None:
        self.log = log
        self.produce = produce
        self.recreate = recreate
        self.inputs = [f"{prefix}.a", f"{prefix}.b"]
        self.other = f"{prefix}.other"


@pytest.fixture(params=["memory", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.slow])])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """The simulated log, then the real one."""
    prefix = f"contract-{uuid.uuid4().hex[:8]}"
    topics = [f"{prefix}.a", f"{prefix}.b", f"{prefix}.other"]
    if request.param == "memory":
        yield memory_bench(prefix, topics)
        return
    bootstrap = request.getfixturevalue("kafka_broker").bootstrap
    await asyncio.to_thread(create, bootstrap, topics)
    assigned: asyncio.Queue[set[int]] = asyncio.Queue()
    settings = LaneSettings(bootstrap_servers=bootstrap, data_dir="", partitions=PARTITIONS, session_timeout_ms=6_000)
    log = KafkaLog(
        settings, prefix, topics[:2], topics[1:2], list, lambda: None, assigned.put_nowait, lambda error: None
    )
    await log.start()
    await log.join()
    assert await asyncio.wait_for(assigned.get(), 30) == {0, 1}
    yield Bench(log, kafka_produce(bootstrap), lambda topic: asyncio.to_thread(recreate, bootstrap, topic), prefix)
    await log.stop()


def memory_bench(prefix: str, topics: list[str]) -> Bench:
    """The simulated side."""
    broker = MemoryBroker()
    for topic in topics:
        broker.create(topic, PARTITIONS)

    async def produce(topic: str, key: str, value: bytes, partition: int) -> None:
        broker.produce(topic, key, value, 1_000, partition)

    async def again(topic: str) -> None:
        broker.create(topic, PARTITIONS)

    return Bench(MemoryLog(broker, prefix, topics[:2]), produce, again, prefix)


def create(bootstrap: str, topics: list[str]) -> None:
    """Create topics on Kafka."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics]).values():
        future.result(30)


def recreate(bootstrap: str, topic: str) -> None:
    """Delete a topic and create it again."""
    import time

    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_topics([topic]).values():
        future.result(30)
    time.sleep(1)
    create(bootstrap, [topic])


def kafka_produce(bootstrap: str) -> Produce:
    """Produce outside any transaction."""

    def send(topic: str, key: str, value: bytes, partition: int) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": bootstrap})
        producer.produce(topic, value, key, partition)
        assert producer.flush(30) == 0

    return lambda *args: asyncio.to_thread(send, *args)


def batch(topic: str, *values: bytes, partition: int = 0) -> OutBatch:
    """A record batch."""
    return OutBatch(topic, partition, [Out(b"k", value, 1_000, [("h", b"1")]) for value in values])


async def read_to(reader: Reader, topic: str, end: int) -> list[bytes | None]:
    """Values up to an offset."""
    values: list[bytes | None] = []
    async with asyncio.timeout(20):
        while reader.position(topic, 0) < end:
            for chunk in await reader.read(100):
                values += [r.value for r in chunk.records]
    return values


async def test_a_transaction_is_seen_when_it_is_committed(bench: Bench) -> None:
    """Open, it holds the last stable offset back; committed, a reader gets past its marker."""
    writer = await bench.log.open_writer(0)
    await writer.begin()
    acked = await writer.send([batch(bench.other, b"1", b"2"), batch(bench.other, b"3")])
    assert acked == {(bench.other, 0): 3}
    assert (await bench.log.bounds(bench.other, 0)).end == 0
    await writer.commit()
    # Kafka answers a commit before its markers are written. The next InitProducerId waits for them,
    # which is why a task captures the end of its changelog only after it has fenced.
    await (await bench.log.open_writer(0)).close()
    bounds = await bench.log.bounds(bench.other, 0)
    assert (bounds.start, bounds.end) == (0, 4)
    reader = await bench.log.open_reader({(bench.other, 0): 0})
    assert await read_to(reader, bench.other, bounds.end) == [b"1", b"2", b"3"]
    await reader.close()
    await writer.close()


async def test_a_new_writer_fences_and_aborts(bench: Bench) -> None:
    """What the fenced writer left open is never seen, and it can commit nothing more."""
    old = await bench.log.open_writer(0)
    await old.begin()
    await old.send([batch(bench.other, b"lost")])
    new = await bench.log.open_writer(0)
    await new.begin()
    await new.send([batch(bench.other, b"kept")])
    await new.commit()
    with pytest.raises((FencedError, TransientError)):
        await old.commit()
    end = (await bench.log.bounds(bench.other, 0)).end
    reader = await bench.log.open_reader({(bench.other, 0): 0})
    assert await read_to(reader, bench.other, end) == [b"kept"]
    for thing in (reader, old, new):
        await thing.close()


async def test_a_fenced_writer_notices_when_it_sends(bench: Bench) -> None:
    """A send is what detects a zombie; its empty transaction succeeds without asking anybody."""
    old = await bench.log.open_writer(0)
    new = await bench.log.open_writer(0)
    await old.begin()
    await old.commit()
    await old.begin()
    with pytest.raises(FencedError):
        await old.send([batch(bench.other, b"lost")])
    await old.close()
    await new.close()


async def test_offsets_belong_to_the_transaction(bench: Bench) -> None:
    """Committed offsets appear with the commit, and not at all when a new writer settled it."""
    a, b = bench.inputs
    writer = await bench.log.open_writer(0)
    assert await bench.log.committed(0) == {a: None, b: None}
    await writer.begin()
    await writer.send([batch(bench.other, b"1")])
    await writer.send_offsets({a: 5, b: 7})
    await writer.commit()
    await writer.close()
    writer = await bench.log.open_writer(0)  # a take-over waits for the markers of the commit
    assert await bench.log.committed(0) == {a: 5, b: 7}
    await writer.begin()
    await writer.send([batch(bench.other, b"2")])
    await writer.send_offsets({a: 9})
    await writer.close()
    again = await bench.log.open_writer(0)
    assert await bench.log.committed(0) == {a: 5, b: 7}
    assert await bench.log.committed(1) == {a: None, b: None}
    await again.close()


class Collector:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.errors: list[Exception] = []
        self.is_full = False

    def deliver(self, chunk: Chunk) -> None:
        """Keep it."""
        self.chunks.append(chunk)

    def full(self, topic: str) -> bool:
        """As the test says."""
        return self.is_full

    def fail(self, error: Exception) -> None:
        """Keep it."""
        self.errors.append(error)

    def values(self) -> list[bytes | None]:
        """All values so far."""
        return [r.value for chunk in self.chunks for r in chunk.records]

    async def until(self, count: int) -> None:
        """Wait for so many records."""
        async with asyncio.timeout(20):
            while len(self.values()) < count:  # noqa: ASYNC110 # two kinds of log, no common event
                await asyncio.sleep(0.01)


async def test_input_is_delivered_from_where_it_was_attached(bench: Bench) -> None:
    """Chunks follow each other without a hole; after a detach nothing comes, after an attach all again."""
    a, b = bench.inputs
    for i in range(5):
        await bench.produce(a, f"k{i}", b"%d" % i, 0)
    first = Collector()
    await bench.log.attach(0, {a: 2, b: 0}, first)
    await first.until(3)
    await bench.produce(a, "k", b"5", 0)
    await first.until(4)
    assert first.values() == [b"2", b"3", b"4", b"5"]
    ends = [chunk.next for chunk in first.chunks if chunk.topic == a]
    assert [chunk.start for chunk in first.chunks if chunk.topic == a] == [2, *ends[:-1]]
    bench.log.detach(0)
    await bench.produce(a, "k", b"6", 0)
    second = Collector()
    await bench.log.attach(0, {a: 0, b: 0}, second)
    await second.until(7)
    assert len(first.values()) == 4
    assert first.errors == second.errors == []


async def test_a_full_sink_is_left_alone(bench: Bench) -> None:
    """While a sink is full nothing is delivered; afterwards nothing is missing."""
    a, b = bench.inputs
    sink = Collector()
    sink.is_full = True
    await bench.log.attach(0, {a: 0, b: 0}, sink)
    for i in range(4):
        await bench.produce(a, "k", b"%d" % i, 0)
    await asyncio.sleep(0.5)
    assert sink.chunks == []
    sink.is_full = False
    await sink.until(4)
    assert sink.values() == [b"0", b"1", b"2", b"3"]


async def test_a_recreated_topic_has_another_identity(bench: Bench) -> None:
    """The topic id tells a recreated topic from the one that was there."""
    before = await bench.log.identity(bench.other)
    assert before.partitions == PARTITIONS
    await bench.recreate(bench.other)
    assert (await bench.log.identity(bench.other)).topic_id != before.topic_id


@pytest.fixture(params=["memory", "rocks"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    """Simulated disks, then RocksDB."""
    settings = LaneSettings(bootstrap_servers="", data_dir=str(tmp_path))
    return MemoryStores() if request.param == "memory" else RocksStores(settings, "lane")


def test_a_store_keeps_what_was_written(stores: Stores) -> None:
    """Rows survive closing; None deletes; a wiped partition is empty."""
    store = stores.open(3)
    store.write([(b"a", b"1"), (b"b", b"2")])
    store.write([(b"a", None)])
    store.close()
    assert stores.local() == [3]
    store = stores.open(3)
    assert (store.get(b"a"), store.get(b"b")) == (None, b"2")
    store.close()
    stores.wipe(3)
    assert stores.local() == []
    store = stores.open(3)
    assert store.get(b"b") is None
    store.close()


def test_a_scan_follows_the_key_order_within_a_prefix(stores: Stores) -> None:
    """From the start key on, as long as the prefix holds."""
    store: Store = stores.open(0)
    store.write([(key, b"") for key in (b"a1", b"b1", b"b2", b"b3", b"c1")])
    assert [key for key, _ in store.scan(b"b2", b"b")] == [b"b2", b"b3"]
    assert [key for key, _ in store.scan(b"b", b"b")] == [b"b1", b"b2", b"b3"]
    store.close()


def test_a_corrupt_database_is_told_apart(tmp_path: Path) -> None:
    """A broken file is Corrupt (wipe and rebuild); a database in use is worth a retry."""
    stores: Any = RocksStores(LaneSettings(bootstrap_servers="", data_dir=str(tmp_path)), "lane")
    store = stores.open(0)
    with pytest.raises(TransientError, match="in use"):
        stores.open(0)
    store.write([(b"a", b"1")])
    store.close()
    (tmp_path / "lane" / "0" / "CURRENT").write_bytes(b"garbage")
    with pytest.raises(CorruptError):
        stores.open(0)


def test_a_memory_store_is_a_view_of_its_disk() -> None:
    """Two stores of one disk see the same rows, as a reopened database does."""
    disk: dict[bytes, bytes] = {}
    MemoryStore(disk).write([(b"a", b"1")])
    assert MemoryStore(disk).get(b"a") == b"1"

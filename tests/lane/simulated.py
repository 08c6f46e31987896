"""A counting domain on the simulated ports: one worker that can crash at any step of the protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from atp.lane.batch import Batch
from atp.lane.clock import ReplayClock
from atp.lane.keys import LOCAL_KEY
from atp.lane.manager import Manager
from atp.lane.memory import InlineSpawn, MemoryBroker, MemoryLog, MemoryStores, stepped
from atp.lane.settings import LaneSettings
from atp.lane.table import Table
from atp.lane.views import Views
from atp.lane.world import World

INPUTS = ["in.a", "in.b"]
OUTPUT, LETTERS, CHANGELOG = "out", "letters", "changelog"
PARTITIONS = 2


class Count(msgspec.Struct, array_like=True):
    """How often a key was seen."""

    total: int = 0


def make_broker() -> MemoryBroker:
    """A broker with the topics of the counting domain."""
    broker = MemoryBroker()
    for topic in (*INPUTS, OUTPUT, LETTERS, CHANGELOG):
        broker.create(topic, PARTITIONS)
    return broker


def settings(**changes: Any) -> LaneSettings:
    """Settings that lose no time."""
    defaults: dict[str, Any] = {
        "bootstrap_servers": "", "data_dir": "", "partitions": PARTITIONS, "commit_interval_ms": 1,
        "tick_interval_ms": 20, "dead_letter_topic": LETTERS, "retry_pause_s": 0.001,
        "retry_pause_max_s": 0.005, "heartbeat_interval_ms": 1, "call_timeout_s": 1.0, "slice_records": 7,
    }  # fmt: skip
    return LaneSettings(**(defaults | changes))


class Worker:
    """One worker process, simulated: crashes at step `crash_at`, counted from its start."""

    def __init__(
        self,
        broker: MemoryBroker,
        stores: MemoryStores | None = None,
        crash_at: int | None = None,
        transactional: bool = True,
        **changes: Any,
    ) -> None:
        self.broker = broker
        self.stores = stores or MemoryStores()
        self.steps: list[str] = []
        self.crashed = asyncio.Event()
        self.crash_at = crash_at
        self.fail_at: dict[int, Exception] = {}
        self.hold_at: int | None = None
        self.released = asyncio.Event()
        self.clock = ReplayClock(1)
        self.log = MemoryLog(broker, "sim", INPUTS, stepped(self._step), transactional=transactional)
        self.counts: Table[Count] = Table("counts", Count)
        self.views = Views()
        self.seen: list[tuple[str, Any]] = []
        self.world = World(
            settings=settings(**changes), log=self.log, stores=self.stores, clock=self.clock,
            spawn=InlineSpawn(), pipeline=self, views=self.views, inputs=INPUTS, stages=["count", "publish"],
            final_stage="publish", changelog_topic=CHANGELOG, tables=[self.counts], sweep_table=self.counts,
        )  # fmt: skip
        self.manager = Manager(self.world)
        self._follower: asyncio.Task[None] | None = None

    async def _step(self, name: str) -> None:
        number = len(self.steps)
        self.steps.append(name)
        if number == self.crash_at:
            self.crashed.set()
        if self.crashed.is_set():
            await asyncio.Event().wait()
        if number == self.hold_at:
            await self.released.wait()
        if number in self.fail_at:
            raise self.fail_at[number]
        await asyncio.sleep(0)

    async def run(self, stage: str, batch: Batch) -> None:
        """The agents."""
        batch.enter_stage(stage)
        with batch:
            (self.count if stage == "count" else self.publish)(batch)
        batch.check()

    def count(self, batch: Batch) -> None:
        """Add each record to its key's count."""
        for record in batch:
            if record.value == b"poison":
                batch.refuse(record, "POISON", "as the test wanted")
                continue
            if record.value == b"bug":
                raise ValueError("as the test wanted")
            key = (record.key.decode(),)
            row = self.counts.get(key) or Count()
            row.total += 1
            self.counts[key] = row
            batch.touch(key[0])

    def publish(self, batch: Batch) -> None:
        """Publish each touched key's count."""
        self.seen.append(("due", sorted(batch.due)))
        self.seen.append(("swept", sorted(batch.swept)))
        for key in sorted(batch.dirty):
            batch.send(OUTPUT, key.encode(), str(self.counts[key,].total).encode())

    async def start(self, partitions: set[int] | None = None) -> None:
        """Take the partitions over."""
        self._follower = asyncio.get_running_loop().create_task(self.views.follow(self.world))
        await self.manager.apply(set(range(PARTITIONS)) if partitions is None else partitions)

    async def kill(self) -> None:
        """Gone at once: nothing is flushed, finished or aborted."""
        self.crashed.set()
        self.log.crash()
        self.stores.crash()
        running = [task._run for task in self.manager.tasks.values() if task._run is not None]
        for task in [*running, self._follower]:
            if task is not None:
                task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def stop(self) -> None:
        """End in good order."""
        await self.manager.stop()
        if self._follower is not None:
            self._follower.cancel()

    async def settled(self, timeout_s: float = 5.0) -> None:
        """Wait until all input is committed and every task has committed once more since."""
        async with asyncio.timeout(timeout_s):
            while not all(self._is_settled(p) for p in self.manager.tasks):  # noqa: ASYNC110 # no one event
                await asyncio.sleep(0.001)
            before = {p: task.counters.commits for p, task in self.manager.tasks.items()}
            while any(self.manager.tasks[p].counters.commits == n for p, n in before.items()):  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    def _is_settled(self, partition: int) -> bool:
        if not self.manager.tasks[partition].counters.commits:
            return False
        committed = self.broker.offsets.get("sim", {})
        ends = {(t, partition): self.broker.partition(t, partition).next for t in INPUTS}
        return all(committed.get(tp) == end for tp, end in ends.items())


def expected(broker: MemoryBroker) -> dict[str, int]:
    """An independent fold of the input."""
    totals: dict[str, int] = {}
    for topic in INPUTS:
        for record in broker.records(topic):
            if record.value != b"poison":
                key = (record.key or b"").decode()
                totals[key] = totals.get(key, 0) + 1
    return totals


def published(broker: MemoryBroker) -> dict[str, int]:
    """Latest output per key."""
    return {(r.key or b"").decode(): int(r.value or b"0") for r in broker.records(OUTPUT)}


def assert_outputs_rise(broker: MemoryBroker) -> None:
    """No output repeats an earlier one or goes back."""
    last: dict[bytes | None, int] = {}
    for record in broker.records(OUTPUT):
        assert int(record.value or b"0") > last.get(record.key, 0)
        last[record.key] = int(record.value or b"0")


def changelog_rows(broker: MemoryBroker, partition: int) -> dict[bytes, bytes]:
    """What a rebuild from the changelog would give."""
    rows: dict[bytes, bytes] = {}
    for record in broker.partition(CHANGELOG, partition).read(0, 1 << 60)[0]:
        key = record.key or b""
        if record.value is None:
            rows.pop(key, None)
        else:
            rows[key] = record.value
    return rows


def assert_stores_equal_changelog(worker: Worker) -> None:
    """The disk holds what a rebuild would give."""
    for partition, disk in worker.stores.disks.items():
        mine = {key: value for key, value in disk.items() if key != LOCAL_KEY}
        assert mine == changelog_rows(worker.broker, partition)


def feed(broker: MemoryBroker, count: int, keys: int = 9, start_ms: int = 1_000) -> None:
    """Produce records over both topics."""
    for i in range(count):
        broker.produce(INPUTS[i % 2], f"k{i % keys}", b"x", start_ms + i)

"""One partition, from input to state to commit.

Long on purpose: every await of the protocol is in this file, so that its order reads top to bottom.

Taking over, strictly in this order: fence every earlier producer, read the committed offsets, attach the
input there, capture the end of the changelog, restore up to it, wait for the control views, run. Reading
the offsets before fencing gives stale ones: the commit of the producer before us may still be under way.

A turn: take what is due from the input, let the agents apply it, then one transaction with one changelog
record per dirty row, the outputs, the dead letters and the input offsets; after the commit the same rows
go to the local store, which is therefore never ahead of the changelog.

After any error the producer is thrown away and the partition is taken over again from the last commit:
a new InitProducerId settles whatever became of the transaction, which no abort would do reliably.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from atp.lane.batch import TaskTables, Turn, final_batches, slices
from atp.lane.buffer import Buffer
from atp.lane.deadline import within
from atp.lane.errors import FencedError, LaneError, RefusedError, TransientError
from atp.lane.keys import META_KEY, Key
from atp.lane.meta import LAYOUT, Meta, encode_meta
from atp.lane.pace import Pace
from atp.lane.pack import Row, turn_batches
from atp.lane.poison import PoisonLimit
from atp.lane.ports import Log, Record, TopicIdentity, Writer
from atp.lane.recovery import Recovery, start_positions
from atp.lane.rows import Rows
from atp.lane.status import Counters, TaskState, TaskStatus
from atp.lane.sweep import Sweep
from atp.lane.table import BaseTable
from atp.lane.wakes import Wakes
from atp.lane.world import World

T = TypeVar("T")
ENCODED_AT_ONCE = 2_000  # rows between two yields to the other tasks
BURST_RECORDS = 125  # a slice as short as a fact's turn: each step of the others' commits waits for one
BURST_S = 0.05  # within it an agent may go on: facts of this partition wait for the whole turn


class Task:
    """The single owner of one partition number."""

    def __init__(self, partition: int, world: World) -> None:
        self.partition = partition
        self.world = world
        self.state = TaskState.STARTING
        self.counters = Counters()
        self.last_error: str | None = None
        self.meta = Meta()
        self.recovery = Recovery(partition, world)
        self._wakes = Wakes()
        self._writer: Writer | None = None
        self._buffer: Buffer | None = None
        self._tables = TaskTables([], self._wakes)
        self._sweep: Sweep | None = None
        self._committed: dict[str, int | None] = {}
        self._views_revision = -1
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._nudge = asyncio.Event()
        self._resume = asyncio.Event()
        self._verify = False
        self._goes_on = False  # an agent has more to do, records or not
        self._doubted: str | None = None  # what was refused once
        self._stopping = False
        self._run: asyncio.Task[None] | None = None
        self._pace = Pace(world.settings.commit_interval_ms, world.settings.tick_interval_ms)
        self._last_commit_s: float | None = None
        self._poison = PoisonLimit(world.settings.dead_letters_per_minute)

    # -- life

    def start(self) -> None:
        """Begin to take over and run."""
        self._run = self.world.spawn.task(self.run(), f"lane-task-{self.partition}")

    async def stop(self) -> None:
        """Finish the turn under way if it can be done in time, then let go of everything."""
        self._stopping = True
        self._allowed.set()
        self._resume.set()
        self._wake()
        if self._run is not None:
            # Only a turn under way is worth waiting for.
            grace_s = self.world.settings.call_timeout_s if self.state is TaskState.RUNNING else 0.0
            _, running = await asyncio.wait([self._run], timeout=grace_s)
            for task in running:
                task.cancel()
                await asyncio.wait([task], timeout=self.world.settings.call_timeout_s)
        await self._let_go()
        await self.recovery.close()
        self.state = TaskState.STOPPED

    def quiesce(self) -> None:
        """A rebalance began: begin no further turn. The one under way may end; fencing protects it."""
        self._allowed.clear()

    def readmit(self) -> None:
        """The partition is still ours: go on if nobody committed in between."""
        self._verify = True
        self._allowed.set()
        self._wake()

    def resume(self) -> None:
        """Let a FAILED task take over again."""
        self._resume.set()

    async def run(self) -> None:
        """Take over and work; after an error, again."""
        pause_s = self.world.settings.retry_pause_s
        while not self._stopping:
            commits = self.counters.commits
            try:
                await self._take_over()
                await self._work()
            except FencedError as error:
                self.counters.fenced += 1
                self._note(error)
                # Whoever fenced us may be the rightful owner. Two heartbeats tell whether the group
                # still counts us in; fencing back before that would be a fight.
                await self._rest(self.world.settings.heartbeat_interval_ms * 2 / 1000)
            except TransientError as error:
                self._note(error)
                pause_s = self.world.settings.retry_pause_s if self.counters.commits > commits else pause_s * 2
                pause_s = min(pause_s, self.world.settings.retry_pause_max_s)
                await self._rest(pause_s)
            except Exception as error:  # noqa: BLE001 # whatever it is, this partition must not go on
                self._note(error)
                await self._fail()

    # -- taking over

    async def _take_over(self) -> None:
        world, partition = self.world, self.partition
        self.state = TaskState.STARTING
        self.counters.takeovers += 1
        await self._let_go()
        self._writer = await self._call(world.log.open_writer(partition))
        self._committed = await self._call(world.log.committed(partition))
        bounds = {topic: await self._call(world.log.bounds(topic, partition)) for topic in world.inputs}
        self._check_partitions([await self._call(world.log.identity(topic)) for topic in world.inputs])

        self.state = TaskState.RESTORING
        end = (await self._call(world.log.bounds(world.changelog_topic, partition))).end
        self.meta = await self.recovery.run(end)
        self._open_tables()

        transactional = self._writer.transactional
        try:
            positions = start_positions(self.meta, self._committed, bounds, world.settings, transactional)
        except RefusedError as error:
            self._look_again(error)
            raise
        self._doubted = None
        ends = {topic: bounds[topic].end for topic in positions}
        self._buffer = self._new_buffer(positions, ends)
        await self._call(world.log.attach(partition, positions, self._buffer))

        self.state = TaskState.WAITING
        await world.views.wait_for(self.meta.views, world)
        self._verify = self._goes_on = False
        self.state = TaskState.RUNNING

    def _new_buffer(self, positions: dict[str, int], ends: dict[str, int]) -> Buffer:
        settings = self.world.settings
        return Buffer(positions, ends, settings.buffer_records, settings.max_skew_ms, self.world.paced)

    def _look_again(self, error: RefusedError) -> None:
        """Refuse only what a second take-over finds as well.

        Another owner may have fenced us while we restored: then the changelog has what it committed, and the
        offsets were read before.
        """
        if self._doubted != str(error):
            self._doubted = str(error)
            raise FencedError(f"perhaps another owner committed meanwhile: {error}") from error

    def _check_partitions(self, found: list[TopicIdentity]) -> None:
        for topic, identity in zip(self.world.inputs, found, strict=True):
            count = identity.partitions
            if count != self.world.settings.partitions:
                raise LaneError(
                    f"{topic} has {count} partitions, the lane has {self.world.settings.partitions}: "
                    "keys would move between tasks; recreate the topic or start under a new application id"
                )

    def _open_tables(self) -> None:
        world, store = self.world, self.recovery.store
        assert store is not None
        # Wake times of a turn that was dropped may name keys that do not exist; the sweep sets those that count.
        self._wakes = Wakes()
        pairs = [(table, table.open(store, world.settings.cached_rows)) for table in world.tables]
        self._tables = TaskTables(pairs, self._wakes)
        self._sweep = Sweep(world.sweep_table.id, store) if world.sweep_table is not None else None
        if self._sweep is not None:
            self._sweep.generation = self.meta.sweep_generation
            self._sweep.start()
        self._views_revision = world.views.revision

    # -- running

    async def _work(self) -> None:
        while not self._stopping:
            await self._await_turn()
            if self._stopping:
                return
            if self._verify:
                await self._verify_ownership()
            turn = self._begin_turn()
            await self._process(turn)
            await self._commit(turn)
            self._goes_on = turn.more_asked or (self._goes_on and not turn.goes_on)

    async def _verify_ownership(self) -> None:
        committed = await self._call(self.world.log.committed(self.partition))
        if committed != self._committed:
            raise TransientError(f"offsets were committed by another owner: {committed}, ours {self._committed}")
        assert self._buffer is not None
        positions = self._buffer.offsets()
        bounds = {t: await self._call(self.world.log.bounds(t, self.partition)) for t in positions}
        self._buffer = self._new_buffer(positions, {topic: b.end for topic, b in bounds.items()})
        await self._call(self.world.log.attach(self.partition, positions, self._buffer))
        self._verify = False

    async def _await_turn(self) -> None:
        while not self._stopping:
            if not self._allowed.is_set():
                self.state = TaskState.QUIESCED
                await self._allowed.wait()
                self.state = TaskState.RUNNING
                continue
            assert self._buffer is not None
            self._buffer.arrived.clear()
            delay_s = self._delay_s()
            if delay_s <= 0:
                return
            # Arrivals shorten the wait only when the interval is already over.
            waits_for_input = not self._buffer.ready(paced=False) and self._pace.interval_over(self._now_s())
            event = self._buffer.arrived if waits_for_input else self._nudge
            try:
                async with asyncio.timeout(delay_s):
                    await event.wait()
            except TimeoutError:
                continue

    def _delay_s(self) -> float:
        assert self._buffer is not None
        self._nudge.clear()
        if self._verify or self._buffer.broken:
            return 0.0
        ready = self._buffer.ready(paced=False)
        if ready and self._buffer.count >= self.world.settings.turn_records:
            return 0.0
        if self._has_burst() and self.world.bursts.free(self, self._wake):
            return 0.0  # the others have had theirs meanwhile: that is pause enough
        return self._pace.delay_s(self._now_s(), ready or self._sweep_active() or self._is_due())

    def _has_burst(self) -> bool:
        assert self._buffer is not None
        return self._goes_on or self._buffer.ready(paced=True)

    def _sweep_active(self) -> bool:
        if self._sweep is None:
            return False
        return self._sweep.active or self.world.views.revision != self._views_revision

    def _is_due(self) -> bool:
        next_ms = self._wakes.next_ms()
        return next_ms is not None and next_ms <= self._time_ms([])

    def _begin_turn(self) -> Turn:
        assert self._buffer is not None
        settings = self.world.settings
        burst = self._has_burst() and self.world.bursts.begin(self)
        records = self._buffer.take(settings.turn_records, paced=burst)
        since_s, is_tick = self._pace.begin(self._now_s())
        now_ms = self._time_ms(records)
        return Turn(
            self._tables, self.partition, settings.partitions, records, now_ms, self._buffer.offsets(),
            is_tick=is_tick, due=self._wakes.pop(now_ms, settings.final_keys), swept=self._swept(since_s),
            dead_letter_bytes=settings.dead_letter_bytes, consumed_ms=self._buffer.consumed_ms(now_ms),
            goes_on=self._goes_on and burst, burst=burst,
        )  # fmt: skip

    def _time_ms(self, records: list[Record]) -> int:
        seen = max([r.timestamp_ms for r in records], default=0)
        return max(self.meta.now_ms, self.world.clock.now_ms(max(seen, self.meta.now_ms)))

    def _swept(self, since_s: float) -> list[str]:
        if self._sweep is None:
            return []
        if self.world.views.revision != self._views_revision:
            self._views_revision = self.world.views.revision
            self._sweep.start()
        rate = self.world.sweep_keys_per_s
        paced = (self.world.settings.sweep_keys_per_s if rate is None else rate()) * since_s
        return self._sweep.next(max(1, min(int(paced), self.world.settings.final_keys)))

    async def _process(self, turn: Turn) -> None:
        world, started_s = self.world, self._now_s()
        early, until_s = world.early_stages, started_s + BURST_S
        size = BURST_RECORDS if turn.burst else world.settings.slice_records
        for batch in slices(turn, early[0], world.final_stage, size, lambda: turn.burst and self._now_s() < until_s):
            everywhere = turn.is_tick or turn.goes_on or not batch.records
            for stage in early:
                if batch.items(stage) or everywhere:
                    await world.pipeline.run(stage, batch)
            await asyncio.sleep(0)
        for batch in final_batches(turn, world.final_stage, world.settings.final_keys):
            await world.pipeline.run(world.final_stage, batch)
        if turn.sweep_asked and self._sweep is not None:
            self._sweep.start()
        self.counters.last_process_ms = (self._now_s() - started_s) * 1000
        self.counters.process_ms += self.counters.last_process_ms

    # -- committing

    async def _commit(self, turn: Turn) -> None:
        started_s, writer, world = self._now_s(), self._writer, self.world
        assert writer is not None
        self._poison.add(self._now_s(), len(turn.dead_letters))
        meta = self._next_meta(turn)
        rows = await self._encode_rows()
        changelog, outputs = turn_batches(turn, rows, encode_meta(meta), self.world)
        offsets = {t: at for t, at in turn.offsets.items() if self._committed.get(t) != at}
        world.bursts.end(self)  # from here on the broker is at work

        if writer.transactional:
            await self._call(writer.begin())
            acked = await self._call(writer.send(changelog + outputs))
            if offsets:  # late: who asks for committed offsets waits from here to the end of the transaction
                await self._call(writer.send_offsets(offsets))
            await self._call(writer.commit())
        else:
            # Without transactions a crash repeats the turn. Outputs go first: once the changelog has the
            # new state, a repeated turn sees no change and would never send them again.
            await self._call(writer.send(outputs))
            acked = await self._call(writer.send(changelog[:-1]))
            acked |= await self._call(writer.send(changelog[-1:]))  # the metadata row, when all else is safe
            if offsets:
                await self._call(writer.send_offsets(offsets))

        position = acked.get((world.changelog_topic, self.partition), 0)
        written = [(key, value) for _, key, value in rows]
        self.recovery.write([*written, (META_KEY, encode_meta(meta))], position)
        self._settle(turn, meta, len(rows), started_s)

    def _next_meta(self, turn: Turn) -> Meta:
        meta = Meta(LAYOUT, turn.now_ms, dict(turn.offsets), self.world.views.positions())
        meta.pinned = dict(self.meta.pinned or self.world.settings.pinned)
        if self._sweep is not None:
            self._sweep.save(meta)
        return meta

    async def _encode_rows(self) -> list[Row]:
        rows: list[Row] = []
        for table, task_rows in self._tables.pairs:
            table.before_commit(task_rows)
            for row in task_rows.written():
                rows.append(row)
                if len(rows) % ENCODED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        return rows

    def _settle(self, turn: Turn, meta: Meta, rows: int, started_s: float) -> None:
        for _, task_rows in self._tables.pairs:
            task_rows.settle()
        self.meta = meta
        self._committed.update(turn.offsets)
        counters, self._last_commit_s = self.counters, self._now_s()
        counters.turns += 1
        counters.commits += 1
        counters.records += len(turn.records)
        counters.rows += rows
        counters.outputs += sum([len(outs) for outs in turn.outputs.values()])
        counters.dead_letters += len(turn.dead_letters)
        counters.last_commit_ms = (self._last_commit_s - started_s) * 1000
        counters.commit_ms += counters.last_commit_ms

    # -- trouble

    async def _call(self, awaitable: Awaitable[T]) -> T:
        """Every protocol call has a deadline below the transaction timeout."""
        return await within(self.world.settings.call_timeout_s, awaitable)

    async def _let_go(self) -> None:
        """Throw away the producer, the input and every row that is not committed."""
        self.world.bursts.end(self)
        self.world.log.detach(self.partition)
        for _, rows in self._tables.pairs:
            rows.drop()
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()

    async def _rest(self, pause_s: float) -> None:
        self.state = TaskState.WAITING
        self.world.on_trouble(self.partition, self.state, self.last_error or "")
        await self._let_go()
        if not self._stopping:
            self._nudge.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._nudge.wait()
        await self._allowed.wait()

    async def _fail(self) -> None:
        self.state = TaskState.FAILED
        self.world.on_trouble(self.partition, self.state, self.last_error or "")
        await self._let_go()
        self._resume.clear()
        if not self._stopping:
            await self._resume.wait()

    def _note(self, error: Exception) -> None:
        self.counters.errors += 1
        cause = f" (from {error.__cause__!r})" if error.__cause__ is not None else ""
        self.last_error = f"{type(error).__name__}: {error}{cause}"

    def _wake(self) -> None:
        self._nudge.set()
        if self._buffer is not None:
            self._buffer.arrived.set()

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    # -- telling

    def committed(self, table: BaseTable, key: Key) -> object:
        """A committed row, decoded afresh; None while the task restores."""
        return None if self.state is TaskState.RESTORING else self._rows_of(table).committed(key)

    def _rows_of(self, table: BaseTable) -> Rows:
        for declared, rows in self._tables.pairs:
            if declared is table:
                return rows
        raise LaneError(f"partition {self.partition} has not opened table {table.name!r} yet")

    def status(self) -> TaskStatus:
        """What an operator wants to know."""
        now_s = self._now_s()
        restore = self.recovery.progress
        return TaskStatus(
            partition=self.partition, state=self.state,
            guarantee=guarantee_of(self.world.log),
            now_ms=self.meta.now_ms, offsets=dict(self.meta.offsets),
            lag=self._buffer.lag() if self._buffer is not None else {},
            restored_records=restore.records, restore_rate=restore.rate(now_s), restore_eta_s=restore.eta_s(now_s),
            last_commit_s=None if self._last_commit_s is None else now_s - self._last_commit_s,
            last_error=self.last_error or self.world.views.error,
            sweeping=self._sweep is not None and self._sweep.active,
        )  # fmt: skip


def guarantee_of(log: Log) -> str:
    """Which guarantee holds on this broker."""
    return "exactly_once" if log.transactional else "at_least_once"

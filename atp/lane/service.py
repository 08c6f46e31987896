"""The lane as Faust sees it: channels for agents, tables, and a service that starts after the agents.

`Lane(app, …)` registers the service with the app, so `faust -A … worker` runs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from mode import Service

from atp.lane.batch import Batch
from atp.lane.channels import StageChannel
from atp.lane.clock import SystemClock
from atp.lane.errors import LaneError
from atp.lane.kafka_log import KafkaLog
from atp.lane.keys import Key, partition_of
from atp.lane.manager import Manager
from atp.lane.marks import MarkTable
from atp.lane.ports import AsyncioSpawn, Clock
from atp.lane.rocks import RocksStores
from atp.lane.settings import LaneSettings
from atp.lane.spread import SpreadTable
from atp.lane.status import Counters, TaskState, TaskStatus
from atp.lane.table import BaseTable, Table
from atp.lane.task import guarantee_of
from atp.lane.views import View, Views
from atp.lane.world import World

R = TypeVar("R")
logger = structlog.get_logger("atp.lane")


class Lane:
    """Feeds co-partitioned topics to Faust agents, one transaction per partition and commit interval."""

    def __init__(
        self,
        app: Any,
        *,
        name: str,
        inputs: list[str],
        stages: list[str],
        settings: LaneSettings,
        final_stage: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if len(stages) < 2 or len(set(stages)) < len(stages):
            raise LaneError(f"a lane needs at least two different stages, one of them final; not {stages}")
        self.app = app
        self.name = name
        self.full_name = f"{app.conf.id}-{name}"
        self.settings = settings
        self.manager: Manager | None = None
        self._channels = {stage: StageChannel(app, stage=stage) for stage in stages}
        self.stores = RocksStores(settings, self.full_name)
        self.world = World(
            settings=settings, log=None, stores=self.stores,  # type: ignore[arg-type] # set when it starts
            clock=clock or SystemClock(), spawn=AsyncioSpawn(), pipeline=_Agents(self), views=Views(),
            inputs=inputs, stages=stages, final_stage=final_stage or stages[-1],
            changelog_topic=self.changelog_topic,
            wall_ms=lambda: time.time_ns() // 1_000_000, on_trouble=self._on_trouble,
        )  # fmt: skip
        app.service(_service_of(self))

    # -- declaring

    @property
    def changelog_topic(self) -> str:
        """The one compacted topic for all tables; key = two-byte table id + encoded key."""
        return f"{self.full_name}-changelog"

    def stage(self, name: str) -> StageChannel:
        """The channel an agent of this stage subscribes to."""
        return self._channels[name]

    def table(self, name: str, row: type[R]) -> Table[R]:
        """A table of rows keyed by tuples of strings; the first part is the record key."""
        table: Table[R] = Table(name, row)
        self._declare(table)
        return table

    def spread_table(self, name: str, row: type[R]) -> SpreadTable[R]:
        """A table of many small rows per record key."""
        table: SpreadTable[R] = SpreadTable(name, row)
        self._declare(table)
        return table

    def mark_table(self, name: str) -> MarkTable:
        """A table of marks that tell whether something was seen."""
        table = MarkTable(name)
        self._declare(table)
        return table

    def view(self, topic: str, *, sweeps: bool = True) -> View:
        """A control topic every task reads whole. `sweeps`: a change has every key looked at again."""
        return self.world.views.add(topic, sweeps=sweeps)

    def pace(self, topic: str, records: int) -> None:
        """Let a turn take at most so many records of an input topic: a burst in it makes no other one wait."""
        if topic not in self.world.inputs:
            raise LaneError(f"topic = {topic!r}: only inputs of the lane are paced: {', '.join(self.world.inputs)}")
        self.world.paced[topic] = records

    def sweep_over(self, table: BaseTable) -> None:
        """The table whose record keys a sweep visits."""
        self.world.sweep_table = table

    def sweep_at(self, keys_per_s: Callable[[], int]) -> None:
        """How fast a sweep goes, if others than the settings decide: keys a second and task, at least 1."""
        self.world.sweep_keys_per_s = keys_per_s

    def _declare(self, table: BaseTable) -> None:
        for other in self.world.tables:
            if other.id == table.id:
                raise LaneError(f"tables {other.name!r} and {table.name!r} share an id: rename one")
        self.world.tables.append(table)

    # -- operating

    def status(self) -> list[TaskStatus]:
        """One line per task of this worker."""
        tasks = self.manager.tasks if self.manager is not None else {}
        return [tasks[p].status() for p in sorted(tasks)]

    def counters(self) -> dict[int, Counters]:
        """Totals per task of this worker."""
        tasks = self.manager.tasks if self.manager is not None else {}
        return {p: tasks[p].counters for p in sorted(tasks)}

    def resume(self, partition: int) -> None:
        """Let a FAILED task take over again."""
        if self.manager is None or partition not in self.manager.tasks:
            raise LaneError(f"partition {partition} is not here")
        self.manager.tasks[partition].resume()

    def committed(self, table: BaseTable, key: Key) -> Any:
        """A committed row; `LookupError` when another worker owns the key."""
        partition = partition_of(key[0], self.settings.partitions)
        if self.manager is None or partition not in self.manager.tasks:
            raise LookupError(f"partition {partition} of {key[0]!r} is not here")
        return self.manager.tasks[partition].committed(table, key)

    def _on_trouble(self, partition: int, state: str, reason: str) -> None:
        tell = logger.error if state == TaskState.FAILED else logger.warning
        tell("lane_task_trouble", lane=self.full_name, partition=partition, state=state, reason=reason)

    # -- running

    async def start(self, on_fatal: Any) -> list[asyncio.Task[None]]:
        """Connect, follow the views, join the group; the tasks to supervise."""
        self.manager = manager = Manager(self.world)
        log = KafkaLog(
            self.settings, self.full_name, self.world.inputs, self.world.paced, self.stores.local,
            manager.revoked, manager.assigned, on_fatal,
        )  # fmt: skip
        self.world.log = self._log = log
        await log.start()
        logger.info("lane_started", lane=self.full_name, guarantee=guarantee_of(log))
        views = self.world.spawn.task(self.world.views.follow(self.world), "lane-views")
        await log.join()
        return [views, self.world.spawn.task(manager.run(), "lane-manager")]

    async def stop(self) -> None:
        """Finish or abandon what is under way, then close producers, consumer and stores."""
        if self.manager is not None:
            await self.manager.stop()
        if self.world.log is not None:
            await self._log.stop()


class _Agents:
    """The pipeline: each stage's agent through its channel."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def run(self, stage: str, batch: Batch) -> None:
        """Let the agent handle the batch."""
        batch.enter_stage(stage)
        await self._lane.stage(stage).run(batch, self._lane.settings.stage_timeout_s)
        batch.check()


def _service_of(lane: Lane) -> type[Service]:
    """Faust registers service classes; this one runs the given lane."""

    class LaneService(Service):
        """Starts after the agents, stops before them."""

        async def on_start(self) -> None:
            self._running = await lane.start(self._on_fatal)
            for task in self._running:
                task.add_done_callback(self._on_done)

        def _on_fatal(self, error: Exception) -> None:
            self.add_future(self.crash(error))

        def _on_done(self, task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self._on_fatal(task.exception())  # type: ignore[arg-type]

        async def on_stop(self) -> None:
            for task in getattr(self, "_running", []):
                task.cancel()
            await lane.stop()

    return LaneService

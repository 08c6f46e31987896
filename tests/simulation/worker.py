"""A worker process of the simulation: the real lane on simulated ports, and a disk that outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from atp.lane.errors import TransientError
from atp.lane.keys import LOCAL_KEY
from atp.lane.manager import Manager
from atp.lane.memory import MemoryLog, MemoryStore, MemoryStores
from atp.lane.meta import decode_local, encode_local
from atp.lane.ports import CorruptError
from atp.lane.views import Views
from atp.lane.world import World
from tests.simulation.faults import DISK_FAULTS, RESTART_FAULTS
from tests.simulation.loop import Process
from tests.simulation.network import Network
from tests.simulation.toy import CHANGELOG

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

APPLICATION = "sim"
Rows = dict[bytes, bytes]


class Disk(MemoryStores):
    """The stores of one machine. It may be full, and while the worker is down things may happen to it."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__()
        self._simulation = simulation
        self.corrupt: set[int] = set()
        self.old: dict[int, Rows] = {}

    def open(self, partition: int) -> MemoryStore:
        """Open or create."""
        if partition in self.corrupt:
            raise CorruptError("as the seed wanted")
        store = super().open(partition)
        store.write = self._or_full(store.write)  # type: ignore[method-assign]
        return store

    def wipe(self, partition: int) -> None:
        """Delete everything."""
        self.corrupt.discard(partition)
        super().wipe(partition)

    def remember(self) -> None:
        """Copy it, so that an old state can come back."""
        self.old = {partition: dict(rows) for partition, rows in self.disks.items()}

    def spoil(self) -> str | None:
        """What happened to it while its worker was down."""
        fault = self._simulation.faults.draw(RESTART_FAULTS, "restart")
        if fault == "disk wiped":
            self.disks.clear()
        elif fault == "disk stale":
            self.disks = {partition: dict(rows) for partition, rows in self.old.items()}
        elif fault == "disk corrupt":
            self.corrupt = set(self.disks)
        elif fault == "disk of another log":
            for rows in self.disks.values():
                _move_beyond_the_log(rows)
        return fault

    def _or_full(self, write: Callable[..., None]) -> Callable[..., None]:
        def write_or_raise(rows: Iterable[tuple[bytes, bytes | None]]) -> None:
            if self._simulation.faults.draw(DISK_FAULTS, "store write") is not None:
                raise TransientError("local store: no space left, as the seed wanted")
            write(rows)

        return write_or_raise


def _move_beyond_the_log(rows: Rows) -> None:
    if LOCAL_KEY in rows:
        local = decode_local(rows[LOCAL_KEY])
        local.position += 10_000
        rows[LOCAL_KEY] = encode_local(local)
        rows[b"\x00\x09not ours"] = b"x"


class Threads:
    """Work beside the loop takes a moment, and goes on when nobody waits for it any more."""

    def __init__(self, process: Process, simulation: Simulation) -> None:
        self._process = process
        self._simulation = simulation

    def task(self, work: Any, name: str) -> asyncio.Task[None]:
        """Run a coroutine beside the caller."""
        return asyncio.get_running_loop().create_task(work, name=name)

    async def thread(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run it a moment later."""
        self._process.step = f"disk {work.__name__}"
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._process.later(self._simulation.rng.uniform(0.0005, 0.02), self._run, done, work, args)
        return await done

    def _run(self, done: asyncio.Future[Any], work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            found = work(*args)
        except Exception as error:  # noqa: BLE001 # handed to who waits
            if not done.done():
                done.set_exception(error)
            return
        if not done.done():
            done.set_result(found)
        elif isinstance(found, MemoryStore):
            found.close()  # nobody took it: what the garbage collector does with a database


class Worker:
    """One machine: its disk, and, one after the other, its processes."""

    def __init__(self, name: str, simulation: Simulation) -> None:
        self.name = name
        self._simulation = simulation
        self.disk = Disk(simulation)
        self.lives = 0
        self.process: Process
        self.manager: Manager
        self.views: Views
        self.stopping = False

    def start(self) -> None:
        """A new process on this machine."""
        simulation = self._simulation
        self.lives += 1
        self.generation = 0  # of the group, as far as this process was told
        self.stopping = False
        self.process = process = Process(f"{self.name}.{self.lives}", simulation.loop)
        simulation.processes.append(process)
        self.views = Views()
        self.domain = simulation.make_domain(self.views, process)
        self.log = MemoryLog(
            simulation.broker, APPLICATION, self.domain.inputs, Network(simulation, process).call,
            transactional=simulation.transactional, read_at_once=simulation.read_at_once,
        )  # fmt: skip
        self.world = World(
            settings=simulation.settings, log=self.log, stores=self.disk, clock=simulation.clock,
            spawn=Threads(process, simulation), pipeline=self.domain, views=self.views, inputs=self.domain.inputs,
            stages=self.domain.stages, final_stage=self.domain.stages[-1], changelog_topic=CHANGELOG,
            tables=self.domain.tables, sweep_table=self.domain.sweep_table, wall_ms=simulation.wall_ms,
            on_trouble=lambda partition, state, reason: simulation.note(process.name, f"{partition} {state}", reason),
        )  # fmt: skip
        self.manager = Manager(self.world)
        for work in (self.views.follow(self.world), self.manager.run()):
            process.spawn(work).add_done_callback(simulation.ended)

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.disk.crash()

    def stop(self) -> asyncio.Task[Any]:
        """End in good order."""
        self.stopping = True
        return self.process.spawn(self._stop())

    async def _stop(self) -> None:
        await self.manager.stop()
        self.kill()

"""One seed: a few workers, a few seconds of trouble, then peace, in which everything must come right.

Long because it is one script: what a run draws, what it lets happen, when it is over.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from atp.lane.memory import MemoryBroker
from atp.lane.settings import LaneSettings
from atp.lane.status import TaskState
from atp.lane.views import Views
from tests.simulation import invariants
from tests.simulation.faults import AGENT_FAULTS, Faults
from tests.simulation.group import Group
from tests.simulation.inputs import Upstream
from tests.simulation.invariants import BrokenError
from tests.simulation.loop import ALIVE, DeadlockError, Process, VirtualLoop
from tests.simulation.strokes import Strokes
from tests.simulation.toy import CHANGELOG, CONTROL, INPUTS, LETTERS, OUTPUT, Toy
from tests.simulation.worker import Worker

TROUBLE_S, PEACE_S, STOP_S, LOOK_S = 3.0, 30.0, 5.0, 0.1
EPOCH_MS = 1_700_000_000_000
AT_LEAST_ONCE_SHARE = 0.15


class Clock:
    """The wall clock of all machines; it may jump."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def now_ms(self, seen_ms: int) -> int:
        """Milliseconds since the epoch."""
        return self._simulation.wall_ms()


class Simulation:
    """Everything of one run."""

    domain: Any = Toy
    inputs: list[str] = INPUTS
    controls: tuple[str, ...] = (CONTROL,)
    outputs: tuple[str, ...] = (OUTPUT,)

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = Random(seed)
        self.loop = VirtualLoop(rng)
        self.transactional = rng.random() >= AT_LEAST_ONCE_SHARE
        self.faults = Faults(rng, self.transactional)
        self.settings = self._settings()
        self.read_at_once = rng.choice((1, 5, 500))
        self.clock = Clock(self)
        self.clock_skew_ms = 0
        self.over = False  # all has come right, the workers are told to stop
        self.under_way = 0  # requests that have left and not arrived
        self.trace: list[tuple[float, str, str, str]] = []
        self.processes: list[Process] = []
        self.broken: list[str] = []
        self.broker = self._broker()
        self.group = Group(self)
        self.workers = [Worker(f"w{i}", self) for i in range(3 if self.transactional else 1)]
        self.strokes = Strokes(self)
        self.upstream: Any = self.make_upstream()

    def _settings(self) -> LaneSettings:
        rng = self.rng
        return LaneSettings(
            bootstrap_servers="", data_dir="", partitions=rng.choice((1, 2, 2, 3)), dead_letter_topic=LETTERS,
            commit_interval_ms=rng.choice((10, 50)), tick_interval_ms=rng.choice((300, 700)),
            call_timeout_s=0.4, heartbeat_interval_ms=50, retry_pause_s=0.02, retry_pause_max_s=0.2,
            slice_records=rng.choice((2, 100)), final_keys=rng.choice((2, 100)), turn_records=rng.choice((3, 1_000)),
            buffer_records=rng.choice((3, 1_000)), max_skew_ms=rng.choice((500, 3_600_000)),
            cached_rows=rng.choice((2, 1_000)), sweep_keys_per_s=rng.choice((20, 1_000)),
            max_message_bytes=rng.choice((4_000, 1_048_576)),
        )  # fmt: skip

    def _broker(self) -> MemoryBroker:
        broker = MemoryBroker()
        for topic in (*self.inputs, *self.outputs, LETTERS, CHANGELOG):
            broker.create(topic, self.settings.partitions)
        for topic in self.controls:
            broker.create(topic, 1)
        broker.later = lambda write_markers: self.loop.later(self.rng.choice((0, 0.001, 0.02)), write_markers)
        return broker

    # -- what the parts of a run ask for

    def true_ms(self) -> int:
        """The time where the facts come from."""
        return EPOCH_MS + int(self.loop.time() * 1000)

    def wall_ms(self) -> int:
        """The workers' wall clock."""
        return self.true_ms() + self.clock_skew_ms

    def note(self, who: str, what: str, fault: str = "") -> None:
        """One line of the trace."""
        self.trace.append((self.loop.time(), who, what, fault))

    def is_down(self, request: str) -> bool:
        """Whether a topic that the request writes to is unavailable."""
        return self.strokes.letters_down and request == f"send {LETTERS}"

    def took_effect(self, request: str) -> None:
        """The brokers changed: the offsets may not be ahead of the state at any moment."""
        if request in ("commit", "init", "offsets"):
            self._must(invariants.i4_offsets_are_not_ahead_of_the_state)

    def _must(self, invariant: Callable[[Simulation], None]) -> None:
        """Check something in the middle of the run; what is wrong ends it at the next look."""
        try:
            invariant(self)
        except BrokenError as error:
            self.broken.append(str(error))

    def make_domain(self, views: Views, process: Process) -> Any:
        """The agents of a new process."""
        return self.domain(views, lambda stage: self._agent(process, stage))

    def make_upstream(self) -> Any:
        """Who writes the input."""
        return Upstream(self)

    def _agent(self, process: Process, stage: str) -> None:
        if self.faults.draw(AGENT_FAULTS, f"stage {stage}") is not None:
            self.note(process.name, f"stage {stage}", "agent raises")
            raise ValueError("as the seed wanted")

    def ended(self, task: asyncio.Task[Any]) -> None:
        """A service of a worker ended by itself: its process would be gone."""
        if not task.cancelled() and task.exception() is not None:
            self.broken.append(f"a service ended: {task.exception()!r}")

    # -- the run

    def run(self) -> Simulation:
        """All of it; raises `BrokenError` when an invariant does not hold."""
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._main())
        except DeadlockError as error:
            self.loop.ran = 0
            raise BrokenError(f"I6 lag: the run does not end: {error}") from None
        finally:
            self._bury()
        return self

    def _bury(self) -> None:
        self.faults.on = False
        for process in self.processes:
            process.bury()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=60))
        self.loop.close()
        asyncio.set_event_loop(None)

    async def _main(self) -> None:
        self.begin()
        await asyncio.sleep(TROUBLE_S)
        await self._make_peace()
        await self._settle()
        self.check_workers()
        self.over = True
        await self._stop()
        if self.broken:
            raise BrokenError(self.broken[0])
        self.check()

    def begin(self) -> None:
        """Workers, input and trouble."""
        self.upstream.plan(self.rng.randint(10, 60), TROUBLE_S)
        for worker in self.workers[: self.rng.randint(1, len(self.workers))]:
            self.strokes.bring_up(worker)
        self.strokes.plan(TROUBLE_S)
        self.loop.later(LOOK_S, self._look)

    def _look(self) -> None:
        """What must hold at any moment."""
        self._must(Simulation.check_workers)
        if not self.over:
            self.loop.later(LOOK_S, self._look)

    async def _make_peace(self) -> None:
        self.note("script", "peace")
        self.faults.on = False
        self.strokes.undo()
        self.clock_skew_ms = 0
        for _ in range(3):
            self.upstream.write()
        await asyncio.sleep(0)

    async def _settle(self) -> None:
        deadline_s = self.loop.time() + PEACE_S
        before: Counter[tuple[str, int]] | None = None
        while True:
            self._resume_failed()
            commits = self._commits()
            if not self._is_settled():
                before = None
            elif before is None:
                before = commits
            elif all(commits[task] > before[task] + 1 for task in commits):
                return
            if self.broken:
                raise BrokenError(self.broken[0])
            if self.loop.time() > deadline_s:
                raise BrokenError(f"I6 lag: not settled after {PEACE_S} s: {self._unsettled()}")
            await asyncio.sleep(0.1)

    def _live(self) -> list[Worker]:
        return [w for w in self.workers if w.lives and w.process.state == ALIVE and not w.stopping]

    def _commits(self) -> Counter[tuple[str, int]]:
        return Counter({(w.name, p): t.counters.commits for w in self._live() for p, t in w.manager.tasks.items()})

    def _resume_failed(self) -> None:
        """The operator removes what an agent stumbled over, and nothing else."""
        invariants.nobody_failed_without_cause(self)
        for worker in self._live():
            for task in worker.manager.tasks.values():
                if task.state is TaskState.FAILED:
                    task.resume()

    def _is_settled(self) -> bool:
        return not self._unsettled()

    def _unsettled(self) -> str:
        group = self.broker.offsets.get("sim", {})
        lag = [
            f"{topic}/{number} stands at {group.get((topic, number))} of {partition.next}"
            for topic in self.inputs
            for number, partition in enumerate(self.broker.topics[topic])
            if group.get((topic, number), 0) != partition.next
        ]
        tasks = [(w.name, p, t) for w in self._live() for p, t in w.manager.tasks.items()]
        quiet = {p for _, p, task in tasks if self._is_quiet(task)}
        if lag or self.under_way or len(quiet) < self.settings.partitions:
            states = [f"{name}/{p} {task.state}: {task.last_error}" for name, p, task in tasks]
            return f"{lag}; {self.under_way} requests under way; tasks {states}"
        return ""

    def _is_quiet(self, task: Any) -> bool:
        views = task.world.views.positions()
        current = all(at == [p.next for p in self.broker.topics[topic]] for topic, at in views.items())
        return task.state is TaskState.RUNNING and current and not self.waits(task)

    def waits(self, task: Any) -> bool:
        """Whether something is still to be published: a sweep, or a unit that is not ripe yet."""
        return bool(task._sweep_active() or task._wakes.next_ms() is not None)

    async def _stop(self) -> None:
        stopping = [worker.stop() for worker in self._live()]
        _, late = await asyncio.wait(stopping, timeout=STOP_S)
        for _ in late:
            raise BrokenError(f"I6 lag: a worker did not stop within {STOP_S} s")
        await asyncio.sleep(0.1)  # the markers of the last commits are written

    def check_workers(self) -> None:
        """What must hold while the workers still live."""
        for worker in self._live():
            invariants.i7_memory_is_bounded(worker, self)

    def check(self) -> None:
        """What must hold at the end."""
        for invariant in [*invariants.TOY, *invariants.ALWAYS]:
            invariant(self)


def replay_lines(trace: list[tuple[float, str, str, str]], *, faults_only: bool) -> list[str]:
    """The trace, or the schedule of its faults, as text."""
    shown = [line for line in trace if line[3] or not faults_only or line[1] in ("script", "group")]
    return [f"{at:9.4f}  {who:8} {what}{'  ← ' + fault if fault else ''}" for at, who, what, fault in shown]

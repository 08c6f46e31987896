"""What happens to the world in a run: crashes, zombies, rebalances, a clock that jumps, a topic that is down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.group import SESSION_S
from tests.simulation.loop import ALIVE
from tests.simulation.toy import CHANGELOG

if TYPE_CHECKING:
    from tests.simulation.run import Simulation
    from tests.simulation.worker import Worker

BACK_S = (0.05, 0.5, 2.5)  # a crashed worker starts again within its session, or after it
HOUR_MS = 3_600_000


class Strokes:
    """The few large things that happen in one run."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._rng = simulation.rng
        self.letters_down = False

    def plan(self, until_s: float) -> None:
        """Draw what happens, and when."""
        for kind in self._simulation.faults.strokes():
            action: Callable[[], None] = getattr(self, f"_{kind.replace(' ', '_')}")
            self._simulation.loop.later(self._rng.uniform(0, until_s * 0.8), action)
        for worker in self._simulation.workers:
            self._simulation.loop.later(self._rng.uniform(0, until_s), worker.disk.remember)

    def undo(self) -> None:
        """Peace: what is down comes up, what is frozen goes on, what is dead starts again."""
        self.letters_down = False
        for worker in self._simulation.workers:
            if worker.lives and worker.process.state != ALIVE:
                self._come_back(worker)
            elif worker.lives:
                worker.process.after_steps(1 << 60, lambda: None)

    def bring_up(self, worker: Worker) -> None:
        """Start a worker, with whatever happened to its disk."""
        fault = worker.disk.spoil() if worker.lives else None
        if fault is not None:
            self._simulation.note(worker.name, "disk", fault)
        worker.start()
        self._simulation.note(worker.name, f"start {worker.lives}")
        self._simulation.group.join(worker)

    def _come_back(self, worker: Worker) -> None:
        if worker.process.state == "frozen":
            self._thaw(worker)
        elif worker.process.state == "dead":
            self.bring_up(worker)

    def _somebody(self) -> Worker | None:
        alive = [w for w in self._simulation.workers if w.lives and w.process.state == ALIVE and not w.stopping]
        return self._rng.choice(alive) if alive else None

    def _soon(self, kind: str, action: Callable[[Worker], None]) -> None:
        """Let a stroke fall between any two steps of some worker."""
        worker = self._somebody()
        if worker is None:
            return
        process, simulation = worker.process, self._simulation

        def strike() -> None:
            simulation.faults.hit(kind, process.step)
            simulation.note(process.name, process.step, kind)
            action(worker)

        process.after_steps(self._rng.randrange(150), strike)

    def _hit(self, kind: str) -> None:
        self._simulation.faults.hit(kind, "world")
        self._simulation.note("script", kind, kind)

    # -- the strokes, by name

    def _crash(self) -> None:
        self._soon("crash", self._kill)

    def _kill(self, worker: Worker) -> None:
        worker.kill()
        self._simulation.group.silent(worker)
        self._simulation.loop.later(self._rng.choice(BACK_S), self._revive, worker)

    def _revive(self, worker: Worker) -> None:
        if worker.process.state == "dead" and not self._simulation.over:
            self.bring_up(worker)

    def _stall(self) -> None:
        self._soon("stall", lambda worker: self._freeze(worker, self._rng.uniform(0.01, 0.8)))

    def _zombie(self) -> None:
        self._soon("zombie", lambda worker: self._freeze(worker, SESSION_S * self._rng.uniform(1.1, 2.0)))

    def _freeze(self, worker: Worker, for_s: float) -> None:
        worker.process.freeze()
        process = worker.process
        self._simulation.group.silent(worker)
        self._simulation.loop.later(for_s, lambda: process is worker.process and self._thaw(worker))

    def _thaw(self, worker: Worker) -> None:
        simulation, process = self._simulation, worker.process
        if process.state != "frozen":
            return
        process.thaw()
        simulation.note(process.name, "goes on")
        if worker.name not in simulation.group.members:
            # It finds out with its next heartbeat; until then it takes itself for the owner.
            simulation.loop.later(self._rng.uniform(0.01, 0.4), self._rejoin, worker)

    def _rejoin(self, worker: Worker) -> None:
        group = self._simulation.group
        if worker.process.state == ALIVE and not worker.stopping and worker.name not in group.members:
            group.join(worker)

    def _orderly_stop(self) -> None:
        def stop(worker: Worker) -> None:
            worker.stop()
            self._simulation.group.silent(worker)
            self._simulation.loop.later(self._rng.choice(BACK_S), self._replace, worker, worker.process)

        self._soon("orderly stop", stop)

    def _replace(self, worker: Worker, process: object) -> None:
        if worker.process is process and not self._simulation.over:
            worker.kill()
            self.bring_up(worker)

    def _rebalance(self) -> None:
        self._hit("rebalance")
        self._simulation.group.rebalance()

    def _worker_joins(self) -> None:
        new = [worker for worker in self._simulation.workers if not worker.lives]
        if new:
            self._hit("worker joins")
            self.bring_up(new[0])

    def _dead_letters_down(self) -> None:
        self._hit("dead letters down")
        self.letters_down = True
        self._simulation.loop.later(self._rng.uniform(0.1, 1.5), lambda: setattr(self, "letters_down", False))

    def _compaction(self) -> None:
        self._hit("compaction")
        self._simulation.broker.compact(CHANGELOG)

    def _clock_jump(self) -> None:
        self._hit("clock jump")
        self._simulation.clock_skew_ms += self._rng.choice((-HOUR_MS, HOUR_MS, -500, 500))

    def _burst(self) -> None:
        self._hit("burst")
        for _ in range(60):
            self._simulation.upstream.write()

    def _policy_changed(self) -> None:
        self._hit("policy changed")
        self._simulation.upstream.policy()

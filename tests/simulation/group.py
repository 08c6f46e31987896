"""The consumer group of the simulation: who owns which partition, as far as the brokers know.

Eager: everyone is told to stop, then everyone learns what is his. A member that is silent for the session timeout
loses its partitions; when it wakes up it still acts as their owner, until it learns better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.loop import ALIVE, Process

if TYPE_CHECKING:
    from tests.simulation.run import Simulation
    from tests.simulation.worker import Worker

SESSION_S = 1.0


class Group:
    """Members and their partitions."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.members: dict[str, Worker] = {}
        self.owned: dict[str, set[int]] = {}
        self._pending = False
        self._generation = 0

    def join(self, worker: Worker) -> None:
        """A process starts. A static member that is still known gets back what it had, at once."""
        if worker.name in self.members:
            worker.process.later(0.01, self._tell, worker, self._generation, set(self.owned[worker.name]))
            return
        self.members[worker.name] = worker
        self.owned.setdefault(worker.name, set())
        self.rebalance()

    def leave(self, worker: Worker) -> None:
        """Its session ended."""
        if self.members.pop(worker.name, None) is not None:
            self.owned.pop(worker.name)
            self.rebalance()

    def silent(self, worker: Worker) -> None:
        """It sends no heartbeats from now on, unless it comes back in time."""
        process = worker.process
        self._simulation.loop.later(SESSION_S, self._expire, worker, process)

    def _expire(self, worker: Worker, process: Process) -> None:
        if worker.process is process and process.state != ALIVE and not self._simulation.over:
            self._simulation.note("group", f"{worker.name} is silent")
            self.leave(worker)

    def rebalance(self) -> None:
        """Once for all that asked by now."""
        if not self._pending:
            self._pending = True
            self._simulation.loop.later(0.02, self._rebalance)

    def _rebalance(self) -> None:
        self._pending = False
        if not self.members:
            return
        self._generation += 1
        self._assign()
        self._simulation.note("group", str({name: sorted(owned) for name, owned in self.owned.items()}))
        rng = self._simulation.rng
        for name, worker in self.members.items():
            revoked_s = rng.uniform(0.0, 0.03)
            worker.process.later(revoked_s, worker.manager.revoked)
            told_s = 0.03 + rng.uniform(0, 0.03)
            worker.process.later(told_s, self._tell, worker, self._generation, set(self.owned[name]))

    def _tell(self, worker: Worker, generation: int, owned: set[int]) -> None:
        """A client knows an answer to an earlier join by its generation."""
        if generation >= worker.generation:
            worker.generation = generation
            worker.manager.assigned(owned)

    def _assign(self) -> None:
        rng, names = self._simulation.rng, list(self.members)
        before = {p: name for name, owned in self.owned.items() for p in sorted(owned)}
        self.owned = {name: set() for name in names}
        for partition in range(self._simulation.settings.partitions):
            kept = before.get(partition)
            name = kept if kept in self.owned and rng.random() < 0.6 else rng.choice(names)
            self.owned[name].add(partition)

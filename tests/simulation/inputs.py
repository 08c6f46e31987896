"""What upstream writes in a run of the toy domain: facts, duplicates, disorder, poison, aborted transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atp.lane.keys import partition_of
from atp.lane.memory import MemoryBroker, MemoryTransaction
from atp.lane.ports import Record
from tests.simulation.faults import UPSTREAM
from tests.simulation.toy import CONTROL, INPUTS

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

Fact = tuple[str, str, str, int]  # topic, key, value, timestamp_ms


class Upstream:
    """Writes facts at their times."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._broker: MemoryBroker = simulation.broker
        self._rng = simulation.rng
        self._written: list[Fact] = []
        self._policy = 0
        self._keys = [f"k{i}" for i in range(self._rng.choice((2, 5, 12)))]

    def plan(self, count: int, until_s: float) -> None:
        """So many facts, until that time."""
        for _ in range(count):
            self._simulation.loop.later(self._rng.uniform(0, until_s), self.write)

    def write(self) -> None:
        """One fact, or what a fault makes of it."""
        faults = self._simulation.faults
        fault = faults.draw(UPSTREAM, "input")
        if fault in ("duplicate", "conflict") and not self._written:
            fault = None
        if fault == "duplicate":
            self._append(*self._rng.choice(self._written))
        elif fault == "conflict":
            topic, key, value, at_ms = self._rng.choice(self._written)
            name, units, ripe_ms = value.split("|")
            self._append(topic, key, f"{name}|{int(units) + 1}|{ripe_ms}", at_ms)
        elif fault == "poison":
            self._append(self._rng.choice(INPUTS), self._rng.choice(self._keys), "poison", self._simulation.true_ms())
        else:
            self._write_fact(fault)

    def policy(self) -> None:
        """A new revision of the policy."""
        self._policy += 1
        self._broker.produce(CONTROL, "policy", str(self._policy).encode(), self._simulation.true_ms())

    def _write_fact(self, fault: str | None) -> None:
        rng, wall_ms = self._rng, self._simulation.true_ms()
        topic, key = rng.choice(INPUTS), rng.choice(self._keys)
        at_ms = wall_ms - (rng.randrange(3_000) if fault == "disorder" else 0)
        ripe_ms = at_ms + rng.choice((0, 0, 300, 1_000))
        value = f"e{len(self._written)}|{rng.randint(1, 9)}|{ripe_ms}"
        self._written.append((topic, key, value, at_ms))
        if fault in ("upstream aborted", "upstream slow"):
            self._in_transaction(topic, key, value, at_ms, commit=fault == "upstream slow")
        elif fault == "wrong partition":
            count = len(self._broker.topics[topic])
            self._append(topic, key, value, at_ms, (partition_of(key, count) + 1) % count)
        else:
            self._append(topic, key, value, at_ms)

    def _append(self, topic: str, key: str, value: str, at_ms: int, partition: int | None = None) -> None:
        self._broker.produce(topic, key, value.encode(), at_ms, partition)

    def _in_transaction(self, topic: str, key: str, value: str, at_ms: int, *, commit: bool) -> None:
        number = partition_of(key, len(self._broker.topics[topic]))
        where = self._broker.partition(topic, number)
        transaction = MemoryTransaction("upstream")
        transaction.append(where, Record(topic, number, where.next, at_ms, key.encode(), value.encode()))
        end_s = self._rng.uniform(0.01, 0.5)
        self._simulation.loop.later(end_s, lambda: transaction.end(self._broker, commit=commit))

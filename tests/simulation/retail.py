"""The product itself in the simulation: its agents and tables, random histories, and the oracle to hold it against.

The oracle was written from the domain text alone (`tests/oracle`). Records must be its records whatever happened
on the way; the time is the one of the history's last recorded fact, so that the oracle and all tasks share it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from typing import Any

import agents.availability
import agents.damages
import agents.intake
import agents.lags
import agents.ledger
import agents.receipts
import agents.reconciliation
import agents.reservations
import agents.stock
from atp import topics
from atp.app import lane
from atp.domain.freshness import Sightings
from atp.domain.lags import Lags
from atp.domain.record import comparable
from atp.lane.batch import Batch
from atp.lane.memory import MemoryBroker
from atp.lane.views import Views
from atp.world import ControlWorld
from tests.oracle.histories import random_history, shuffled_with_duplicates
from tests.oracle.reckoning import reckon
from tests.simulation import invariants
from tests.simulation.closing import ledger_is_the_pure_close
from tests.simulation.invariants import expect
from tests.simulation.run import Simulation

STAGES = [
    agents.intake,
    agents.receipts,
    agents.damages,
    agents.stock,
    agents.ledger,
    agents.reservations,
    agents.reconciliation,
    agents.lags,
    agents.availability,
]
CONTROLLED: list[Any] = [agents.intake, agents.ledger, agents.reconciliation, agents.lags, agents.availability]
CONTROLS = (topics.POLICIES, topics.NODES, topics.MODES, topics.HEARTBEATS)


class Product:
    """The product's agents as one worker process has them."""

    stages = lane.world.stages
    inputs = lane.world.inputs
    tables = lane.world.tables
    sweep_table = lane.world.sweep_table

    def __init__(self, views: Views, agent_raises: Any) -> None:
        self._agent_raises = agent_raises
        self.control = control = ControlWorld()
        self._measured: dict[int, Lags] = {}
        self._sightings: defaultdict[int, Sightings] = defaultdict(Sightings)
        self._ledger_sightings: defaultdict[int, Sightings] = defaultdict(Sightings)
        watchers = (control.watch_policies, control.watch_nodes, control.watch_modes, control.watch_heartbeats)
        for topic, watch in zip(CONTROLS, watchers, strict=True):
            views.add(topic.name, sweeps=topic is not topics.HEARTBEATS).on_change(watch)

    async def run(self, stage: str, batch: Batch) -> None:
        """Let the agent of the stage handle the batch, as its channel would."""
        batch.enter_stage(stage)
        for module in CONTROLLED:  # each process has its own; a stage never waits in between
            module.control = self.control
        agents.lags.measured, agents.reconciliation.sightings = self._measured, self._sightings
        agents.ledger.sightings = self._ledger_sightings
        agent = getattr(STAGES[self.stages.index(stage)], stage)
        await agent.fun(self._one(stage, batch))
        batch.check()

    async def _one(self, stage: str, batch: Batch) -> Any:
        try:
            self._agent_raises(stage)
        except ValueError as error:
            batch.fail(error)
            return
        yield batch


class History:
    """Writes the lines of a random history at random times."""

    def __init__(self, simulation: RetailSimulation) -> None:
        self._simulation = simulation

    def plan(self, _count: int, until_s: float) -> None:
        """All lines: facts in any order, control documents in theirs, for of each key the last one counts."""
        rng, lines = self._simulation.rng, self._simulation.lines
        controls = [line for line in lines if line["topic"] in self._simulation.controls]
        # A source's watermark only rises; a compacted topic would forget a higher one that came before.
        controls.sort(key=lambda line: str(line["value"].get("watermark", "")))
        times = sorted(rng.uniform(0, until_s) for _ in controls)
        facts = [line for line in lines if line["topic"] in self._simulation.inputs]
        for at_s, line in [*zip(times, controls, strict=True), *[(rng.uniform(0, until_s), fact) for fact in facts]]:
            self._simulation.loop.later(at_s, self._append, line)

    def write(self) -> None:
        """The history is all there is."""

    def policy(self) -> None:
        """Its control documents too."""

    def _append(self, line: dict[str, Any]) -> None:
        broker, value = self._simulation.broker, json.dumps(line["value"]).encode()
        broker.produce(line["topic"], line["key"], value, self._simulation.true_ms())


class RetailSimulation(Simulation):
    """A seed with the product's own domain."""

    domain = Product
    inputs = lane.world.inputs
    controls = tuple(topic.name for topic in CONTROLS)
    # what else agents write to, corrections, is an input too
    outputs = (topics.AVAILABILITY.name, topics.REGION_PARTIALS.name, topics.EXCEPTIONS.name)

    def make_upstream(self) -> History:
        """Lines of a random history, shuffled and with duplicates."""
        self.lines = shuffled_with_duplicates(random_history(self.rng, skus=2, size=1), self.rng)
        facts = [line["value"] for line in self.lines if line["topic"] in self.inputs]
        last = max(datetime.fromisoformat(fact["recorded_at"]) for fact in facts)
        self._now_ms = int(last.timestamp() * 1000)
        return History(self)

    def true_ms(self) -> int:
        """The time of the oracle."""
        return self._now_ms

    def wall_ms(self) -> int:
        """The same on every machine, always."""
        return self._now_ms

    def waits(self, task: Any) -> bool:
        """Whether something is still to be reckoned."""
        return bool(task._sweep_active() or task._is_due())

    def check(self) -> None:
        """What must hold at the end."""
        records_are_the_oracles(self.broker, self.lines, self.transactional)
        world = self.workers[0].domain.control.world
        ledger_is_the_pure_close(self.broker, self.settings.partitions, world, self._now_ms)
        for invariant in invariants.ALWAYS:
            invariant(self)


def records_are_the_oracles(broker: MemoryBroker, lines: list[dict[str, Any]], exactly_once: bool) -> None:
    """I1, I2, I5: the last record of each key is the oracle's, versions have no gaps, nothing is refused."""
    found: dict[str, dict[str, Any]] = {}
    versions: dict[str, int] = {}
    for record in broker.records(topics.AVAILABILITY.name):
        key, value = (record.key or b"").decode(), json.loads(record.value or b"")
        expect(not exactly_once or value["version"] == versions.get(key, 0) + 1, "I5 versions", f"{key}: {value}")
        found[key], versions[key] = comparable(value), value["version"]
    wanted = {f"{record['sku']}|{record['region']}": comparable(record) for record in reckon(lines)[0]}
    differ = {k: (found.get(k), wanted.get(k)) for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k)}
    expect(not differ, "I1 I5 records", f"(published, oracle): {differ}")
    expect(not broker.records("letters"), "I2 dead letters", broker.records("letters"))

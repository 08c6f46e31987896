"""The policy under test: records are flagged, drifts corrected and modes switched as the product does it.

One SKU task per partition and one region task per region, without a broker between them. All rules are the domain's;
here they are only called in the worker's order. A person approves every proposed correction one cycle later.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from atp.domain import reconciliation, resolution, switching
from atp.domain.desk import Books, Desk, Outcome
from atp.domain.exceptions import Decision, Stage
from atp.domain.facts import Fact
from atp.domain.fold import apply
from atp.domain.freshness import Heartbeat
from atp.domain.intake import Admitted
from atp.domain.lateness import late_fact
from atp.domain.modes import Mode, ModeChange
from atp.domain.partials import ExceptionsOpen, Partial, SnapshotCompared
from atp.domain.refusals import Refusal
from atp.domain.snapshots import KINDS, OMS_SNAPSHOTS_TOPIC, WMS_SNAPSHOTS_TOPIC, SnapshotClosed, decode_snapshot
from atp.domain.switching import RegionModes
from atp.domain.times import from_ms
from atp.lane.keys import partition_of
from atp.simulation.balances import Balances, Ears
from atp.simulation.evidence import BALANCE, MODE, RegionCycle, Sighting
from atp.simulation.places import OMS, Places
from atp.simulation.plan import Plan
from atp.simulation.product import Pipeline
from atp.simulation.snapshots import Document

SLICE_SKUS = 100_000
_encode = msgspec.json.encode


class Adaptive(Pipeline):
    """Channels sell the column that the record's mode and reasons pick."""

    column = "sellable"
    reconciles = True

    def __init__(self, plan: Plan, places: Places) -> None:
        super().__init__(plan, places)
        self._partitions = plan.world.partitions
        self._books = [Books.in_memory() for _ in range(self._partitions)]
        self._skus: list[set[str]] = [set() for _ in range(self._partitions)]
        self._regions = {region: RegionModes() for region in places.regions}
        self._compared: dict[str, int] = dict.fromkeys(places.regions, 0)
        self._ears = [Ears() for _ in range(self._partitions)]
        self.balances = Balances(places.regions)
        self._places = places
        self._proposed: dict[str, str] = {}  # exception_id → SKU, until somebody decides
        self._known: set[str] = set()
        self.mode_changes: list[ModeChange] = []
        self.sightings: list[Sighting] = []
        self.cycles: list[RegionCycle] = []

    @property
    def exceptions_opened(self) -> int:
        """How many exceptions there ever were."""
        return len(self._known)

    def take(self, fact: Fact, now_ms: int) -> None:
        """A fact, or a correction, arrives at the task of its SKU."""
        partition = partition_of(fact.sku, self._partitions)
        self._skus[partition].add(fact.sku)
        compared_ms = self._books[partition].book.compared_ms
        outcome = apply(fact, self.state, self.horizons, now_ms, compared_ms)
        if isinstance(outcome, Refusal):
            self.refused[outcome.reason] += 1
            return
        if isinstance(outcome, Admitted) or outcome.is_original:
            self._ears[partition].take(fact, self._places)
        if isinstance(outcome, Admitted):
            late = late_fact(outcome, self._places.region_of(fact), self.world.policies)
            if late is not None:
                self._follow(resolution.note_late(late, self._desk(partition, now_ms)), now_ms)
            if outcome.recheck:
                self._follow(resolution.settle(fact.sku, self._desk(partition, now_ms), fact.event_id), now_ms)

    def hear(self, heartbeat: Heartbeat) -> None:
        self.world.watermarks.put(heartbeat)

    def look(self, now_ms: int) -> None:
        """Every region decides anew: a source may have fallen silent, a snapshot may be overdue, facts be missing."""
        for partition, ears in enumerate(self._ears):
            self.balances.hear(ears.report(partition, now_ms), now_ms)
        self.sightings += [
            Sighting(now_ms, found.region, by=BALANCE)
            for found in self.balances.judge(self.world, now_ms)
            if found.gaps or found.shortfalls
        ]
        for region in self._regions:
            self._decide(region, now_ms)

    def compare(self, snapshot: Iterable[Document], now_ms: int) -> None:
        """A cycle: a snapshot in; drifts, corrections and modes out; what was proposed a cycle ago is approved."""
        waited = dict(self._proposed)
        self._compared = dict.fromkeys(self._compared, 0)
        as_of_ms = 0
        for document in snapshot:
            as_of_ms = self._read(document, now_ms)
        for partition in range(self._partitions):
            self._advance(partition, now_ms)
        self._approve(waited, now_ms)
        self.look(now_ms)
        for region, modes in self._regions.items():
            careful = sum(row.mode is not Mode.CONFIDENT for row in modes.channels.values())
            self.cycles.append(RegionCycle(as_of_ms, region, self._compared[region], careful))

    def _desk(self, partition: int, now_ms: int) -> Desk:
        return Desk(
            self._books[partition], self.state, self.world, self.horizons, now_ms, partition, self._partitions
        )

    def _read(self, document: Document, now_ms: int) -> int:
        """One record of a snapshot topic; answers its as_of (ms)."""
        topic = OMS_SNAPSHOTS_TOPIC if document["source"] == OMS else WMS_SNAPSHOTS_TOPIC
        found = decode_snapshot(topic, _encode(document), now_ms)
        assert not isinstance(found, Refusal), found
        if isinstance(found, SnapshotClosed):
            outcome = reconciliation.take_marker(found, KINDS[topic], self._desk(document["partition"], now_ms))
        else:
            partition = partition_of(found.sku, self._partitions)
            self._skus[partition].add(found.sku)
            outcome = reconciliation.take_row(found, self._desk(partition, now_ms))
        self._follow(outcome, now_ms)
        return int(found.as_of.timestamp() * 1000)

    def _advance(self, partition: int, now_ms: int) -> None:
        skus = sorted(self._skus[partition])

        def page(after: str, limit: int) -> list[str]:
            return [sku for sku in skus if sku > after][:limit]

        more = True
        while more:
            outcome = reconciliation.advance(self._desk(partition, now_ms), self._passed, page, SLICE_SKUS)
            self._follow(outcome, now_ms)
            more = outcome.more

    def _passed(self, source: str, region: str) -> int:
        """Facts come in order of time here, so we have read what the source has sent."""
        return self.world.watermarks.get((source, region), 0)

    def _follow(self, outcome: Outcome, now_ms: int) -> None:
        """Let others know: operators of exceptions, the region of partials, ourselves of corrections."""
        for record in outcome.exceptions:
            if record.exception_id not in self._known:
                self._known.add(record.exception_id)
                self.sightings.append(Sighting(now_ms, record.region, record.sku))
            if record.state is Stage.PROPOSED:
                self._proposed[record.exception_id] = record.sku
            else:
                self._proposed.pop(record.exception_id, None)
        for partial in outcome.partials:
            self._report(partial, now_ms)
        for correction in outcome.corrections:
            self.take(correction, now_ms)

    def _report(self, partial: Partial, now_ms: int) -> None:
        if isinstance(partial, SnapshotCompared | ExceptionsOpen):
            policy = self.world.policies.of_region(partial.region)
            switching.hear(self._regions[partial.region], partial, policy, now_ms)
        if isinstance(partial, SnapshotCompared):
            self._compared[partial.region] += partial.drifted_units

    def _decide(self, region: str, now_ms: int) -> None:
        policy = self.world.policies.of_region(region)
        decision = switching.decide(self._regions[region], region, self.world.watermarks, policy, now_ms)
        for row in decision.rows:
            self.world.modes[row.region, row.channel] = row
        for change in decision.changes:
            if change.from_mode is not change.to:
                self.mode_changes.append(change)
                if change.to is not Mode.CONFIDENT:
                    self.sightings.append(Sighting(now_ms, region, by=MODE))

    def _approve(self, waited: dict[str, str], now_ms: int) -> None:
        """What was proposed in the cycle before, and still is."""
        for exception_id, sku in waited.items():
            if exception_id in self._proposed:
                desk = self._desk(partition_of(sku, self._partitions), now_ms)
                outcome = resolution.decide(self._decision(exception_id, sku, now_ms), desk)
                assert not isinstance(outcome, Refusal), outcome
                self._follow(outcome, now_ms)

    @staticmethod
    def _decision(exception_id: str, sku: str, now_ms: int) -> Decision:
        return Decision(
            type="exception.approved", exception_id=exception_id, sku=sku, by="operations", reason="checked",
            decided_at=from_ms(now_ms),
        )  # fmt: skip

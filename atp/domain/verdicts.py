"""Verdicts: the partitions' comparisons of one snapshot added up and judged, once per region, source and snapshot.

Partitions report in any order and may repeat themselves; a verdict falls with the last of them, and stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from atp.domain.facts import Identity
from atp.domain.partials import SnapshotCompared
from atp.domain.policy import RegionPolicy
from atp.domain.times import Stamp, rfc3339

# Snapshots of a source that wait for partitions; one that never reports must not make the row grow.
MOST_WAITING = 8
SUMMED = (
    "expected_rows", "expected_units", "rows", "units", "keys", "drifting_keys", "drifted_units",
    "over_promised_units",
)  # fmt: skip


class Outcome(StrEnum):
    """What a snapshot says of a region: in order of precedence, the first that holds."""

    MISSING = "MISSING"
    INCOMPLETE = "INCOMPLETE"
    DRIFT = "DRIFT"
    CLEAN = "CLEAN"


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="snapshot.judged"):
    """One fact of `atp.reconciliation.results.v1`: how a snapshot of a region compares with our state at its as_of.

    `reported`: partitions that have compared it, of `partitions`. `keys`: (SKU, node) or lines that were compared;
    `over_promised_units`: units that we held too many. A MISSING snapshot has no id; its as_of is the time at
    which it was due.
    """

    schema_version: str = "1.0"
    event_id: str
    region: Identity
    source: Identity
    kind: str
    snapshot_id: str
    as_of: Stamp
    outcome: Outcome
    partitions: int = 0
    reported: int = 0
    expected_rows: int = 0
    expected_units: int = 0
    rows: int = 0
    units: int = 0
    keys: int = 0
    drifting_keys: int = 0
    drifted_units: int = 0
    over_promised_units: int = 0
    judged_at: Stamp
    policy_version: int

    @property
    def detail(self) -> str:
        """The verdict in words."""
        match self.outcome:
            case Outcome.MISSING:
                return "no snapshot came by the time it was due"
            case Outcome.INCOMPLETE:
                return f"{self.rows} of {self.expected_rows} rows, {self.reported} of {self.partitions} partitions"
        return f"{self.drifting_keys} of {self.keys} keys and {self.drifted_units} of {self.units} units drift"

    def figures(self) -> dict[str, int]:
        """The figures of a snapshot that came."""
        return {} if self.outcome is Outcome.MISSING else {name: getattr(self, name) for name in SUMMED}


class Tally(msgspec.Struct, array_like=True):
    """A snapshot while its partitions report: figures by partition, in the order of `SUMMED`."""

    as_of_ms: int
    partitions: int
    complete: bool = True
    parts: dict[int, list[int]] = {}

    def add(self, partial: SnapshotCompared) -> bool:
        """Take one partition's comparison; whether it was the last one."""
        self.parts[partial.partition] = [getattr(partial, name) for name in SUMMED]
        self.complete = self.complete and partial.complete
        return len(self.parts) >= self.partitions


class Series(msgspec.Struct):
    """The snapshots of one source and kind in a region. `judged_ms`: as_of of the latest snapshot that was judged.

    `outcome`: of the latest verdict; the figures are those of the latest snapshot that came.
    """

    source: str
    kind: str
    since_ms: int
    judged_ms: int = 0
    missed_ms: int = 0  # when the latest that did not come was due
    waiting: dict[str, Tally] = {}
    outcome: Outcome | None = None
    units: int = 0
    drifted_units: int = 0
    over_promised_units: int = 0

    def note(self, verdict: Verdict) -> None:
        """Remember what was judged last."""
        self.outcome = verdict.outcome
        if verdict.outcome is not Outcome.MISSING:
            self.units, self.drifted_units = verdict.units, verdict.drifted_units
            self.over_promised_units = verdict.over_promised_units

    @property
    def divergence(self) -> float:
        """Units that drifted ÷ units of the latest snapshot that came, 0 to 1."""
        return min(1.0, self.drifted_units / max(1, self.units))

    def take(self, partial: SnapshotCompared) -> Iterator[tuple[str, Tally]]:
        """Take a partition's comparison; the snapshots that are whole now, or overtaken, in order of their as_of."""
        if partial.as_of_ms <= self.judged_ms:
            return
        name = partial.snapshot_id
        tally = self.waiting.setdefault(name, Tally(partial.as_of_ms, partial.partitions))
        if tally.add(partial):
            yield from self._close(tally.as_of_ms)
        elif len(self.waiting) > MOST_WAITING:
            yield from self._close(min(other.as_of_ms for other in self.waiting.values()))

    def _close(self, as_of_ms: int) -> Iterator[tuple[str, Tally]]:
        """End every snapshot up to an as_of. One that is overtaken while partitions are missing is incomplete."""
        ended = [(tally.as_of_ms, name) for name, tally in self.waiting.items() if tally.as_of_ms <= as_of_ms]
        self.judged_ms = as_of_ms
        for _, name in sorted(ended):
            yield name, self.waiting.pop(name)

    def overdue_ms(self, policy: RegionPolicy, now_ms: int) -> int | None:
        """When the latest snapshot that has not come was due; None when none is overdue.

        A source may take as long to deliver a snapshot as it may be silent.
        """
        since_ms = self.judged_ms or self.since_ms
        cycles = (now_ms - since_ms - policy.heartbeat_timeout_ms - 1) // policy.reconcile_interval_ms
        return since_ms + cycles * policy.reconcile_interval_ms if cycles > 0 else None


def judge(region: str, series: Series, name: str, tally: Tally, policy: RegionPolicy, now_ms: int) -> Verdict:
    """The verdict on a snapshot that was compared."""
    sums: Any = {field: sum(part[at] for part in tally.parts.values()) for at, field in enumerate(SUMMED)}
    whole = tally.complete and len(tally.parts) >= tally.partitions
    drifts = (
        sums["drifting_keys"] > policy.drift_keys_share * sums["keys"]
        or sums["drifted_units"] > policy.drift_units_share * sums["units"]
    )
    return Verdict(
        event_id=f"{region}|{series.source}|{series.kind}|{name}",
        region=region,
        source=series.source,
        kind=series.kind,
        snapshot_id=name,
        as_of=rfc3339(tally.as_of_ms),
        outcome=Outcome.INCOMPLETE if not whole else Outcome.DRIFT if drifts else Outcome.CLEAN,
        partitions=tally.partitions,
        reported=len(tally.parts),
        judged_at=rfc3339(now_ms),
        policy_version=policy.version,
        **sums,
    )


def missing(region: str, series: Series, due_ms: int, policy: RegionPolicy, now_ms: int) -> Verdict:
    """The verdict on a snapshot that did not come."""
    return Verdict(
        event_id=f"{region}|{series.source}|{series.kind}|{due_ms}",
        region=region,
        source=series.source,
        kind=series.kind,
        snapshot_id="",
        as_of=rfc3339(due_ms),
        outcome=Outcome.MISSING,
        judged_at=rfc3339(now_ms),
        policy_version=policy.version,
    )

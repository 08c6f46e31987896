"""Every snapshot of a file against the state that all facts of the file make, whatever the order of its lines.

The worker compares as snapshots and facts arrive; here everything is there already, so nothing is late, and what the
worker would come to in the end is found at once. What people decided counts from the instant at which they did. No
correction is posted: in a file they are facts; those that would follow are told.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from atp.domain.desk import Books, Desk, Outcome
from atp.domain.exceptions import Decision, ExceptionRecord, SkuExceptions, record_of
from atp.domain.facts import Fact
from atp.domain.partials import SnapshotCompared
from atp.domain.reconciliation import advance, take_marker, take_row
from atp.domain.refusals import Refusal
from atp.domain.resolution import decide
from atp.domain.rows import MemoryRows
from atp.domain.snapshots import SnapshotClosed, SnapshotRow
from atp.domain.times import FOREVER_MS, to_ms

EVERYTHING = 2**31
_encode = msgspec.json.Encoder(order="deterministic").encode
Kinded = tuple[str, SnapshotClosed]  # kind of the snapshot, and a marker of it


class Pending(NamedTuple):
    """A snapshot that cannot be compared yet: its source has not said that it has passed the as_of."""

    source: str
    region: str
    kind: str
    snapshot_id: str
    as_of_ms: int


class Audit(NamedTuple):
    """What came of it: the books, the comparison of each snapshot by its as_of, and those that wait.

    `corrections`: facts that would be posted; `refused`: decisions that met no exception, by their place in the list.
    """

    books: Books
    compared: list[SnapshotCompared]
    pending: list[Pending]
    corrections: list[Fact]
    refused: dict[int, Refusal]

    def exceptions(self) -> list[ExceptionRecord]:
        """The exceptions that would be open, by id."""
        rows = self.books.exceptions
        assert isinstance(rows, MemoryRows)
        found: Iterable[tuple[tuple[str, ...], SkuExceptions]] = rows.items()
        records = [record_of(key[0], incident) for key, row in found for incident in row.open.values()]
        return sorted(records, key=lambda record: record.exception_id)


def audit(
    rows: Iterable[SnapshotRow], markers: Iterable[Kinded], desk: Desk, decisions: Sequence[Decision] = ()
) -> Audit:
    """Compare everything; the drifts are in the heads of the desk's state afterwards."""
    for row in sorted(rows, key=lambda row: (to_ms(row.as_of), _encode(row))):
        take_row(row, desk)
    for kind, marker in _summed(markers, desk):
        take_marker(marker, kind, desk)
    told, refused = Outcome(), {}
    for at, decision in sorted(enumerate(decisions), key=lambda pair: to_ms(pair[1].decided_at)):
        _advance(desk, told, to_ms(decision.decided_at))
        answer = decide(decision, desk)
        if isinstance(answer, Refusal):
            refused[at] = answer
        else:
            told.corrections += answer.corrections
    _advance(desk, told, FOREVER_MS)
    compared = [partial for partial in told.partials if isinstance(partial, SnapshotCompared)]
    pending, book = [], desk.books.book
    for series in book.series.values():
        for progress in list(series.open):
            if _passed(desk, series.source, series.region) < progress.as_of_ms + desk.horizons.ambiguity_ms:
                named = (series.source, series.region, series.kind, progress.snapshot_id, progress.as_of_ms)
                pending.append(Pending(*named))
            else:
                compared.append(series.end(progress, desk.partition, desk.partitions, desk.now_ms))
    compared.sort(key=lambda one: (one.region, one.source, one.kind, one.as_of_ms, one.snapshot_id))
    return Audit(desk.books, compared, sorted(pending), told.corrections, refused)


def _advance(desk: Desk, told: Outcome, until_ms: int) -> None:
    """Go on until nothing is left that may be compared by an instant."""

    def passed(source: str, region: str) -> int:
        return min(until_ms, _passed(desk, source, region))

    def page(after: str, most: int) -> list[str]:
        skus = sorted({key[0] for key in desk.state.heads})  # type: ignore[attr-defined]
        start = bisect_right(skus, after)
        return skus[start : start + most]

    more = True
    while more:
        outcome = advance(desk, passed, page, EVERYTHING)
        told.partials += outcome.partials
        told.corrections += outcome.corrections
        more = outcome.more


def _passed(desk: Desk, source: str, region: str) -> int:
    return desk.world.watermarks.get((source, region), 0)


def _summed(markers: Iterable[Kinded], desk: Desk) -> list[Kinded]:
    """One marker per snapshot. A file may hold one for each partition, and any of them may have been sent twice."""
    found: dict[tuple[str, str, str, str], Counter[tuple[int, int]]] = {}
    first: dict[tuple[str, str, str, str], SnapshotClosed] = {}
    for kind, marker in sorted(markers, key=lambda pair: (pair[0], _encode(pair[1]))):
        name = (kind, marker.source, marker.region, marker.snapshot_id)
        first.setdefault(name, marker)
        found.setdefault(name, Counter())[marker.rows, marker.units] += 1
    return [(name[0], _sum(first[name], counts, name, desk)) for name, counts in found.items()]


def _sum(
    marker: SnapshotClosed, counts: Counter[tuple[int, int]], name: tuple[str, str, str, str], desk: Desk
) -> SnapshotClosed:
    kind, source, region, snapshot_id = name
    progress = desk.books.book.named(source, region, kind).find(snapshot_id, to_ms(marker.as_of))
    came = (progress.rows, progress.units) if progress is not None else (0, 0)
    rows, units = total(counts, came)
    return msgspec.structs.replace(marker, rows=rows, units=units)


def total(counts: Counter[tuple[int, int]], came: tuple[int, int]) -> tuple[int, int]:
    """Rows and units that markers say in sum; without the repeats of some, if that is just what came."""
    if came in _possible(counts, came[0]):
        return came
    return sum(n * rows for (rows, _), n in counts.items()), sum(n * units for (_, units), n in counts.items())


def _possible(counts: Counter[tuple[int, int]], most_rows: int) -> set[tuple[int, int]]:
    """Sums in which every marker counts, and equal ones are as many partitions or as many repeats as you like."""
    found = {(0, 0)}
    for (rows, units), times in counts.items():
        found = {
            (had_rows + n * rows, had_units + n * units)
            for had_rows, had_units in found
            for n in range(1, times + 1)
            if had_rows + n * rows <= most_rows
        }
    return found

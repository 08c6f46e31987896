"""What the worker closed, as its topics say: read like a target of files, so that all that reads one reads the other.

`atp.ledger.days.v1` says what a revision is, `atp.ledger.daily.v1` has its rows: of a SKU, the row of the highest
revision up to the one asked for stands. A revision that was closed never changes, so it reads the same for ever.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from atp.domain.closing import LedgerDay, LedgerDayError, Stand, parse_day
from atp.domain.daily_ledger import LedgerRow
from atp.domain.fold import World
from atp.domain.ledger_rules import policy_of
from atp.domain.times import Day, rfc3339
from atp.ledger.columns import SCHEMA, SUMMED, check, table_of, totals
from atp.ledger.encode import figures_sha256, parquet_bytes
from atp.ledger.gather import Record
from atp.ledger.store import LedgerStoreError, Manifest
from atp.topics import LEDGER, LEDGER_DAYS

Place = tuple[str, str]  # date, region
_decode = msgspec.json.Decoder(LedgerRow).decode
_figures = attrgetter(*SUMMED)


class Known(NamedTuple):
    """A record of a day, and the offset after it."""

    day: LedgerDay
    following: int


class TopicLedger:
    """The revisions of all days on the topics. `rows`: reads the topic of the rows from its beginning."""

    def __init__(self, days: Iterable[Record], world: World, rows: Callable[[], Iterable[Record]]) -> None:
        self._days: dict[Place, dict[int, Known]] = defaultdict(dict)
        for record in days:
            day = _day_of(record)
            self._days[day.business_date.isoformat(), day.region][day.revision] = Known(day, record.following)
        self._world, self._read = world, rows
        self._columns: dict[tuple[str, str, int], dict[str, Any]] = {}  # of the revisions that were read

    def folders(self) -> list[Place]:
        """(date, region) of everything closed, in order."""
        return sorted(place for place in self._days if self.revisions(*place))

    def revisions(self, date: str, region: str) -> list[int]:
        """The numbers of the revisions that are closed, ascending."""
        known = self._days.get((date, region), {})
        return sorted(number for number, found in known.items() if found.day.stand is Stand.CLOSED)

    def places(self) -> list[Place]:
        """(date, region) of every day that the worker has begun to close, in order."""
        return sorted(self._days)

    def days(self, date: str, region: str, revision: int | None = None) -> list[LedgerDay]:
        """What was said of a revision; without a number: of the latest closed one, and of those after it."""
        known, closed = self._days[date, region], self.revisions(date, region)
        first, last = (revision, revision) if revision else (max(closed, default=1), max(known))
        return [known[number].day for number in range(first, last + 1) if number in known]

    def record(self, manifest: Manifest) -> LedgerDay:
        """What the worker said of a revision."""
        return self._days[manifest.business_date, manifest.region][manifest.revision].day

    def manifest(self, date: str, region: str, revision: int | None = None) -> Manifest:
        """A manifest, without what only rows tell until they are read; the latest if no number is given."""
        closed = self.revisions(date, region)
        if not closed or (revision is not None and revision not in closed):
            wanted = "revision" if revision is None else f"revision {revision}"
            raise LedgerStoreError(f"{date}, {region}: no {wanted} is closed; there are {closed or 'none'}")
        manifest = manifest_of(self._days[date, region][revision or closed[-1]].day)
        zone = policy_of(self._world, region).calendar.zone
        span = Day(self.record(manifest).business_date.toordinal(), zone)
        manifest.time_zone = zone.key
        manifest.starts_at, manifest.ends_at = rfc3339(span.start_ms), rfc3339(span.end_ms)
        return manifest

    def read_rows(self, manifests: list[Manifest]) -> None:
        """Read the rows of revisions, and tell their manifests what these state and of which records they are."""
        wanted = {(manifest.business_date, manifest.region): _Rows() for manifest in manifests}
        dates = {date for date, _ in wanted}
        for record in self._read():
            if (record.key or "").partition("|")[0] in dates and record.value is not None:
                _take(record, record.value, wanted)
        for manifest in manifests:
            place, number = (manifest.business_date, manifest.region), manifest.revision
            rows = wanted[place]
            standing = rows.standing(number)
            columns = self._columns[*place, number] = rows.columns(standing)
            manifest.figures_sha256 = figures_sha256(columns)
            manifest.adjusts = number - 1 if number > 1 and number in rows.revisions else None
            days = {f"{LEDGER_DAYS.name}/0": self._days[place][number].following}
            manifest.inputs = dict(sorted((rows.inputs(standing) | days).items()))

    def columns(self, manifest: Manifest) -> dict[str, Any]:
        """The rows of a revision that were read, by SKU."""
        return self._columns[manifest.business_date, manifest.region, manifest.revision]

    def rows_of(self, manifest: Manifest) -> bytes:
        """The Parquet file of a revision; refused if its rows are not those that the worker closed."""
        columns = self.columns(manifest)
        name = f"{manifest.business_date}, {manifest.region}, revision {manifest.revision}"
        for problem in problems(manifest, columns):
            raise LedgerStoreError(f"{name}: {problem}")
        check(columns, name)
        ordinal = self.record(manifest).business_date.toordinal()
        return parquet_bytes(table_of(columns, ordinal, manifest.region, manifest.revision, manifest.status))

    def content(self, manifest: Manifest, name: str) -> bytes:
        """A file of a revision: there is but one, the worker has no lines and no settlements."""
        raise LedgerStoreError(f"{name}: the worker's topics have no such file of {manifest.business_date}")


def problems(manifest: Manifest, columns: dict[str, Any]) -> Iterator[str]:
    """What the rows of a revision are not, beside what its day says of them."""
    rows = len(columns["sku"])
    if rows != manifest.rows:
        yield f"{LEDGER.name} has {rows} rows, {LEDGER_DAYS.name} says {manifest.rows}"
    for name, units in totals(columns).items():
        if units != manifest.control_totals.get(name, 0):
            said = manifest.control_totals.get(name, 0)
            yield f"{name} sums to {units} on {LEDGER.name}, {LEDGER_DAYS.name} says {said}"


class _Rows:
    """The rows of a date and region as they came: a SKU may have one of each revision."""

    def __init__(self) -> None:
        self._skus: list[str] = []
        self._figures = array("q")
        self.revisions = array("q")
        self._places: list[tuple[str, int]] = []  # log, offset after it

    def add(self, row: Any, record: Record) -> None:
        """Take a row."""
        self._skus.append(row.sku)
        self._figures.extend(_figures(row))
        self.revisions.append(row.revision)
        self._places.append((record.log, record.following))

    def columns(self, at: dict[str, int]) -> dict[str, Any]:
        """What the rows that stand say, by SKU."""
        skus = sorted(at)
        matrix = np.frombuffer(self._figures, dtype=np.int64).reshape(-1, len(SUMMED))
        kept = matrix[np.array([at[sku] for sku in skus], dtype=np.int64)]
        figures = {name: np.ascontiguousarray(kept[:, number]) for number, name in enumerate(SUMMED)}
        return {"sku": pa.array(skus, pa.string()), **figures}

    def inputs(self, standing: dict[str, int]) -> dict[str, int]:
        """By partition, the offset after the last of the rows that stand."""
        found: dict[str, int] = {}
        for at in standing.values():
            log, following = self._places[at]
            found[log] = max(following, found.get(log, 0))
        return found

    def standing(self, revision: int) -> dict[str, int]:
        """SKU → the row that stands in a revision.

        A turn that a crash cut off may have written one again: the later one counts.
        """
        found: dict[str, int] = {}
        numbers = self.revisions
        for at, sku in enumerate(self._skus):
            known = found.get(sku)
            if numbers[at] <= revision and (known is None or numbers[at] >= numbers[known]):
                found[sku] = at
        return found


def _take(record: Record, value: bytes, wanted: dict[Place, _Rows]) -> None:
    try:
        row: Any = _decode(value)
    except msgspec.MsgspecError as error:
        raise LedgerStoreError(f"{record.log}, offset {record.following - 1}: no row of a ledger ({error})") from None
    rows = wanted.get((row.business_date.isoformat(), row.region))
    if rows is not None:
        rows.add(row, record)


def _day_of(record: Record) -> LedgerDay:
    try:
        return parse_day(msgspec.json.decode(record.value or b"null"))
    except (LedgerDayError, msgspec.DecodeError) as error:
        raise LedgerStoreError(f"{record.log}, offset {record.following - 1}: no day of a ledger ({error})") from None


def manifest_of(day: LedgerDay) -> Manifest:
    """What the record of a day says, as a manifest."""
    return Manifest(
        business_date=day.business_date.isoformat(),
        region=day.region,
        revision=day.revision,
        status=day.status,
        time_zone="",
        starts_at="",
        ends_at="",
        closed_at=day.closed_at or "",
        rows=day.rows,
        control_totals=day.control_totals,
        completeness=day.completeness,
        expected_records=day.expected_records,
        missing_records=day.missing_records,
        shortfalls=day.shortfalls,
        exceptions=[],
        differences={},
        suppliers={},
        figures_sha256="",
        adjusts=None,
        columns=[[field.name, str(field.type)] for field in SCHEMA],
        inputs={},
        files={},
    )

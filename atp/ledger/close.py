"""Closing: what is reckoned now against what was closed before. Nothing that was closed is ever changed.

A date without a revision gets its first one. A PROVISIONAL one gets another when its rows or its status change; a
FINAL or RESTATED one only when its rows change, and that one is RESTATED. As a date opens with the closing of the
date before, a restatement carries through all later closed dates by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from atp.domain.ledger_close import CLOSED_FOR_GOOD, Status
from atp.domain.times import iso_day, rfc3339
from atp.ledger.columns import SCHEMA, BrokenLedgerError, check, check_opening, table_of, totals
from atp.ledger.days import LedgerDay
from atp.ledger.encode import columns_of, csv_bytes, figures_sha256, parquet_bytes
from atp.ledger.gather import described
from atp.ledger.lines import adjustments, lines_csv, settlement_csv, suppliers
from atp.ledger.store import Manifest, Store, usable_region


class Closing(msgspec.Struct):
    """How to close: when, of what, and whether with CSV."""

    close_ms: int
    inputs: Mapping[str, int]
    with_csv: bool = False


def close(days: Iterable[LedgerDay], store: Store, closing: Closing) -> Iterator[Manifest]:
    """Write every revision that is due; the manifests of those written. BrokenLedgerError stops it."""
    before: LedgerDay | None = None
    for day in days:
        if before is None or before.region != day.region:
            _starts(day, store, closing)
            before = None
        manifest = _close(day, before, store, closing)
        before = day
        if manifest is not None:
            yield manifest


def _name(day: LedgerDay) -> str:
    return f"{iso_day(day.day.ordinal)}, region {day.region}"


def _starts(day: LedgerDay, store: Store, closing: Closing) -> None:
    """A region must be reckoned from its first closed date, of no fewer records than it was closed of."""
    if not usable_region(day.region):
        raise BrokenLedgerError(f"region = {day.region!r}: a name without / and \\ is needed")
    closed = [date for date, region in store.folders() if region == day.region]
    first = iso_day(day.day.ordinal)
    if closed and closed[0] < first:
        raise BrokenLedgerError(
            f"{_name(day)}: the facts begin here, but {closed[0]} is closed already; they must go back as far"
        )
    if closed:
        known = store.manifest(closed[-1], day.region)
        for log, following in known.inputs.items():
            if closing.inputs.get(log, 0) < following:
                raise BrokenLedgerError(
                    f"{log}: ends at {closing.inputs.get(log, 0)}, but {closed[-1]}, region {day.region} "
                    f"was closed of {following}; no record may be missing"
                )


def _close(day: LedgerDay, before: LedgerDay | None, store: Store, closing: Closing) -> Manifest | None:
    check(day.columns, _name(day))
    if before is not None:
        check_opening(before.columns, day.columns, _name(day))
    date = iso_day(day.day.ordinal)
    known = store.revisions(date, day.region)
    latest = store.manifest(date, day.region) if known else None
    digest = figures_sha256(day.columns)
    status = _status(day, latest, digest)
    if status is None:
        return None
    manifest = _manifest(day, (latest.revision if latest else 0) + 1, status, digest, closing)
    adjusted = None
    if latest is not None and latest.figures_sha256 != digest:
        manifest.adjusts = latest.revision
        adjusted = adjustments(columns_of(store.rows_of(latest)), day.columns, _name(day))
    store.publish(manifest, _files(day, manifest, adjusted, closing))
    return manifest


def _status(day: LedgerDay, latest: Manifest | None, digest: str) -> Status | None:
    """The status of the next revision; None if none is due."""
    if latest is None:
        return day.judgement.status
    changed = latest.figures_sha256 != digest
    if latest.status in CLOSED_FOR_GOOD:
        return Status.RESTATED if changed else None
    return day.judgement.status if changed or day.judgement.status != latest.status else None


def _files(day: LedgerDay, manifest: Manifest, adjusted: Any, closing: Closing) -> Iterator[tuple[str, bytes]]:
    number = manifest.revision
    table = table_of(day.columns, day.day.ordinal, day.region, number, manifest.status)
    yield f"revision-{number}.parquet", parquet_bytes(table)
    yield f"lines-{number}.csv", lines_csv(day.lines, adjusted)
    yield f"settlement-{number}.csv", settlement_csv(day.settled)
    if closing.with_csv:
        yield f"revision-{number}.csv", csv_bytes(table)


def _manifest(day: LedgerDay, revision: int, status: Status, digest: str, closing: Closing) -> Manifest:
    complete = day.judgement.completeness
    differences: Counter[str] = Counter()
    for _, line in day.lines:
        differences[line.cause] += line.units
    return Manifest(
        business_date=iso_day(day.day.ordinal),
        region=day.region,
        revision=revision,
        status=status,
        time_zone=day.policy.calendar.zone.key,
        starts_at=rfc3339(day.day.start_ms),
        ends_at=rfc3339(day.day.end_ms),
        closed_at=rfc3339(closing.close_ms),
        rows=len(day.columns["sku"]),
        control_totals=totals(day.columns),
        completeness=None if complete.share is None else float(complete.share),
        expected_records=complete.expected,
        missing_records=complete.expected - complete.came,
        shortfalls=complete.shortfalls,
        exceptions=[described(missed) for missed in day.missed],
        differences=dict(sorted(differences.items())),
        suppliers=suppliers(day.settled),
        figures_sha256=digest,
        adjusts=None,
        columns=[[field.name, str(field.type)] for field in SCHEMA],
        inputs=dict(sorted(closing.inputs.items())),
        files={},
    )

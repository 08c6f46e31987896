"""The room of the ledger: the latest business dates of every region, as the worker closed them on their topic, or as
finance did in the archive that `atp ledger close` writes."""

from __future__ import annotations

import time
from typing import Any

from atp import topics
from atp.domain.closing import LedgerDayError, parse_day
from atp.domain.ledger_close import Shortfall, Status
from atp.facade.documents import Document
from atp.ledger.store import LedgerStoreError, Manifest, Store

DATES = 10
LOOK_S = 10.0  # days close once a day, and an archive may be far away
Revision = tuple[str, str, int]


def published(documents: dict[str, Document]) -> dict[str, Any]:
    """The latest dates on the topic, in the shape of an archive's; a date that is being closed says so."""
    days = [day for document in documents.values() if (day := _published(document))]
    dates = sorted({day["date"] for day in days}, reverse=True)[:DATES]
    return _table(topics.LEDGER_DAYS.name, dates, days)


def _published(document: Document) -> dict[str, Any] | None:
    try:
        day = parse_day(document)
    except LedgerDayError:
        return None
    return {
        "date": day.business_date.isoformat(),
        "region": day.region,
        "status": day.status,
        "stand": day.stand,
        "revision": day.revision,
        "closed_at": day.closed_at,
        "completeness": day.completeness,
        "rows": day.rows,
        "missing": [_missing(found) for found in day.shortfalls],
        "differences": {},
        "exceptions": 0,
        "problem": day.problem,
    }


def _table(target: str, dates: list[str], days: list[dict[str, Any]]) -> dict[str, Any]:
    """Every date with every region: its day, or OPEN."""
    regions = sorted({day["region"] for day in days if day["date"] in dates})
    by_place = {(day["date"], day["region"]): day for day in days}
    found = [by_place.get((date, region), _open(date, region)) for date in dates for region in regions]
    return {"target": target, "error": None, "regions": regions, "days": found}


class LedgerDays:
    """What the archive holds of the latest dates. A revision never changes, so it is read once."""

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._read: dict[Revision, dict[str, Any]] = {}
        self._next_s = 0.0
        self._said: dict[str, Any] = {"target": target, "error": None, "regions": [], "days": []}

    def look(self) -> dict[str, Any]:
        """Every date with every region: its latest revision, or OPEN. What was seen before stays with an error."""
        if self._target is not None and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LOOK_S
            try:
                self._said = self._look(self._target)
            except (LedgerStoreError, OSError) as error:
                self._said = {**self._said, "error": str(error)}
        return self._said

    def _look(self, target: str) -> dict[str, Any]:
        store = Store(target)
        named = [name.removeprefix("date=") for name in store.names("") if name.startswith("date=")]
        dates = named[: -DATES - 1 : -1]
        closed = {place: number for date in dates for place, number in _revisions(store, date)}
        self._read = {key: self._read.get(key) or _day(store.manifest(*key)) for key in _keys(closed)}
        return _table(target, dates, list(self._read.values()))


def _revisions(store: Store, date: str) -> list[tuple[tuple[str, str], int]]:
    """The latest revision of every region of a date."""
    names = [name.removeprefix("region=") for name in store.names(f"date={date}") if name.startswith("region=")]
    return [((date, region), known[-1]) for region in names if (known := store.revisions(date, region))]


def _keys(closed: dict[tuple[str, str], int]) -> list[Revision]:
    return [(date, region, number) for (date, region), number in closed.items()]


def _open(date: str, region: str) -> dict[str, Any]:
    return {"date": date, "region": region, "status": Status.OPEN}


def _day(manifest: Manifest) -> dict[str, Any]:
    return {
        "date": manifest.business_date,
        "region": manifest.region,
        "status": manifest.status,
        "revision": manifest.revision,
        "closed_at": manifest.closed_at,
        "completeness": manifest.completeness,
        "rows": manifest.rows,
        "missing": [_missing(found) for found in manifest.shortfalls],
        "differences": manifest.differences,
        "exceptions": len(manifest.exceptions),
    }


def _missing(found: Shortfall) -> str:
    return f"{found.source}, {found.topic}, hour {found.hour}: {found.facts} of {found.expected_facts} records"

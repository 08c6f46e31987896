"""The room of the ledger: the latest business dates of every region in the archive that `atp ledger close` writes."""

from __future__ import annotations

import time
from typing import Any

from atp.domain.ledger_close import Shortfall, Status
from atp.ledger.store import LedgerStoreError, Manifest, Store

DATES = 10
LOOK_S = 10.0  # days close once a day, and an archive may be far away
Revision = tuple[str, str, int]


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
                self._said = self._look(Store(self._target))
            except (LedgerStoreError, OSError) as error:
                self._said = {**self._said, "error": str(error)}
        return self._said

    def _look(self, store: Store) -> dict[str, Any]:
        named = [name.removeprefix("date=") for name in store.names("") if name.startswith("date=")]
        dates = named[: -DATES - 1 : -1]
        closed = {place: number for date in dates for place, number in _revisions(store, date)}
        regions = sorted({region for _, region in closed})
        self._read = {key: self._read.get(key) or _day(store.manifest(*key)) for key in _keys(closed)}
        by_place = {(day["date"], day["region"]): day for day in self._read.values()}
        days = [by_place.get((date, region), _open(date, region)) for date in dates for region in regions]
        return {"target": self._target, "error": None, "regions": regions, "days": days}


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

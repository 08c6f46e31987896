"""The room of freshness: every region against its target, what is left of its budget, every source's course."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from atp.client import Staleness
from atp.domain.slo import Freshness, SourceFreshness
from atp.domain.times import to_ms
from atp.facade.documents import Document

UNMEASURED_MS = Staleness().unmeasured_after_ms  # what people see is what answers go by
Course = list[dict[str, int]]


def unmeasured(documents: dict[str, Document], now_ms: int) -> list[str]:
    """Regions that were measured once and are not now: no worker has them, or it stands still."""
    return sorted(row.region for row in _readable(documents) if _age_ms(row, now_ms) > UNMEASURED_MS)


def rows(documents: dict[str, Document], courses: dict[str, Course], now_ms: int) -> list[dict[str, Any]]:
    """One row per region, in order; `courses`: the latest samples by region."""
    found = sorted(_readable(documents), key=lambda row: row.region)
    return [_row(row, courses.get(row.region, []), now_ms) for row in found]


def _readable(documents: dict[str, Document]) -> list[Freshness]:
    return [row for row in map(_row_of, documents.values()) if row is not None]


def _row_of(document: Document) -> Freshness | None:
    try:
        row = msgspec.convert(document, Freshness)
        for stamp in (row.as_of, *(said.watermark for said in row.sources.values())):
            _ms(stamp or row.as_of)
    except ValueError:  # msgspec's own errors are
        return None
    return row


def _ms(stamp: str) -> int:
    return to_ms(datetime.fromisoformat(stamp))


def _age_ms(row: Freshness, now_ms: int) -> int:
    return now_ms - _ms(row.as_of)


def behind_s(document: Document) -> dict[str, int]:
    """One point in the course of a region: how far (s) each source's watermark was behind when it was checked."""
    row = _row_of(document)
    if row is None:
        return {}
    marks = {name: said.watermark for name, said in row.sources.items() if said.watermark}
    return {name: max(0, _ms(row.as_of) - _ms(mark)) // 1000 for name, mark in marks.items()}


def _row(row: Freshness, course: Course, now_ms: int) -> dict[str, Any]:
    return {
        "region": row.region,
        "as_of": row.as_of,
        "measured": _age_ms(row, now_ms) <= UNMEASURED_MS,
        "state": row.state,
        "target_s": row.target_ms // 1000,
        "target_share": row.target_share,
        "good_checks": row.good_checks,
        "checks": row.checks,
        "budget_left": row.budget_left,
        "sources": [_source(name, said, course) for name, said in sorted(row.sources.items())],
    }


def _source(name: str, said: SourceFreshness, course: Course) -> dict[str, Any]:
    return {
        "source": name,
        "watermark": said.watermark,
        "silent": said.silent,
        "facts": said.facts,
        "in_time": said.in_time,
        "lag_p50_ms": said.lag_p50_ms,
        "lag_p95_ms": said.lag_p95_ms,
        "behind_s": [sample[name] for sample in course if name in sample],
    }

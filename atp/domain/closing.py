"""The day close of a region: dates asked for in order, answered by every partition, closed, judged, restated.

    asked      watermarks past midnight, and the grace   → PROVISIONAL, or FINAL from the hour of the final close
    answered   every partition's rows are published, and their sums told
    closed     the sums of all partitions; a date opens with what the one before closed with, or the close stops
    asked anew PROVISIONAL dates that may be FINAL; closed ones of which a partition says that rows changed

One date of a region is under way at a time. A revision that was closed never changes; the next one has only the rows
that differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from enum import StrEnum

import msgspec

from atp.domain.balances import SourceArrivals
from atp.domain.facts import Identity
from atp.domain.freshness import WatermarkBook
from atp.domain.ledger_close import (
    Completeness,
    ControlTotals,
    Judgement,
    Shortfall,
    Status,
    final_ms,
    judge,
    waiting_for,
)
from atp.domain.partials import LedgerChanged, LedgerTotalled
from atp.domain.policy import RecordPolicy
from atp.domain.times import Day, Stamp, rfc3339

KEPT_DAYS = 7  # a date that still is not final by then stays as it is


class Stand(StrEnum):
    """Where a revision stands. BROKEN: it does not open as the date before closed; nothing later is closed."""

    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    BROKEN = "BROKEN"


class LedgerDay(msgspec.Struct, frozen=True, kw_only=True):
    """A revision of a business date on `atp.ledger.days.v1`; its rows are on `atp.ledger.daily.v1`.

    `rows, control_totals`: of the whole date, once it is closed. Of a SKU, the row of its highest revision stands.
    """

    schema_version: str = "1.0"
    region: Identity
    business_date: date
    revision: int
    status: Status
    stand: Stand
    asked_at: Stamp
    closed_at: Stamp | None = None
    rows: int = 0
    control_totals: dict[str, int] = {}
    completeness: float | None = None
    expected_records: int = 0
    missing_records: int = 0
    shortfalls: list[Shortfall] = []
    problem: str = ""


class LedgerDayError(ValueError):
    """A record of a day that cannot be used."""


def parse_day(document: object) -> LedgerDay:
    """A validated record of a day, or LedgerDayError."""
    try:
        return msgspec.convert(document, LedgerDay)
    except msgspec.ValidationError as error:
        raise LedgerDayError(str(error)) from None


class DayBook(msgspec.Struct, array_like=True):
    """A date as its region knows it. `answers`: rows and totals by partition, to the revision under way."""

    revision: int
    status: Status
    stand: Stand
    asked_ms: int
    answers: dict[int, tuple[int, dict[str, int]]] = {}
    closed_ms: int = 0
    totals: dict[str, int] = {}
    changed: bool = False  # a partition said that rows are others now
    expected: int = 0  # records that its sources named; heartbeats forget them after 48 hours


class RegionDays(msgspec.Struct, array_like=True):
    """The dates of a region, by ordinal; `following` is asked for next, 0 before any fact came."""

    days: dict[int, DayBook] = {}
    following: int = 0


def hear(state: RegionDays, said: LedgerTotalled | LedgerChanged) -> None:
    """Take what a partition says of a date."""
    day = state.days.get(said.business_date.toordinal())
    if day is None:
        return
    if isinstance(said, LedgerChanged):
        day.changed = day.changed or day.revision <= said.revision
    elif said.revision == day.revision and day.stand is Stand.CLOSING:
        day.answers[said.partition] = (said.rows, said.totals)


def control_totals(
    region: str, watermarks: WatermarkBook, arrivals: dict[tuple[str, str], SourceArrivals]
) -> ControlTotals:
    """What the sources of a region say of themselves, and what came from them, by (region, source)."""
    found = ControlTotals({}, {}, {})
    for (_, place), beat in watermarks.beats.items():
        if place == region:
            with suppress(ValueError):  # an hour that is none cannot be compared
                found.hear(beat)
    for (place, source), row in arrivals.items():
        for hour_ms, topics in row.arrivals.counted.items():
            for topic in topics:
                found.came.setdefault((source, place), {})[topic, hour_ms] = list(row.arrivals.came(topic, hour_ms))
    return found


def may_act(
    state: RegionDays, region: str, watermarks: WatermarkBook, policy: RecordPolicy, partitions: int, now_ms: int
) -> bool:
    """Whether `decide` may have something to say; else, which is nearly always, control totals need no adding up."""
    if not state.days:
        return True
    under_way = [day for day in state.days.values() if day.stand is not Stand.CLOSED]
    if under_way:
        return any(_is_answered(day, partitions) for day in under_way)
    if any(_may_be_revised(ordinal, day, policy, now_ms) for ordinal, day in state.days.items()):
        return True
    following = Day(state.following, policy.calendar.zone)
    in_time = now_ms >= following.end_ms + policy.ledger_grace_ms
    return in_time and not waiting_for(region, following, watermarks, policy)


def _may_be_revised(ordinal: int, day: DayBook, policy: RecordPolicy, now_ms: int) -> bool:
    if _is_restated(day, policy, now_ms):
        return True
    return day.status is Status.PROVISIONAL and now_ms >= final_ms(Day(ordinal, policy.calendar.zone), policy)


def _is_answered(day: DayBook, partitions: int) -> bool:
    return day.stand is Stand.CLOSING and len(day.answers) == partitions


def _is_restated(day: DayBook, policy: RecordPolicy, now_ms: int) -> bool:
    """Whether late facts have changed a closed date, and the grace for more of them is over."""
    return day.changed and now_ms >= day.closed_ms + policy.ledger_grace_ms


def decide(
    state: RegionDays, region: str, totals: ControlTotals, policy: RecordPolicy, partitions: int, now_ms: int
) -> Iterator[LedgerDay]:
    """What is closed now, and what is asked for next."""
    if not state.days:
        state.following = _first(region, totals, policy)
    for ordinal, day in sorted(state.days.items()):
        if _is_answered(day, partitions):
            yield _close(state, region, ordinal, totals, policy, now_ms)
    if state.following and all(day.stand is Stand.CLOSED for day in state.days.values()):
        yield from _ask(state, region, totals, policy, now_ms)


def _first(region: str, totals: ControlTotals, policy: RecordPolicy) -> int:
    """The date of the first facts that came, 0 before any did."""
    hours = [hour_ms for (_, place), came in totals.came.items() if place == region for _, hour_ms in came]
    return policy.calendar.day(min(hours)).ordinal if hours else 0


def _ask(
    state: RegionDays, region: str, totals: ControlTotals, policy: RecordPolicy, now_ms: int
) -> Iterator[LedgerDay]:
    """The first date that is due for another revision, or for its first."""
    for ordinal, day in sorted(state.days.items()):
        status = _next_status(day, _judged(region, ordinal, totals, policy, now_ms), policy, now_ms)
        if status is not None:
            state.days[ordinal] = DayBook(day.revision + 1, status, Stand.CLOSING, now_ms, expected=day.expected)
            yield _record(region, ordinal, state.days[ordinal])
            return
    judged = _judged(region, state.following, totals, policy, now_ms)
    if judged.status is not Status.OPEN:
        expected = judged.completeness.expected
        state.days[state.following] = DayBook(1, judged.status, Stand.CLOSING, now_ms, expected=expected)
        yield _record(region, state.following, state.days[state.following])
        state.following += 1
        for ordinal in [known for known in state.days if known < state.following - KEPT_DAYS]:
            del state.days[ordinal]


def _next_status(day: DayBook, judged: Judgement, policy: RecordPolicy, now_ms: int) -> Status | None:
    """The status of the next revision of a closed date; None if none is due."""
    restated = _is_restated(day, policy, now_ms)
    if day.status is Status.PROVISIONAL:
        final = judged.status is Status.FINAL and judged.completeness.expected >= day.expected
        if final or restated:
            return Status.FINAL if final else Status.PROVISIONAL
        return None
    return Status.RESTATED if restated else None


def _judged(region: str, ordinal: int, totals: ControlTotals, policy: RecordPolicy, now_ms: int) -> Judgement:
    return judge(region, Day(ordinal, policy.calendar.zone), totals, policy, now_ms)


def _close(
    state: RegionDays, region: str, ordinal: int, totals: ControlTotals, policy: RecordPolicy, now_ms: int
) -> LedgerDay:
    day = state.days[ordinal]
    day.totals = {}
    for _, sums in day.answers.values():
        for name, units in sums.items():
            day.totals[name] = day.totals.get(name, 0) + units
    day.stand, day.closed_ms = Stand.CLOSED, now_ms
    problem = _break(state, ordinal - 1) or _break(state, ordinal)
    if problem:
        day.stand = Stand.BROKEN
    completeness = _judged(region, ordinal, totals, policy, now_ms).completeness
    day.expected = max(day.expected, completeness.expected)
    return _record(region, ordinal, day, completeness, problem)


def _break(state: RegionDays, ordinal: int) -> str:
    """What is wrong between a closed date and the one after it, while no restatement of either is under way."""
    before, after = state.days.get(ordinal), state.days.get(ordinal + 1)
    if before is None or after is None or before.changed or after.changed:
        return ""
    if Stand.CLOSING in (before.stand, after.stand):
        return ""
    for place in ("sellable", "on_hand"):
        closing, opening = before.totals.get(f"closing_{place}", 0), after.totals.get(f"opening_{place}", 0)
        if closing != opening:
            name = date.fromordinal(ordinal + 1).isoformat()
            return f"{name}: opening_{place} = {opening}, must be {closing}, the closing of the date before"
    return ""


def _record(
    region: str, ordinal: int, day: DayBook, completeness: Completeness | None = None, problem: str = ""
) -> LedgerDay:
    complete = completeness or Completeness()
    closed = day.stand is not Stand.CLOSING
    return LedgerDay(
        region=region,
        business_date=date.fromordinal(ordinal),
        revision=day.revision,
        status=day.status,
        stand=day.stand,
        asked_at=rfc3339(day.asked_ms),
        closed_at=rfc3339(day.closed_ms) if closed else None,
        rows=sum(rows for rows, _ in day.answers.values()),
        control_totals=day.totals if closed else {},
        completeness=None if complete.share is None else float(complete.share),
        expected_records=complete.expected,
        missing_records=complete.expected - complete.came,
        shortfalls=complete.shortfalls,
        problem=problem,
    )

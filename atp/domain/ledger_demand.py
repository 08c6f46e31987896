"""Reserved and promised units at each midnight: the highest version of every line dated before it.

promised = open FIRM + ALLOCATED + BACKORDERED; reserved = promised + open SOFT that has not expired. They are levels,
not movements: a fact that came too late for its date counts from the first date that still took it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from atp.domain.facts import LineState, Reservation
from atp.domain.intake import Admitted
from atp.domain.reservations import Line
from atp.domain.times import FOREVER_MS, to_ms

if TYPE_CHECKING:
    from atp.domain.daily_ledger import Rules


class DemandVersion(msgspec.Struct, gc=False):
    """A version of a reservation line, as the ledger counts it."""

    time_ms: int
    recorded_ms: int
    version: int
    units: int
    promised: bool
    region: str
    node: str | None  # of an ALLOCATED line: its stock belongs to the node's region
    expires_ms: int


def demand_version(admitted: Admitted) -> DemandVersion:
    """What the ledger keeps of an admitted reservation."""
    fact = admitted.fact
    assert isinstance(fact, Reservation)
    soft = fact.state is LineState.SOFT
    expires_ms = to_ms(fact.expires_at) if soft and fact.expires_at is not None else FOREVER_MS
    node = fact.node if fact.state is LineState.ALLOCATED else None
    times = (admitted.time_ms, admitted.recorded_ms)
    return DemandVersion(*times, fact.version, fact.open, not soft, fact.region, node, expires_ms)


def demand_of(line: Line) -> list[DemandVersion]:
    """What the ledger needs of a reservation line as the worker keeps it."""
    return [
        DemandVersion(
            known.time_ms,
            known.recorded_ms or known.time_ms,
            known.version,
            known.open,
            known.state is not LineState.SOFT,
            known.region,
            known.node if known.state is LineState.ALLOCATED else None,
            known.expires_ms or FOREVER_MS,
        )
        for known in line.versions
    ]


def demand_changes(lines: dict[str, list[DemandVersion]], rules: Rules) -> Iterator[tuple[str, int, int, int]]:
    """(region, date, change of reserved, change of promised), in no order; a line that did not last is a 0."""
    for versions in lines.values():
        top: DemandVersion | None = None
        top_ms = 0
        for at_ms, version in sorted(_counted(versions, rules), key=lambda known: (known[0], known[1].version)):
            if top is None or version.version > top.version:
                if top is not None:
                    yield from _span(top, top_ms, at_ms, rules)
                top, top_ms = version, at_ms
        if top is not None:
            yield from _span(top, top_ms, FOREVER_MS, rules)


def _counted(versions: list[DemandVersion], rules: Rules) -> Iterator[tuple[int, DemandVersion]]:
    for version in versions:
        region = _region(version, rules)
        late = region is not None and rules.is_late(region, version.time_ms, version.recorded_ms)
        yield (rules.first_open(region, version.recorded_ms) if late and region else version.time_ms), version


def _region(version: DemandVersion, rules: Rules) -> str | None:
    return version.region if version.node is None else rules.region_of(version.node)


def _span(version: DemandVersion, from_ms: int, until_ms: int, rules: Rules) -> Iterator[tuple[str, int, int, int]]:
    """What a version counts from its date on, and takes back when it is replaced or expires."""
    region = _region(version, rules)
    if region != version.region:
        yield version.region, rules.calendar_of(version.region).day(from_ms).ordinal, 0, 0
    if region is None:
        return
    day = rules.calendar_of(region).day
    first = day(from_ms).ordinal
    last = min(_ordinal(day, until_ms), _ordinal(day, version.expires_ms, -1))
    if last <= first or version.units == 0:
        yield region, first, 0, 0  # a line gives its SKU a row, even if no midnight saw it open
        return
    promised = version.units if version.promised else 0
    yield region, first, version.units, promised
    if last < _NEVER:
        yield region, last, -version.units, -promised


_NEVER = 2**31


def _ordinal(day: object, at_ms: int, shift_ms: int = 0) -> int:
    return _NEVER if at_ms >= FOREVER_MS else day(at_ms + shift_ms).ordinal  # type: ignore[operator]

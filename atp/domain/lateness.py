"""Facts that came after the correction window of their day: the state takes them, no closed book does.

The rule is the daily ledger's: a day takes what was recorded within `correction_hours` of its midnight. A later fact
becomes an exception, so that somebody looks at it; so does one that is too old for the state to place (TOO_OLD).
"""

from __future__ import annotations

from typing import NamedTuple

from atp.domain.facts import CORRECTION_SOURCE, Fact, Reservation
from atp.domain.intake import Admitted
from atp.domain.policy import PolicyBook, RecordPolicy
from atp.domain.snapshots import RESERVATIONS, STOCK
from atp.domain.times import to_ms
from atp.domain.totals import units_of


class LateFact(NamedTuple):
    """A fact that is in no day. `place`: its node, or its region; `applied`: whether the state took it."""

    sku: str
    kind: str
    place: str
    region: str
    source: str
    event_id: str
    recorded_ms: int
    units: int
    applied: bool


def is_late(time_ms: int, recorded_ms: int, policy: RecordPolicy) -> bool:
    """Whether the day of a fact took no more facts when it was recorded."""
    if recorded_ms <= time_ms + policy.correction_ms:
        return False
    return recorded_ms > policy.calendar.day(time_ms).end_ms + policy.correction_ms


def late_fact(admitted: Admitted, region: str, policies: PolicyBook) -> LateFact | None:
    """What there is to say of an admitted fact that is late, None of any other."""
    if not is_late(admitted.time_ms, admitted.recorded_ms, policies.resolve("", region)):
        return None
    return _said_of(admitted.fact, region, admitted.recorded_ms, applied=True)


def too_old_fact(fact: Fact, region: str) -> LateFact | None:
    """What there is to say of a fact that was refused as TOO_OLD."""
    return _said_of(fact, region, to_ms(fact.recorded_at), applied=False)


def _said_of(fact: Fact, region: str, recorded_ms: int, *, applied: bool) -> LateFact | None:
    """A correction is never late."""
    if fact.source == CORRECTION_SOURCE:
        return None
    kind, place = (RESERVATIONS, region) if isinstance(fact, Reservation) else (STOCK, fact.node or "")
    units = abs(units_of(fact))
    return LateFact(fact.sku, kind, place, region, fact.source, fact.event_id, recorded_ms, units, applied)

"""What a source knows of its own messages: their numbers, and control totals of what it has recorded, by hour."""

from __future__ import annotations

from typing import Any

from atp.domain.facts import (
    DAMAGES_TOPIC,
    RECEIPTS_TOPIC,
    RESERVATIONS_TOPIC,
    STOCK_TOPIC,
    Damage,
    Fact,
    Receipt,
    Reservation,
)
from atp.domain.times import HOUR_MS, rfc3339, to_ms
from atp.domain.totals import units_of

_TOPICS: dict[type[Any], str] = {
    Reservation: RESERVATIONS_TOPIC,
    Receipt: RECEIPTS_TOPIC,
    Damage: DAMAGES_TOPIC,
}


def topic_of(fact: Fact) -> str:
    """The topic that a fact is sent to."""
    return _TOPICS.get(type(fact), STOCK_TOPIC)


class SourceBook:
    """One source and region. `totals`: facts and units by topic and hour, as its heartbeats name them."""

    def __init__(self) -> None:
        self.totals: dict[str, dict[str, tuple[int, int]]] = {}
        self._numbered = 0
        self._hours: dict[int, str] = {}

    def enter(self, fact: Fact) -> None:
        """Number a fact and count it in the hour in which it was recorded."""
        self._numbered += 1
        fact.source_seq = self._numbered
        hour = to_ms(fact.recorded_at) // HOUR_MS
        name = self._hours.get(hour) or self._hours.setdefault(hour, rfc3339(hour * HOUR_MS))
        hours = self.totals.setdefault(topic_of(fact), {})
        facts, units = hours.get(name, (0, 0))
        hours[name] = (facts + 1, units + units_of(fact))

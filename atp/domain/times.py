"""Instants as epoch milliseconds, days as proleptic ordinals: integers inside, RFC 3339 on the wire."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

# An instant on the wire as `rfc3339` writes it.
Stamp = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
# `now` stays where calendars work: every zone's midnights, and the longest horizon, still have a date.
LATEST_NOW_MS = 253_339_228_800_000  # 9998-01-01
FOREVER_MS = 2**62
# Years 1 to 9999: an instant just outside them, which an offset or rounding can make, is still written and refused.
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999


def to_ms(instant: datetime) -> int:
    """Epoch milliseconds of an aware instant, rounded to the nearest."""
    return int(instant.timestamp() * 1000 + 0.5)


def from_ms(instant_ms: int) -> datetime:
    """The aware UTC instant of an epoch millisecond."""
    seconds, ms = divmod(min(max(instant_ms, _FIRST_MS), _LAST_MS), 1000)
    return datetime.fromtimestamp(seconds, UTC) + timedelta(milliseconds=ms)


def rfc3339(instant_ms: int) -> str:
    """`2011-11-25T10:00:00.000Z`."""
    return from_ms(instant_ms).isoformat(timespec="milliseconds")[:-6] + "Z"


@lru_cache(maxsize=4096)
def iso_day(ordinal: int) -> str:
    """`2011-11-25` of a day's ordinal."""
    return date.fromordinal(ordinal).isoformat()


class Day:
    """One business date of a time zone: its ordinal and the instants it spans, [start_ms, end_ms)."""

    __slots__ = ("end_ms", "ordinal", "start_ms")

    def __init__(self, ordinal: int, zone: ZoneInfo) -> None:
        self.ordinal = ordinal
        self.start_ms = _midnight_ms(ordinal, zone)
        self.end_ms = _midnight_ms(ordinal + 1, zone)


def _midnight_ms(ordinal: int, zone: ZoneInfo) -> int:
    day = date.fromordinal(ordinal)
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=zone))


def business_day(instant_ms: int, zone: ZoneInfo) -> Day:
    """The business date in which an instant falls, by the zone's own calendar (23- and 25-hour days included)."""
    return Day(from_ms(instant_ms).astimezone(zone).toordinal(), zone)


class Calendar:
    """Business dates of one zone, remembered: time moves on, so nearly every question repeats the last one."""

    __slots__ = ("_days", "_starts", "zone")

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._starts: list[int] = []
        self._days: list[Day] = []

    def day(self, instant_ms: int) -> Day:
        """The business date of an instant."""
        index = bisect_right(self._starts, instant_ms) - 1
        if index >= 0 and instant_ms < self._days[index].end_ms:
            return self._days[index]
        day = business_day(instant_ms, self.zone)
        self._starts.insert(index + 1, day.start_ms)
        self._days.insert(index + 1, day)
        return day

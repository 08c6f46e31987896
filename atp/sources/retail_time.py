"""Time and chance of the retail replay: UK wall-clock minutes → UTC milliseconds, and choices made by hash.

Nothing here asks the clock or a random generator, so two replays are equal byte for byte.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from zlib import crc32
from zoneinfo import ZoneInfo

from atp.domain.times import DAY_MS, HOUR_MS, MINUTE_MS, to_ms

SECOND_MS = 1000
# No fact is recorded later than this after it occurred.
MAX_DELAY_MS = 90 * SECOND_MS

_LONDON = ZoneInfo("Europe/London")
_MASK = 2**64 - 1
_SECONDS = [f"{ms // 1000:02d}.{ms % 1000:03d}Z" for ms in range(MINUTE_MS)]


def mix(number: int) -> int:
    """64 well-mixed bits of an integer (splitmix64): the source of every derived choice."""
    number = (number + 1) * 0x9E3779B97F4A7C15 & _MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    return number ^ number >> 31


def mix_text(text: str) -> int:
    """64 well-mixed bits of a text."""
    return mix(crc32(text.encode()))


@lru_cache(maxsize=1024)
def _local_midnight_ms(day: str) -> int:
    """The instant from which a UK day's business hours count; taken from noon, as clocks change at night."""
    year, month, number = map(int, day.split("-"))
    return to_ms(datetime(year, month, number, 12, tzinfo=_LONDON)) - 12 * HOUR_MS


@lru_cache(maxsize=64)
def uk_minute_ms(text: str) -> int:
    """`2011-09-09 08:26:00`, UK local time → epoch milliseconds."""
    return _local_midnight_ms(text[:10]) + int(text[11:13]) * HOUR_MS + int(text[14:16]) * MINUTE_MS


def day_start_ms(day: str) -> int:
    """`2011-09-09` → the instant this day starts in the UK."""
    year, month, number = map(int, day.split("-"))
    return to_ms(datetime(year, month, number, tzinfo=_LONDON))


@lru_cache(maxsize=1 << 16)
def _minute_text(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")


def wire_time(instant_ms: int) -> str:
    """`2011-11-25T10:00:00.000Z`; both halves come from tables, as every fact needs two of these."""
    minute, ms = divmod(instant_ms, MINUTE_MS)
    return _minute_text(minute) + _SECONDS[ms]


@lru_cache(maxsize=4096)
def _ordinal_text(day: int) -> str:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day).isoformat()


def wire_day(instant_ms: int) -> str:
    """`2011-11-25`, the UTC day of an instant."""
    return _ordinal_text(instant_ms // DAY_MS)

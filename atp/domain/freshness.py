"""Freshness of sources: a quiet SKU is not stale, a silent source is. Judged on heartbeats' watermarks."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.domain.decoding import explain_invalid
from atp.domain.facts import Identity, Instant
from atp.domain.times import to_ms


class Heartbeat(msgspec.Struct, frozen=True):
    """`source.alive`: all facts of the source and region recorded up to `watermark` were sent."""

    source: Identity
    region: Identity
    watermark: Instant
    type: str = "source.alive"
    totals: dict[str, dict[str, tuple[int, int]]] = {}


class HeartbeatError(ValueError):
    """A heartbeat that cannot be used: names field, value and what is allowed."""


def parse_heartbeat(document: Any) -> Heartbeat:
    """A validated heartbeat, or HeartbeatError."""
    try:
        return msgspec.convert(document, Heartbeat)
    except msgspec.ValidationError as error:
        raise HeartbeatError(explain_invalid(document, error)) from None


class Sightings:
    """Which watermarks count for a reader: all that they vouch for was read.

    Heartbeats are read apart from the facts. One seen at an instant vouches for facts that were sent before it, so it
    counts once the reader has worked off what was sent up to that instant.
    """

    def __init__(self) -> None:
        self._counting: dict[tuple[str, str], int] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._seen_ms = 0

    def look(self, watermarks: dict[tuple[str, str], int], consumed_ms: int, now_ms: int) -> None:
        """Look at the heartbeats again, at most once a tick: an answer under way has arrived by the next one."""
        if consumed_ms >= self._seen_ms:
            self._counting = self._seen
            self._seen, self._seen_ms = dict(watermarks), now_ms

    def passed_ms(self, source: str, region: str) -> int:
        """Up to when a source has sent, and the reader has read, everything."""
        return self._counting.get((source, region), 0)


class WatermarkBook(dict[tuple[str, str], int]):
    """Highest watermark (ms) by (source, region), and the heartbeat that brought it."""

    def __init__(self, known: WatermarkBook | None = None) -> None:
        super().__init__(known or {})
        self.beats: dict[tuple[str, str], Heartbeat] = dict(known.beats) if known is not None else {}

    def put(self, heartbeat: Heartbeat) -> None:
        """Raise the watermark of a source and region."""
        key, watermark_ms = (heartbeat.source, heartbeat.region), to_ms(heartbeat.watermark)
        if watermark_ms >= self.get(key, 0):
            self[key], self.beats[key] = watermark_ms, heartbeat

    def stale_from_ms(self, region: str, sources: tuple[str, ...], timeout_ms: int) -> int | None:
        """The instant from which the region counts as stale; None if it never will (no source is required)."""
        if not sources:
            return None
        return min(self.get((source, region), 0) for source in sources) + timeout_ms

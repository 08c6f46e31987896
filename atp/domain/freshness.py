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


class WatermarkBook(dict[tuple[str, str], int]):
    """Highest watermark (ms) by (source, region)."""

    def put(self, heartbeat: Heartbeat) -> None:
        """Raise the watermark of a source and region."""
        key = (heartbeat.source, heartbeat.region)
        self[key] = max(self.get(key, 0), to_ms(heartbeat.watermark))

    def stale_from_ms(self, region: str, sources: tuple[str, ...], timeout_ms: int) -> int | None:
        """The instant from which the region counts as stale; None if it never will (no source is required)."""
        if not sources:
            return None
        return min(self.get((source, region), 0) for source in sources) + timeout_ms

"""Canonical records for the tests of those who read them."""

from __future__ import annotations

from typing import Any

import msgspec

INSTANT = "2026-01-05T10:00:00.000Z"
AS_OF_MS = 1_767_607_200_000  # the same


def record(sku: str = "S", version: int = 1, units: int = 10, region: str = "uk", **more: Any) -> dict[str, Any]:
    """A record whose only channel, web, may sell `units`, or six less when it must be careful."""
    offer = {"mode": "CONFIDENT", "confidence": "HIGH", "reasons": [], "sellable": units, "confident": units}
    web = {**offer, "conservative": max(0, units - 6), **more.pop("web", {})}
    times = {"as_of": INSTANT, "published_at": INSTANT}
    body = {"atp": units, "shortage": 0, "buckets": [{"date": "2026-01-05", "atp": units}], "flags": []}
    return {
        "schema_version": "1.0", "sku": sku, "region": region, "version": version, **times, **body,
        "on_hand": {"sellable": units}, "reserved": {"firm": 0}, "channels": {"web": web}, "policy_version": 1,
        "inputs": {}, **more,
    }  # fmt: skip


def encoded(*args: Any, **more: Any) -> bytes:
    """The bytes of a record."""
    return msgspec.json.encode(record(*args, **more))


def mode(value: str, region: str = "uk", channel: str = "web") -> bytes:
    """The bytes of a mode."""
    return msgspec.json.encode({"region": region, "channel": channel, "mode": value, "cause": "OPERATOR"})


def measured(region: str = "uk", as_of: str = INSTANT) -> bytes:
    """The bytes of what a reader needs of a region's freshness."""
    return msgspec.json.encode({"region": region, "as_of": as_of})

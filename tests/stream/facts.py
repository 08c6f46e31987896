"""Small facts by hand, for stories whose every number a reader can check."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.stream.system import Line

T0 = datetime(2026, 3, 10, 9, tzinfo=UTC)
_numbers = itertools.count(1)


def at(minutes: float) -> datetime:
    """An instant of the story."""
    return T0 + timedelta(minutes=minutes)


def stamp(moment: datetime) -> str:
    """An instant on the wire."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fact(topic: str, kind: str, sku: str, moment: datetime, **body: Any) -> Line:
    """One line of a fact topic."""
    value = {
        "event_id": f"e-{next(_numbers)}",
        "type": kind,
        "schema_version": "1.0",
        "source": "story",
        "sku": sku,
        "occurred_at": stamp(moment),
        "recorded_at": stamp(moment),
        **body,
    }
    return {"topic": topic, "key": sku, "value": value}


def counted(sku: str, node: str, units: int, moment: datetime) -> Line:
    """A count of sellable units."""
    body = {"node": node, "as_of": stamp(moment), "quantities": {"sellable": units}}
    return fact("inventory.stock.v1", "stock.counted", sku, moment, **body)


def shipped(sku: str, node: str, units: int, moment: datetime) -> Line:
    """Units that left, for nobody we know."""
    return fact("inventory.stock.v1", "stock.shipped", sku, moment, node=node, quantity=units)


def returned(sku: str, node: str, units: int, moment: datetime, told: datetime) -> Line:
    """A customer's return that the store told later than it happened."""
    body: dict[str, Any] = {"node": node, "quantity": units, "recorded_at": stamp(told)}
    return fact("inventory.stock.v1", "stock.returned", sku, moment, **body)


def reserved(
    sku: str, region: str, units: int, moment: datetime, expires: datetime | None = None, channel: str = "web"
) -> Line:
    """A first line version: FIRM, or SOFT where it expires."""
    body: dict[str, Any] = {"region": region, "reservation_id": f"r-{next(_numbers)}", "line": 1, "version": 1}
    body |= {"channel": channel, "state": "FIRM", "requested": units, "open": units, "consumed": 0, "released": 0}
    if expires is not None:
        body |= {"state": "SOFT", "expires_at": stamp(expires)}
    return fact("oms.reservations.v1", "reservation.placed", sku, moment, **body)


def expected_receipt(sku: str, node: str, units: int, eta: datetime, moment: datetime) -> Line:
    """A confirmed inbound line."""
    body: dict[str, Any] = {"receipt_id": f"p-{next(_numbers)}", "line": 1, "version": 1, "node": node}
    body |= {"stage": "CONFIRMED", "expected": units, "received": 0, "put_away": 0, "held": 0}
    return fact("purchasing.receipts.v1", "receipt.confirmed", sku, moment, eta=eta.date().isoformat(), **body)


def damaged(sku: str, node: str, units: int, moment: datetime) -> Line:
    """A damage document's first version."""
    body = {"damage_id": f"d-{next(_numbers)}", "version": 1, "node": node, "to_state": "damaged"}
    return fact("wms.damages.v1", "damage.reported", sku, moment, **body, reported=units, reversed=0, written_off=0)


def node(name: str, region: str) -> Line:
    """A row of the node reference."""
    return {"topic": "reference.nodes.v1", "key": name, "value": {"node": name, "region": region, "kind": "dc"}}


def policy(scope: str, version: int, **fields: Any) -> Line:
    """A policy document."""
    return {"topic": "atp.policies.v1", "key": scope, "value": {"scope": scope, "version": version, **fields}}

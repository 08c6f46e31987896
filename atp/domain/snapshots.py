"""Snapshots: what a source of truth says its state was at `as_of`; rows, and a marker that closes each partition.

A stock snapshot has a row per (SKU, node), an OMS snapshot a row per SKU with its open lines in the region. A key
that is absent from a complete snapshot is 0.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from atp.domain.decoding import KNOWN_MAJOR, refusal_of, unknown_version
from atp.domain.facts import (
    Identity,
    Instant,
    LineNumber,
    LineState,
    Quantity,
    SignedQuantity,
    Sku,
    StockState,
    Version,
)
from atp.domain.intake import FUTURE_TOLERANCE_MS
from atp.domain.refusals import Reason, Refusal
from atp.domain.times import rfc3339, to_ms

WMS_SNAPSHOTS_TOPIC = "wms.snapshots.v1"
OMS_SNAPSHOTS_TOPIC = "oms.snapshots.v1"
STOCK, RESERVATIONS = "stock", "reservations"
KINDS = {WMS_SNAPSHOTS_TOPIC: STOCK, OMS_SNAPSHOTS_TOPIC: RESERVATIONS}


class _Snapshot(msgspec.Struct, kw_only=True, gc=False):
    """What every record of a snapshot carries."""

    snapshot_id: Identity
    source: Identity
    as_of: Instant
    region: Identity
    schema_version: str = "1.0"


class StockRow(_Snapshot, tag_field="type", tag="snapshot.row", kw_only=True, gc=False):
    """The stock of a (SKU, node) by state; a state not named is not part of the snapshot."""

    sku: Sku
    node: Identity
    quantities: dict[StockState, SignedQuantity]


class SnapshotLine(msgspec.Struct, kw_only=True, gc=False):
    """An open reservation line as OMS has it, at the version it names."""

    reservation_id: Identity
    line: LineNumber
    version: Version
    channel: Identity
    state: LineState
    requested: Quantity
    open: Quantity
    consumed: Quantity
    released: Quantity
    node: Identity | None = None
    expires_at: Instant | None = None
    due_date: date | None = None


class LinesRow(_Snapshot, tag_field="type", tag="snapshot.row", kw_only=True, gc=False):
    """The open lines of a SKU in the region."""

    sku: Sku
    lines: list[SnapshotLine]


class SnapshotClosed(_Snapshot, tag_field="type", tag="snapshot.closed", kw_only=True, gc=False):
    """All rows of one partition were sent: how many, and the units in them."""

    rows: Quantity
    units: SignedQuantity


SnapshotRow = StockRow | LinesRow
SNAPSHOT_TYPES: dict[str, Any] = {
    WMS_SNAPSHOTS_TOPIC: StockRow | SnapshotClosed,
    OMS_SNAPSHOTS_TOPIC: LinesRow | SnapshotClosed,
}
_DECODERS: dict[str, Any] = {topic: msgspec.json.Decoder(kind) for topic, kind in SNAPSHOT_TYPES.items()}


def decode_snapshot(topic: str, value: bytes | None, now_ms: int) -> SnapshotRow | SnapshotClosed | Refusal:
    """Decode and validate one record of a snapshot topic. Never raises for any input."""
    if value is None:
        return Refusal(Reason.UNDECODABLE, "value = null: a snapshot is never deleted; a JSON object is needed")
    try:
        found: SnapshotRow | SnapshotClosed = _DECODERS[topic].decode(value)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        return refusal_of(value, error)
    if not found.schema_version.startswith(KNOWN_MAJOR):
        return unknown_version(found.schema_version)
    as_of_ms = to_ms(found.as_of)
    if as_of_ms > now_ms + FUTURE_TOLERANCE_MS:
        allowed = f"at most 5 minutes after now = {rfc3339(now_ms)}"
        return Refusal(Reason.FUTURE, f"as_of = {rfc3339(as_of_ms)}: {allowed} is allowed")
    return _contradiction(found) or found


def _contradiction(found: SnapshotRow | SnapshotClosed) -> Refusal | None:
    if not isinstance(found, LinesRow):
        return None
    for line in found.lines:
        total = line.open + line.consumed + line.released
        if line.requested != total:
            name = f"lines {line.reservation_id}/{line.line} requested = {line.requested}"
            return Refusal(Reason.QUANTITY_MISMATCH, f"{name}: open + consumed + released = {total}, must be equal")
        if line.state is LineState.ALLOCATED and line.node is None:
            name = f"lines {line.reservation_id}/{line.line} node = null"
            return Refusal(Reason.SCHEMA_INVALID, f"{name}: a line allocated names its node")
        if line.state is LineState.SOFT and line.expires_at is None:
            name = f"lines {line.reservation_id}/{line.line} expires_at = null"
            return Refusal(Reason.SCHEMA_INVALID, f"{name}: a SOFT line needs the instant it expires")
    return None


def kind_of(row: SnapshotRow) -> str:
    """`stock` or `reservations`."""
    return STOCK if isinstance(row, StockRow) else RESERVATIONS


def units_of(row: SnapshotRow) -> int:
    """Units of a row in the closing marker's sum: Σ quantities, or Σ open."""
    if isinstance(row, StockRow):
        return sum(row.quantities.values())
    return sum(line.open for line in row.lines)

"""The facts, as they are on the wire (wire contract 1.x).

A fact carries identity, version and the state after it; only stock deltas are deltas. Quantities are
integers; times are RFC 3339 UTC on the wire and epoch milliseconds (`…_ms`) once decoded.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

STOCK_TOPIC = "inventory.stock.v1"
RESERVATIONS_TOPIC = "oms.reservations.v1"
RECEIPTS_TOPIC = "purchasing.receipts.v1"
DAMAGES_TOPIC = "wms.damages.v1"
# Who posts corrections. What one states of a line's version is final: the original, whenever it comes, says no more.
CORRECTION_SOURCE = "atp.reconciliation"
CORRECTIONS_TOPIC = "atp.corrections.v1"  # counts and reservation lines, posted by reconciliation

# Far beyond any warehouse, far below what 64 bits and a sum of a million facts can hold.
MAX_QUANTITY = 10**12

Identity = Annotated[str, Meta(min_length=1, max_length=128)]
Sku = Annotated[str, Meta(min_length=1, max_length=64)]
Quantity = Annotated[int, Meta(ge=0, le=MAX_QUANTITY)]
PositiveQuantity = Annotated[int, Meta(ge=1, le=MAX_QUANTITY)]
SignedQuantity = Annotated[int, Meta(ge=-MAX_QUANTITY, le=MAX_QUANTITY)]
Version = Annotated[int, Meta(ge=1, le=2**31)]
LineNumber = Annotated[int, Meta(ge=0, le=2**31)]
Instant = Annotated[datetime, Meta(tz=True)]


class StockState(StrEnum):
    """Where units of a SKU lie within a node; on-hand is the sum of all."""

    SELLABLE = "sellable"
    RECEIVING = "receiving"
    QC_HOLD = "qc_hold"
    DAMAGED = "damaged"
    QUARANTINE = "quarantine"
    RETURN_HOLD = "return_hold"


class DamageState(StrEnum):
    """Where a damage document may put units."""

    DAMAGED = "damaged"
    QUARANTINE = "quarantine"


class LineState(StrEnum):
    """State of a reservation line."""

    SOFT = "SOFT"
    FIRM = "FIRM"
    ALLOCATED = "ALLOCATED"
    BACKORDERED = "BACKORDERED"
    CLOSED = "CLOSED"


class Stage(StrEnum):
    """Stage of an inbound receipt line."""

    PLANNED = "PLANNED"
    CONFIRMED = "CONFIRMED"
    IN_TRANSIT = "IN_TRANSIT"
    ARRIVED = "ARRIVED"
    RECEIVED = "RECEIVED"
    PUT_AWAY = "PUT_AWAY"
    QC_HOLD = "QC_HOLD"
    CLOSED_SHORT = "CLOSED_SHORT"
    OVER = "OVER"
    CANCELLED = "CANCELLED"


class Envelope(msgspec.Struct, kw_only=True, gc=False, omit_defaults=True):
    """What every fact carries. `source_seq` serves gap detection only, never ordering."""

    event_id: Identity
    schema_version: str
    source: Identity
    sku: Sku
    occurred_at: Instant
    recorded_at: Instant
    source_seq: int | None = None
    region: Identity | None = None
    node: Identity | None = None
    correlation_id: str | None = None
    backfill: bool = False


class StockCounted(Envelope, tag_field="type", tag="stock.counted", kw_only=True, gc=False, omit_defaults=True):
    """An absolute count of some states of a node, true at `as_of`; a state not named was not counted."""

    node: Identity
    as_of: Instant
    quantities: dict[StockState, SignedQuantity]


class StockAdjusted(Envelope, tag_field="type", tag="stock.adjusted", kw_only=True, gc=False, omit_defaults=True):
    """Units found or lost in one state."""

    node: Identity
    state: StockState
    delta: SignedQuantity
    reason: str


class StockMoved(Envelope, tag_field="type", tag="stock.moved", kw_only=True, gc=False, omit_defaults=True):
    """Units moved between two states of a node."""

    node: Identity
    from_state: StockState
    to_state: StockState
    quantity: PositiveQuantity
    reason: str


class StockShipped(Envelope, tag_field="type", tag="stock.shipped", kw_only=True, gc=False, omit_defaults=True):
    """Units that left the node: sellable → outside. Names its reservation line where the WMS knows it."""

    node: Identity
    quantity: PositiveQuantity
    reservation_id: Identity | None = None
    line: LineNumber | None = None


class StockReturned(Envelope, tag_field="type", tag="stock.returned", kw_only=True, gc=False, omit_defaults=True):
    """Units received back from a customer: outside → return_hold."""

    node: Identity
    quantity: PositiveQuantity
    order_id: Identity | None = None


class Reservation(Envelope, kw_only=True, gc=False, omit_defaults=True):
    """A reservation line after the fact. requested = open + consumed + released, always."""

    type: Literal[
        "reservation.placed",
        "reservation.extended",
        "reservation.confirmed",
        "reservation.allocated",
        "reservation.shipped",
        "reservation.released",
        "reservation.cancelled",
        "reservation.expired",
        "reservation.short",
    ]
    region: Identity
    reservation_id: Identity
    line: LineNumber
    version: Version
    channel: Identity
    state: LineState
    requested: Quantity
    open: Quantity
    consumed: Quantity
    released: Quantity
    expires_at: Instant | None = None
    due_date: date | None = None


class Receipt(Envelope, kw_only=True, gc=False, omit_defaults=True):
    """An inbound line after the fact; `received`, `put_away` and `held` are cumulative."""

    type: Literal[
        "receipt.planned",
        "receipt.confirmed",
        "receipt.shipped",
        "receipt.arrived",
        "receipt.received",
        "receipt.put_away",
        "receipt.held",
        "receipt.closed_short",
        "receipt.over",
        "receipt.cancelled",
    ]
    node: Identity
    receipt_id: Identity
    line: LineNumber
    version: Version
    stage: Stage
    expected: Quantity
    received: Quantity
    put_away: Quantity
    held: Quantity
    eta: date
    supplier: str | None = None


class Damage(Envelope, kw_only=True, gc=False, omit_defaults=True):
    """A damage document after the fact; `reported`, `reversed` and `written_off` are cumulative."""

    type: Literal["damage.reported", "damage.reversed", "damage.written_off"]
    node: Identity
    damage_id: Identity
    version: Version
    to_state: DamageState
    reported: Quantity
    reversed: Quantity
    written_off: Quantity
    from_state: StockState = StockState.SELLABLE


StockFact = StockCounted | StockAdjusted | StockMoved | StockShipped | StockReturned
Fact = StockFact | Reservation | Receipt | Damage

FACT_TYPES: dict[str, Any] = {
    STOCK_TOPIC: StockFact,
    RESERVATIONS_TOPIC: Reservation,
    RECEIPTS_TOPIC: Receipt,
    DAMAGES_TOPIC: Damage,
}

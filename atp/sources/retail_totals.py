"""The manifest of a replay: where its facts come from, and that no unit was lost on the way."""

from __future__ import annotations

from collections import Counter
from typing import Any

from atp.sources.retail_demand import Demand
from atp.sources.retail_documents import InboundReceipt
from atp.sources.retail_rows import RowKind
from atp.sources.retail_supply import Supply

DERIVED = {
    "receipt.*": "all: planned backwards so that no shelf runs out (source derived:purchasing)",
    "stock.counted": "all: opening stock and cycle counts (correlation_id derived:…)",
    "stock.moved": "all: disposal of returns, release from quality control (correlation_id derived:…)",
    "damage.reversed, damage.written_off": "all: how a damage ended (correlation_id derived:damage-outcome)",
    "reservation.*, stock.shipped": "units, SKU, order and time of sale or cancellation are the source's; "
    "channel, node, SOFT, confirmation, allocation, shipping times and parcels are derived",
    "source.alive": "all",
}


def summary(demand: Demand, supply: Supply, sent: Counter[str]) -> dict[str, Any]:
    """Rows by kind, facts by type, what is derived, and the conservation of units."""
    kinds = {kind.value: _kind(demand, kind) for kind in RowKind}
    return {
        "rows": kinds,
        "rows_total": sum(demand.rows.values()),
        "facts": dict(sorted(sent.items())),
        "facts_total": sum(sent.values()),
        "derived": DERIVED,
        "orphan_cancellation_rows": demand.orphan_rows,
        "backordered_lines": supply.late_lines,
        "units": units_of(demand, supply),
    }


def _kind(demand: Demand, kind: RowKind) -> dict[str, int]:
    return {
        "rows": demand.rows[kind],
        "units": demand.units[kind],
        "not_goods_rows": demand.skipped_rows[kind],
        "not_goods_units": demand.skipped_units[kind],
    }


def units_of(demand: Demand, supply: Supply) -> dict[str, int]:
    """Units by what they are; opening + Σ of what comes and goes = closing sellable, when all has been delivered."""
    damages, backs = demand.damages, demand.returns
    return {
        "requested": sum(line.units for line in demand.lines),
        "cancelled": demand.cancelled_units,
        "shipped": sum(units for line in demand.lines for _, units in line.parcels()),
        "returned": sum(back.units for back in backs),
        "returned_to_sellable": sum(back.units for back in backs if back.resold),
        "adjusted": sum(change.units for change in demand.adjustments),
        "damaged": sum(damage.units for damage in damages),
        "damage_reversed": sum(damage.reversed_units for damage in damages),
        "opening": sum(count.units for count in supply.counts if count.number == 0),
        "counts_drift": sum(count.drift for count in supply.counts),
        "received_to_sellable": sum(map(_to_sellable, supply.receipts)),
        "closing": supply.closing_units,
    }


def _to_sellable(receipt: InboundReceipt) -> int:
    return receipt.units + (0 if receipt.released_damaged else receipt.held)

"""How many units a fact carries in its source's control totals, whatever it changes."""

from __future__ import annotations

from atp.domain.facts import Damage, Fact, Receipt, Reservation, StockAdjusted, StockCounted


def units_of(fact: Fact) -> int:
    """Of a count Σ quantities, of an adjustment its delta, of a reservation `requested`, of a receipt `expected`, of
    a damage `reported`, of every other fact its quantity."""
    match fact:
        case StockCounted():
            return sum(fact.quantities.values())
        case StockAdjusted():
            return fact.delta
        case Reservation():
            return fact.requested
        case Receipt():
            return fact.expected
        case Damage():
            return fact.reported
        case _:
            return fact.quantity

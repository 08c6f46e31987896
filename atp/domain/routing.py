"""The flow of facts on one screen: which stages an admitted fact passes, in the order of the stages.

    fact           stages
    Receipt        receipts → stock, ledger
    Damage         damages → stock, ledger
    stock facts    stock, ledger (and reservations, where a ship names its line)
    Reservation    ledger, reservations
    any of them    reconciliation, where it is dated before a snapshot that was compared, or may end a drift

After them `availability` reckons every record of a SKU that was touched.
"""

from __future__ import annotations

from atp.domain.facts import Damage, Receipt, Reservation
from atp.domain.intake import Admitted
from atp.domain.reservations import pairs


def stages_of(admitted: Admitted) -> tuple[str, ...]:
    """The stages that an admitted fact is handed to; what documents do to stock they forward themselves."""
    stages = _stages_of(admitted)
    return (*stages, "reconciliation") if admitted.recheck else stages


def _stages_of(admitted: Admitted) -> tuple[str, ...]:
    kind = type(admitted.fact)
    if kind is Reservation:
        return ("ledger", "reservations")
    if kind is Receipt:
        return ("receipts", "ledger")
    if kind is Damage:
        return ("damages", "ledger")
    return ("stock", "ledger", "reservations") if pairs(admitted) else ("stock", "ledger")


def places_of(admitted: Admitted) -> tuple[str, ...]:
    """Where an admitted fact happened: its node, and for a reservation its region.

    A stage that finds that a document lies elsewhere too says so itself.
    """
    fact = admitted.fact
    if type(fact) is Reservation:
        return (fact.region,) if fact.node is None else (fact.region, fact.node)
    assert fact.node is not None
    return (fact.node,)

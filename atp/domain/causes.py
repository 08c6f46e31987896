"""Why a key drifts: rules over what is known of the key, the first that holds; and who has to look at it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from atp.domain.intake import SkuHead
from atp.domain.reservations import DemandBook
from atp.domain.snapshots import RESERVATIONS
from atp.domain.truth import Drift

DAMAGED_STATES = ("damaged", "quarantine")


class Cause(StrEnum):
    """Cause classes of an exception."""

    DOUBLE_RESERVATION = "DOUBLE_RESERVATION"  # a back-fill repeated reservations that OMS no longer has open
    MISSING_RELEASE = "MISSING_RELEASE"  # we still hold a line open that OMS has ended
    MISSING_RESERVATION = "MISSING_RESERVATION"  # OMS holds a line open that we never heard of
    MISSING_UPDATE = "MISSING_UPDATE"  # a later version of a line has not come
    UNMATCHED_SHIPMENT = "UNMATCHED_SHIPMENT"  # OMS shipped units that the WMS has not reported
    DAMAGE_BURST = "DAMAGE_BURST"  # units lie in damaged or quarantine that we hold elsewhere
    LATE_RETURN = "LATE_RETURN"  # the node has units in return_hold that we do not know of
    LATE_RECEIPT = "LATE_RECEIPT"  # goods were received or put away that purchasing has not reported
    LOST_UNITS = "LOST_UNITS"  # the node has fewer units than all facts say
    FOUND_UNITS = "FOUND_UNITS"  # the node has more units than all facts say
    LATE_FACT = "LATE_FACT"  # facts came after the correction window of their day: in the state, in no closed book
    UNKNOWN = "UNKNOWN"


OWNERS = {
    Cause.DOUBLE_RESERVATION: "OMS",
    Cause.MISSING_RELEASE: "OMS",
    Cause.MISSING_RESERVATION: "OMS",
    Cause.MISSING_UPDATE: "OMS",
    Cause.UNMATCHED_SHIPMENT: "WMS",
    Cause.DAMAGE_BURST: "WMS",
    Cause.LATE_RETURN: "stores",
    Cause.LATE_RECEIPT: "purchasing",
    Cause.LOST_UNITS: "inventory management",
    Cause.FOUND_UNITS: "inventory management",
    Cause.UNKNOWN: "inventory management",
}


def owner_of(cause: Cause, source: str) -> str:
    """Who has to look at it: of a late fact, the source that told it late."""
    return source if cause is Cause.LATE_FACT else OWNERS[cause]


class Surroundings(NamedTuple):
    """What the rules look at beside the drift itself."""

    head: SkuHead
    demand: DemandBook
    known_line: bool  # some version of the reservation line came
    correction_ms: int  # how long a back-fill explains things (ms)


def cause_of(drift: Drift, around: Surroundings) -> Cause:
    """The cause class of a drift."""
    return _of_line(drift, around) if drift.truth.kind == RESERVATIONS else _of_stock(drift, around)


def _of_line(drift: Drift, around: Surroundings) -> Cause:
    if not around.known_line:
        return Cause.MISSING_RESERVATION
    if drift.line in drift.truth.lines:
        return Cause.MISSING_UPDATE
    filled_ms = around.head.backfilled_regions.get(drift.truth.region)
    if filled_ms is not None and around.head.stream_ms - filled_ms <= around.correction_ms:
        return Cause.DOUBLE_RESERVATION
    return Cause.MISSING_RELEASE


def _of_stock(drift: Drift, around: Surroundings) -> Cause:
    """Σ over states tells units that moved within the node from units that came or went."""
    delta = {state: drift.ours[state] - drift.theirs[state] for state in drift.ours}
    sellable, total = delta.get("sellable", 0), sum(delta.values())
    if sellable > 0 and any(delta.get(state, 0) < 0 for state in DAMAGED_STATES):
        return Cause.DAMAGE_BURST
    if delta.get("return_hold", 0) < 0:
        return Cause.LATE_RETURN
    if sellable > 0 and _shipped_from(drift.truth.place, around.demand):
        return Cause.UNMATCHED_SHIPMENT
    if delta.get("receiving", 0) or delta.get("qc_hold", 0):
        return Cause.LATE_RECEIPT
    return Cause.LOST_UNITS if total > 0 else Cause.FOUND_UNITS if total < 0 else Cause.UNKNOWN


def _shipped_from(node: str, demand: DemandBook) -> bool:
    return any(place == node for held in demand.unsettled.values() for place, _, _ in held.shipped)

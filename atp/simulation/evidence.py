"""What the product noticed, and whether that was right: detections, false alarms, recoveries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from atp.simulation.troubles import Trouble

EXCEPTION, MODE, BALANCE = "exception", "mode", "balance"


class Sighting(NamedTuple):
    """An exception (it names a SKU and its region), or what names a region: a mode that went down, a source of which
    something is missing."""

    at_ms: int
    region: str
    sku: str = ""
    by: str = EXCEPTION


class RegionCycle(NamedTuple):
    """A region after one cycle: what drifted at the snapshot's as_of, and how many channels sell carefully."""

    as_of_ms: int
    region: str
    drifted_units: int
    careful_channels: int


class Detection(msgspec.Struct, kw_only=True):
    """What became of a trouble. Times in ms; None: never."""

    name: str
    region: str
    seeded_ms: int
    ends_ms: int
    detected_ms: int | None
    recovered_ms: int | None
    cycles_to_detect: int | None
    detected_by: str | None


def explains(trouble: Trouble, seen: Sighting) -> bool:
    """Whether a trouble can be the reason: it is under way in the region, and has touched the record."""
    if seen.region != trouble.region or seen.at_ms < trouble.begins_ms:
        return False
    return not seen.sku or seen.at_ms >= trouble.keys.get((seen.sku, seen.region), seen.at_ms + 1)


def false_alarms(troubles: Sequence[Trouble], sightings: Iterable[Sighting]) -> int:
    """Sightings that no trouble explains."""
    return sum(not any(explains(trouble, seen) for trouble in troubles) for seen in sightings)


def detection(
    trouble: Trouble, sightings: Sequence[Sighting], cycles: Sequence[RegionCycle], cycle_ms: int
) -> Detection:
    """When a trouble was first named, after how many cycles, and when its region was whole again."""
    first = min((seen for seen in sightings if explains(trouble, seen)), default=None, key=lambda seen: seen.at_ms)
    detected_ms = None if first is None else first.at_ms
    recovered_ms = None if detected_ms is None else _recovered_ms(trouble, detected_ms, cycles)
    return Detection(
        name=trouble.name,
        region=trouble.region,
        ends_ms=trouble.ends_ms,
        seeded_ms=trouble.begins_ms,
        detected_ms=detected_ms,
        recovered_ms=recovered_ms,
        cycles_to_detect=None if detected_ms is None else detected_ms // cycle_ms - trouble.begins_ms // cycle_ms,
        detected_by=None if first is None else first.by,
    )


def _recovered_ms(trouble: Trouble, detected_ms: int, cycles: Sequence[RegionCycle]) -> int | None:
    """The first as_of after the trouble's end from which its region neither drifts nor sells carefully."""
    over_ms = max(trouble.ends_ms, detected_ms)
    mine = [cycle for cycle in cycles if cycle.region == trouble.region and cycle.as_of_ms >= over_ms]
    return next((c.as_of_ms for c in mine if not c.drifted_units and not c.careful_channels), None)

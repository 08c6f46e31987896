"""What nobody can sell better than: yardsticks beside the three policies, not policies of the product."""

from __future__ import annotations

from typing import Any

from atp.simulation.adaptive import Adaptive
from atp.simulation.product import Pipeline
from atp.simulation.world import TrueWorld

# Every drift of a snapshot is corrected on its arrival, whatever its size, and nothing is ever withheld: what it
# still oversells is what a cycle of 30 minutes cannot see.
EVERY_CYCLE: dict[str, Any] = {
    "auto_correct_units": 10**6,
    "buffer_units": 0,
    "buffer_percent": 0,
    "drift_z": 0,
    "region_drift_keys_share": 1,
    "region_drift_units_share": 1,
}


class AllKnowing(Pipeline):
    """Sells what truly lies there at this instant; it still cannot know what will break tonight."""

    _true: TrueWorld

    def enter(self, world: TrueWorld) -> None:
        self._true = world

    def sellable(self, sku: str, region: str, channel: str, now_ms: int) -> int:
        return max(0, self._true.deliverable((sku, region)))


class CarefulCorrected(Adaptive):
    """The conservative column all day, but reconciled as ours is: what switching modes adds to corrections."""

    column = "conservative"

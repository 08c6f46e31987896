"""Lags from a fact's recording to its publication: measured by SKU tasks, told as sketches that region tasks merge.

A sketch is a map of buckets to facts; which bucket a lag falls into, and back, is DDSketch's logarithmic mapping. So
quantiles over any number of tasks and hours are within 1 % of the true ones.
"""

from __future__ import annotations

from ddsketch import DDSketch
from ddsketch.mapping import LogarithmicMapping

from atp.domain.partials import LagMeasured

ACCURACY = 0.01
MAPPING = LogarithmicMapping(ACCURACY)
Sketch = dict[int, int]
TOLD_EVERY_TICKS = 5


def bucket(lag_ms: int) -> int:
    """The bucket of a lag; what was published before it was recorded, by the clocks, counts as 1 ms."""
    found: int = MAPPING.key(max(1, lag_ms))
    return found


def merge(into: Sketch, other: Sketch) -> None:
    """Add one sketch to another."""
    for index, facts in other.items():
        into[index] = into.get(index, 0) + facts


def quantiles_ms(sketch: Sketch, wanted: tuple[float, ...]) -> list[int]:
    """The lags below which these shares of facts lie (ms); empty without facts."""
    whole = DDSketch(ACCURACY)
    for index, facts in sketch.items():
        whole.add(MAPPING.value(index), facts)
    return [round(whole.get_quantile_value(share) or 0) for share in wanted] if sketch else []


class Lags:
    """What one task has measured since it last told; a sample, each of its facts standing for `weight`."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], LagMeasured] = {}
        self._ticks = 0

    def add(self, region: str, source: str, lag_ms: int, target_ms: int, weight: int = 1) -> None:
        """One fact is being published."""
        found = self._open.get((region, source))
        if found is None:
            found = self._open[region, source] = LagMeasured(
                region=region, source=source, partition=0, measured_ms=0, facts=0, in_time=0, sketch={}
            )
        found.facts += weight
        found.in_time += weight if lag_ms <= target_ms else 0
        index = bucket(lag_ms)
        found.sketch[index] = found.sketch.get(index, 0) + weight

    def tick(self, partition: int, now_ms: int) -> list[LagMeasured]:
        """A second has passed. Every few of them: what was measured, by region and source; measuring begins anew."""
        self._ticks = (self._ticks + 1) % TOLD_EVERY_TICKS
        if self._ticks:
            return []
        told = [found for _, found in sorted(self._open.items())]
        for found in told:
            found.partition, found.measured_ms = partition, now_ms
        self._open = {}
        return told

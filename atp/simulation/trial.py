"""One seed: the same day under three policies, and what became of each trouble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from atp.domain.times import rfc3339
from atp.simulation.adaptive import Adaptive
from atp.simulation.drill import Day, Sample
from atp.simulation.evidence import Detection, RegionCycle, detection, false_alarms
from atp.simulation.plan import Plan
from atp.simulation.product import AlwaysConfident, AlwaysConservative, Pipeline
from atp.simulation.retail import real_day
from atp.simulation.scoring import Score
from atp.simulation.shoppers import wishes_of
from atp.simulation.troubles import ALL_TROUBLES
from atp.simulation.truth import differences

POLICIES: dict[str, type[Pipeline]] = {
    "always_confident": AlwaysConfident,
    "always_conservative": AlwaysConservative,
    "adaptive": Adaptive,
}


class Trial(msgspec.Struct, kw_only=True):
    """What a seed showed. `moved_records`: records changed by what must change none (repeats, substitutions)."""

    seed: int
    demand_units: int
    policies: dict[str, Score]
    detections: list[Detection]
    false_alarms: int
    mode_changes: int
    exceptions: int
    final_differences: list[str]
    moved_records: int
    samples: dict[str, list[Sample]]
    cycles: list[RegionCycle]

    @property
    def final_equals_truth(self) -> bool:
        """Whether our state was the truth after the last cycle, and still was when the last late message had come."""
        return not self.final_differences

    def document(self) -> dict[str, Any]:
        """The trial as `--json` prints it."""
        return {
            "seed": self.seed,
            "policies": {name: msgspec.to_builtins(score) for name, score in self.policies.items()},
            "troubles": [_document(found) for found in self.detections],
            "false_alarms": self.false_alarms,
            "final_equals_truth": self.final_equals_truth,
        }


def _document(found: Detection) -> dict[str, Any]:
    return {
        "name": found.name,
        "seeded_at": rfc3339(found.seeded_ms),
        "detected_at": None if found.detected_ms is None else rfc3339(found.detected_ms),
        "cycles_to_detect": found.cycles_to_detect,
    }


def run_trial(
    plan: Plan, seed: int, troubles: Sequence[str] = ALL_TROUBLES, real: bool = False, sampled: bool = False
) -> Trial:
    """Let the same wishes and troubles meet each policy."""
    plan, wishes = real_day(plan, seed) if real else (plan, wishes_of(plan, seed))
    days = {name: Day(plan, seed, wishes, product, troubles, sampled) for name, product in POLICIES.items()}
    scores = {name: day.run() for name, day in days.items()}
    ours = days["adaptive"]
    product = ours.product
    assert isinstance(product, Adaptive)
    return Trial(
        seed=seed,
        demand_units=sum(wish.units for wish in wishes),
        policies=scores,
        final_differences=_settle(ours),
        detections=[detection(t, product.sightings, product.cycles, plan.cycle_ms) for t in ours.troubles],
        false_alarms=false_alarms(ours.troubles, product.sightings),
        mode_changes=len(product.mode_changes),
        exceptions=product.exceptions_opened,
        moved_records=product.moved_records,
        samples={name: day.samples for name, day in days.items()},
        cycles=product.cycles,
    )


def _settle(day: Day) -> list[str]:
    """What is not as it is, after the last cycle and after the last message."""
    day.settle()
    found = differences(day.world, day.product, day.agenda.now_ms)
    day.deliver_the_rest()
    return found + differences(day.world, day.product, day.agenda.now_ms)

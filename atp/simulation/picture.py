"""The day as a picture: units for sale as believed against the truth, mode and drift, region by region."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atp.domain.times import HOUR_MS
from atp.simulation.plan import Plan
from atp.simulation.trial import Trial

_LINES = {"always_confident": ("tab:red", "always confident"), "adaptive": ("tab:blue", "adaptive")}
FORMATS = (".png", ".svg")


def draw(trial: Trial, plan: Plan, path: Path) -> None:
    """Write the picture; the ending of the name decides whether as PNG or SVG."""
    regions = sorted({sample.region for sample in trial.samples["adaptive"]})
    # equal pictures for equal seeds
    with mpl.rc_context({"svg.hashsalt": "atp", "font.size": 8}):
        figure = Figure(figsize=(4.6 * len(regions), 7), layout="constrained")
        grid = figure.subplots(3, len(regions), sharex=True, squeeze=False, height_ratios=[4, 1, 2])
        for column, region in enumerate(regions):
            top, middle, bottom = grid[:, column]
            _stock(top, trial, plan, region)
            _mode(middle, trial, plan, region)
            _drift(bottom, trial, plan, region)
        figure.suptitle(f"Black Friday, seed {trial.seed}")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def _hour(at_ms: int, plan: Plan) -> float:
    return (at_ms - plan.start_ms) / HOUR_MS


def _stock(axes: Axes, trial: Trial, plan: Plan, region: str) -> None:
    """The gap between a dashed line and the full one of its colour is what was believed and not so."""
    for policy, (colour, label) in _LINES.items():
        samples = [sample for sample in trial.samples[policy] if sample.region == region]
        hours = [_hour(sample.at_ms, plan) for sample in samples]
        axes.plot(hours, [sample.believed for sample in samples], "--", color=colour, label=f"{label}: ATP")
        axes.plot(hours, [sample.truth for sample in samples], color=colour, label=f"{label}: truth", alpha=0.6)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(title=region, ylabel="units for sale (stock − demand)")
    _shade(axes, trial, plan, region)
    axes.legend(loc="upper right")


def _mode(axes: Axes, trial: Trial, plan: Plan, region: str) -> None:
    cycles = [cycle for cycle in trial.cycles if cycle.region == region]
    hours = [_hour(cycle.as_of_ms, plan) for cycle in cycles]
    axes.fill_between(hours, [cycle.careful_channels for cycle in cycles], step="post", color="tab:orange")
    axes.set(ylabel="channels\nconservative", ylim=(0, len(plan.demand.channels)))


def _drift(axes: Axes, trial: Trial, plan: Plan, region: str) -> None:
    cycles = [cycle for cycle in trial.cycles if cycle.region == region]
    hours = [_hour(cycle.as_of_ms, plan) for cycle in cycles]
    axes.bar(hours, [cycle.drifted_units for cycle in cycles], width=0.4, color="tab:purple")
    axes.set(xlabel="hour of the day (UTC)", ylabel="drifted units\nper cycle", xlim=(0, 25))


def _shade(axes: Axes, trial: Trial, plan: Plan, region: str) -> None:
    for found in trial.detections:
        if found.region == region:
            begins = _hour(found.seeded_ms, plan)
            axes.axvspan(begins, _hour(found.ends_ms, plan), color="grey", alpha=0.15)
            axes.text(begins, axes.get_ylim()[1] * 0.6, found.name, rotation=90, va="top")

"""The drill over many seeds: the three policies, the trade-off between over- and underselling, and its floors.

    python -m bench.drill                 20 seeds; writes bench/drill.json, docs/drill.svg, docs/drill-day.svg and
                                          the tables in docs/drill.md
    python -m bench.drill --seeds 4 --curve-seeds 2 --jobs 1 --dry-run

Every variant of the curve meets the same days, the first `--curve-seeds` of them. One point is the committed policy;
the others change some of its fields.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from matplotlib.figure import Figure

from atp.domain.times import MINUTE_MS
from atp.simulation.adaptive import Adaptive
from atp.simulation.drill import Day
from atp.simulation.floors import EVERY_CYCLE, AllKnowing, CarefulCorrected
from atp.simulation.picture import draw
from atp.simulation.plan import Plan, load_plan
from atp.simulation.product import Pipeline
from atp.simulation.scoring import Score
from atp.simulation.shoppers import wishes_of
from atp.simulation.trial import run_trial
from atp.simulation.troubles import ALL_TROUBLES

ROOT = Path(__file__).resolve().parents[1]
RESULT, PAGE = ROOT / "bench/drill.json", ROOT / "docs/drill.md"
CURVE, DAY = ROOT / "docs/drill.svg", ROOT / "docs/drill-day.svg"


class Variant(NamedTuple):
    """A policy on the curve. `fields`: what it has otherwise than the committed policy."""

    name: str
    group: str
    fields: dict[str, Any]
    product: type[Pipeline] = Adaptive


VARIANTS = (
    *(Variant(f"buffer of {units} units", "buffers", {"buffer_units": units}) for units in (0, 1, 6, 12)),
    *(Variant(f"restored after {count}", "hysteresis", {"clean_cycles_to_restore": count}) for count in (1, 6)),
    Variant(
        "region at 10 % of keys", "thresholds", {"region_drift_keys_share": 0.1, "region_drift_units_share": 0.1}
    ),
    Variant("region never", "thresholds", {"region_drift_keys_share": 1, "region_drift_units_share": 1}),
    *(Variant(f"by rule up to {units}", "corrections", {"auto_correct_units": units}) for units in (0, 1000)),
    Variant("floor of the cycle", "floors", EVERY_CYCLE),
    Variant("all-knowing", "floors", {}, AllKnowing),
    Variant("conservative, corrected", "floors", {}, CarefulCorrected),
)


def main() -> None:
    """Measure, write, and say whether the goals are reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--curve-seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    chosen = parser.parse_args()
    result = measure(chosen.seeds, min(chosen.seeds, chosen.curve_seeds), chosen.jobs)
    sys.stdout.write(tables(result))
    if not chosen.dry_run:
        write(result)


def measure(seeds: int, curve_seeds: int, jobs: int) -> dict[str, Any]:
    """All trials and variants, from seed 1 on."""
    with ProcessPoolExecutor(jobs) as pool:
        trials = list(pool.map(trial_of, range(1, seeds + 1)))
        curve = list(pool.map(total_of, [(at, curve_seeds) for at in range(len(VARIANTS))]))
    return {"seeds": seeds, "curve_seeds": curve_seeds, "trials": trials, "curve": curve}


def trial_of(seed: int) -> dict[str, Any]:
    """One seed of the three policies."""
    trial = run_trial(load_plan(), seed)
    waits = [
        (f.name, _minutes(f.seeded_ms, f.detected_ms), _minutes(f.ends_ms, f.recovered_ms)) for f in trial.detections
    ]
    return {
        **trial.document(), "demand_units": trial.demand_units, "moved_records": trial.moved_records,
        "exceptions": trial.exceptions, "mode_changes": trial.mode_changes, "minutes": waits,
    }  # fmt: skip


def _minutes(from_ms: int, until_ms: int | None) -> int | None:
    return None if until_ms is None else (until_ms - from_ms) // MINUTE_MS


def total_of(asked: tuple[int, int]) -> dict[str, Any]:
    """One variant over its seeds."""
    (at, seeds), plan = asked, load_plan()
    name, group, fields, product = VARIANTS[at]
    total = Score()
    for seed in range(1, seeds + 1):
        total = total.add(Day(changed(plan, fields), seed, wishes_of(plan, seed), product, ALL_TROUBLES).run())
    return {"name": name, "group": group, **msgspec.to_builtins(total)}


def changed(plan: Plan, fields: dict[str, Any]) -> Plan:
    """The plan with another default policy."""
    first, *others = plan.policy
    return msgspec.structs.replace(plan, policy=[{**first, **fields}, *others])


def policies(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The three policies summed over some seeds."""
    found = []
    for name in trials[0]["policies"]:
        total = Score()
        for trial in trials:
            total = total.add(msgspec.convert(trial["policies"][name], Score))
        found.append({"name": name.replace("_", " "), "group": "policies", **msgspec.to_builtins(total)})
    return found


def curve_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Every point of the curve, the three policies on the same days first."""
    return policies(result["trials"][: result["curve_seeds"]]) + result["curve"]


def tables(result: dict[str, Any]) -> str:
    """What docs/drill.md shows."""
    trials, few = result["trials"], result["curve_seeds"]
    return "\n".join([
        f"{len(trials)} seeds, all five troubles at once:", "", *_scores(trials, policies(trials)), "",
        *_detections(trials), "", f"The curve, seeds 1 to {few}:", "",
        *_scores(trials[:few], curve_of(result)), "",
    ])  # fmt: skip


def _scores(trials: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Iterator[str]:
    """A row per policy: absolute, and against the two plain policies."""
    demand = sum(trial["demand_units"] for trial in trials)
    over, under = rows[0]["oversold_units"], rows[1]["undersold_units"]
    yield f"| of {demand} units wanted | oversold | of demand | of confident | undersold | of conservative | sold |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        yield (
            f"| {row['name']} | {row['oversold_units']} | {row['oversold_units'] / demand:.3%} "
            f"| {row['oversold_units'] / max(1, over):.1%} | {row['undersold_units']} "
            f"| {row['undersold_units'] / max(1, under):.1%} | {row['sold_units']} |"
        )


def _detections(trials: list[dict[str, Any]]) -> Iterator[str]:
    yield "| trouble | detected | minutes to detect: median, most | minutes to recover from its end: median, most |"
    yield "| --- | ---: | ---: | ---: |"
    for name in ALL_TROUBLES:
        waits = [wait for trial in trials for wait in trial["minutes"] if wait[0] == name]
        found = sorted(wait[1] for wait in waits if wait[1] is not None)
        whole = sorted(wait[2] for wait in waits if wait[2] is not None)
        yield f"| {name} | {len(found)} of {len(waits)} | {_spread(found)} | {_spread(whole)} |"
    yield ""
    yield (
        f"False alarms: {sum(trial['false_alarms'] for trial in trials)} "
        f"(of {sum(trial['exceptions'] for trial in trials)} exceptions and "
        f"{sum(trial['mode_changes'] for trial in trials)} mode changes). Final state equals the truth: "
        f"{sum(trial['final_equals_truth'] for trial in trials)} of {len(trials)} seeds. Records changed by a "
        f"repeated version or a substitution rule: {sum(trial['moved_records'] for trial in trials)}."
    )


def _spread(minutes: list[int]) -> str:
    return f"{minutes[len(minutes) // 2]}, {minutes[-1]}" if minutes else "–"


def write(result: dict[str, Any]) -> None:
    """Commit the result: figures, tables, pictures."""
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    head, _, rest = PAGE.read_text().partition("<!-- measured: python -m bench.drill -->\n")
    _, _, foot = rest.partition("<!-- end: measured -->")
    PAGE.write_text(f"{head}<!-- measured: python -m bench.drill -->\n{tables(result)}<!-- end: measured -->{foot}")
    _draw_curve(curve_of(result))
    plan = load_plan()
    draw(run_trial(plan, 1, sampled=True), plan, DAY)


def _draw_curve(rows: list[dict[str, Any]]) -> None:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for group in dict.fromkeys(row["group"] for row in rows):
        mine = [row for row in rows if row["group"] == group]
        over, under = [row["oversold_units"] for row in mine], [row["undersold_units"] for row in mine]
        axes.plot(under, over, "o" if group in ("policies", "floors") else "o-", label=group, alpha=0.8)
        for row in mine:
            axes.annotate(row["name"], (row["undersold_units"], row["oversold_units"]), fontsize=7)
    axes.set(xlabel="undersold units", ylabel="oversold units", xscale="symlog", yscale="symlog")
    axes.set(title="Overselling against underselling, sums over all seeds")
    axes.legend()
    figure.savefig(CURVE, metadata={"Date": None})


if __name__ == "__main__":
    main()

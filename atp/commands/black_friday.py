"""`atp drill black-friday`: a simulated day with known truth under three policies, scored.

Exit code 1 when our state was not the truth at the end, or a record changed that may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from atp.commands.errors import CommandError, WrongUseError
from atp.domain.times import MINUTE_MS, rfc3339
from atp.simulation.evidence import Detection
from atp.simulation.plan import load_plan
from atp.simulation.scoring import Score
from atp.simulation.trial import POLICIES, Trial, run_trial
from atp.simulation.troubles import ALL_TROUBLES

PICTURES = (".png", ".svg")


class Options(msgspec.Struct, frozen=True):
    """What was asked for. `picture`: where it goes; None: by the seed, and none with `as_json` or several seeds."""

    seed: int
    seeds: int
    trouble: str | None
    clean: bool
    real: bool
    picture: Path | None
    as_json: bool


def run(options: Options, out: IO[str]) -> None:
    """Run the seeds, print what they showed, draw the first."""
    troubles = _troubles(options)
    picture = _picture(options)
    plan = load_plan()
    trials = []
    for seed in range(options.seed, options.seed + options.seeds):
        trial = run_trial(plan, seed, troubles, options.real, sampled=picture is not None)
        trials.append(trial)
        _say(trial, options.as_json, out)
        if picture is not None:
            from atp.simulation.picture import draw

            draw(trial, plan, picture)
            if not options.as_json:
                out.write(f"picture: {picture}\n")
            picture = None
    if options.seeds > 1 and not options.as_json:
        out.write(f"{options.seeds} seeds together\n")
        _table(trials, out)
    _check(trials)


def _troubles(options: Options) -> Sequence[str]:
    if options.clean and options.trouble is not None:
        raise WrongUseError(f"--clean and --trouble {options.trouble}: only one of the two is allowed")
    if options.trouble is not None and options.trouble not in ALL_TROUBLES:
        raise WrongUseError(f"--trouble {options.trouble}: allowed are {', '.join(ALL_TROUBLES)}")
    return () if options.clean else ALL_TROUBLES if options.trouble is None else (options.trouble,)


def _picture(options: Options) -> Path | None:
    if options.picture is None:
        wanted = not options.as_json and options.seeds == 1
        return Path(f"black-friday-{options.seed}.png") if wanted else None
    if options.picture.suffix not in PICTURES:
        raise WrongUseError(f"--picture {options.picture}: a name that ends in {' or '.join(PICTURES)} is allowed")
    if not options.picture.parent.is_dir():
        raise WrongUseError(f"--picture {options.picture}: a folder that exists is allowed")
    return options.picture


def _say(trial: Trial, as_json: bool, out: IO[str]) -> None:
    if as_json:
        out.write(msgspec.json.encode(trial.document()).decode() + "\n")
        return
    out.write(f"seed {trial.seed}: {trial.demand_units} units wanted\n")
    _table([trial], out)
    for found in trial.detections:
        out.write(f"  {_fate(found)}\n")
    out.write(
        f"  {trial.exceptions} exceptions, {trial.mode_changes} mode changes, {trial.false_alarms} false alarms; "
        f"final state {'equals' if trial.final_equals_truth else 'DIFFERS FROM'} the truth\n"
    )


def _table(trials: Sequence[Trial], out: IO[str]) -> None:
    demand = sum(trial.demand_units for trial in trials)
    out.write(f"  {'policy':<20} {'oversold':>9} {'of demand':>10} {'undersold':>10} {'sold':>9}\n")
    for name in POLICIES:
        total = Score()
        for trial in trials:
            total = total.add(trial.policies[name])
        share = f"{100 * total.oversold_units / demand:.3f} %"
        out.write(
            f"  {name:<20} {total.oversold_units:>9} {share:>10} {total.undersold_units:>10} {total.sold_units:>9}\n"
        )


def _fate(found: Detection) -> str:
    began = f"{found.name}{' in ' + found.region if found.region else ''}, from {rfc3339(found.seeded_ms)[11:16]}"
    if found.detected_ms is None:
        return f"{began}: not detected" if found.region else f"{began}: changes no record"
    minutes = (found.detected_ms - found.seeded_ms) / MINUTE_MS
    recovered = "not recovered" if found.recovered_ms is None else f"whole at {rfc3339(found.recovered_ms)[11:16]}"
    seen = f"by {found.detected_by} after {minutes:.0f} min (cycle {found.cycles_to_detect})"
    return f"{began}: detected {seen}, {recovered}"


def _check(trials: Sequence[Trial]) -> None:
    for trial in trials:
        if trial.final_differences:
            raise CommandError(f"seed {trial.seed}: our state is not the truth: {trial.final_differences[0]}")
        if trial.moved_records:
            raise CommandError(f"seed {trial.seed}: {trial.moved_records} records changed by a repeat or a rule")

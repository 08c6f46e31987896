"""The drill: a quiet day stays quiet, every trouble is noticed, and the program says so as documented."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from atp.domain.snapshots import OMS_SNAPSHOTS_TOPIC, WMS_SNAPSHOTS_TOPIC, SnapshotClosed, decode_snapshot
from atp.simulation.evidence import RegionCycle, Sighting, detection, false_alarms
from atp.simulation.plan import load_plan
from atp.simulation.snapshots import snapshot
from atp.simulation.trial import Trial, run_trial
from atp.simulation.troubles import ALL_TROUBLES
from tests.cli import atp, is_one_line
from tests.unit.test_drill_world import day_of, small_plan

UNNOTICED = "substitution-change"


def trial_of(seed: int, *troubles: str) -> Trial:
    """A small day of all three policies."""
    return run_trial(small_plan(), seed, troubles)


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_day_stays_quiet(seed: int) -> None:
    """No trouble: no exception, no mode change, we sell what a plain pipeline sells, and end with the truth."""
    trial = trial_of(seed)
    assert (trial.exceptions, trial.mode_changes, trial.false_alarms) == (0, 0, 0)
    assert trial.policies["adaptive"] == trial.policies["always_confident"]
    assert trial.final_differences == []
    assert trial.moved_records == 0


@pytest.mark.parametrize("name", [name for name in ALL_TROUBLES if name != UNNOTICED])
def test_each_trouble_alone_is_noticed_and_mended(name: str) -> None:
    """An exception or a mode names it, nothing else is named, and the state ends as the truth."""
    trial = trial_of(2, name)
    [found] = trial.detections
    assert found.name == name
    assert found.detected_ms is not None
    assert found.detected_ms > found.seeded_ms
    assert found.cycles_to_detect is not None
    assert trial.exceptions > 0
    assert trial.false_alarms == 0
    assert trial.final_differences == []
    assert trial.moved_records == 0


def test_changed_substitutions_are_noticed_by_nobody() -> None:
    """Shoppers wander; no exception, no mode and no record comes of it."""
    trial = trial_of(2, UNNOTICED)
    [found] = trial.detections
    assert (found.detected_ms, found.cycles_to_detect) == (None, None)
    assert (trial.exceptions, trial.mode_changes, trial.moved_records) == (0, 0, 0)
    assert trial.final_differences == []


def test_all_at_once_ends_with_the_truth_and_oversells_less() -> None:
    """The five troubles of one day: ours sells less that is not there than a plain pipeline."""
    trials = [trial_of(seed, *ALL_TROUBLES) for seed in (1, 2, 3)]
    ours, plain = (
        sum(trial.policies[name].oversold_units for trial in trials) for name in ("adaptive", "always_confident")
    )
    assert ours < plain
    assert not any(trial.final_differences or trial.moved_records or trial.false_alarms for trial in trials)


def test_a_seed_is_one_trial() -> None:
    """The same seed says the same to the last word."""
    assert trial_of(4, *ALL_TROUBLES).document() == trial_of(4, *ALL_TROUBLES).document()


def test_snapshots_are_valid_on_the_wire_and_closed() -> None:
    """Rows decode, and the markers of a snapshot have their count."""
    day = day_of(1)
    at_ms = day.agenda.now_ms
    counts: dict[tuple[str, str], int] = {}
    for document in snapshot(day.world, at_ms):
        topic = OMS_SNAPSHOTS_TOPIC if document["source"] == "oms" else WMS_SNAPSHOTS_TOPIC
        found = decode_snapshot(topic, msgspec.json.encode(document), at_ms)
        assert hasattr(found, "snapshot_id"), found
        by = -found.rows if isinstance(found, SnapshotClosed) else 1
        counts[topic, found.snapshot_id] = counts.get((topic, found.snapshot_id), 0) + by
    assert counts
    assert not any(counts.values())


def test_the_committed_world_is_as_hard_as_it_says() -> None:
    """Delays from 20 minutes to 6 hours, returns days late, snapshots every half hour, ten times the load."""
    plan = load_plan()
    troubles = plan.troubles
    assert troubles.late_minutes == (20, 360)
    loss, catch_up = troubles.region_backfill.lasts_minutes, troubles.region_backfill.catch_up_minutes
    assert catch_up[0] >= 20
    assert loss[1] + catch_up[1] <= 360
    assert troubles.late_returns.late_hours[0] >= 24
    assert (plan.world.cycle_minutes, plan.demand.load) == (30, 10)


BEGAN, CYCLE = 1_000_000, 100_000


def trouble(**keys: int) -> Any:
    """A trouble in the north that touched some SKUs at some time."""
    touched = {(sku, "north"): at_ms for sku, at_ms in keys.items()}
    return SimpleNamespace(name="t", region="north", begins_ms=BEGAN, ends_ms=BEGAN + 50, keys=touched)


def test_only_what_a_trouble_can_explain_detects_it() -> None:
    """Its region from its begin on, its records from when it touched them; all else is a false alarm."""
    explained = [Sighting(BEGAN + 9, "north"), Sighting(BEGAN + 7, "north", "A")]
    alarms = [
        Sighting(BEGAN - 1, "north"),  # before it began
        Sighting(BEGAN + 3, "south"),  # elsewhere
        Sighting(BEGAN + 3, "north", "A"),  # before it touched the record
        Sighting(BEGAN + 9, "north", "B"),  # a record that it never touched
    ]
    assert false_alarms([trouble(A=BEGAN + 5)], explained + alarms) == len(alarms)
    found = detection(trouble(A=BEGAN + 5), explained + alarms, [], CYCLE)
    assert found.detected_ms == BEGAN + 7


def test_cycles_and_recovery_are_counted_from_the_trouble() -> None:
    """The first cycle after its begin is 1; recovered is the first after its end that is clean and confident."""
    cycles = [
        RegionCycle(BEGAN + 150, "north", 0, 0),
        RegionCycle(BEGAN + 100_150, "north", 4, 0),
        RegionCycle(BEGAN + 200_150, "north", 0, 4),
        RegionCycle(BEGAN + 300_150, "north", 0, 0),
    ]
    found = detection(trouble(), [Sighting(BEGAN + 100_150, "north")], cycles, CYCLE)
    assert found.cycles_to_detect == 1
    assert found.recovered_ms == BEGAN + 300_150


def test_json_is_as_documented() -> None:
    """One object with exactly the documented fields; the substitutions are not detected, the rest is."""
    run = atp("drill", "black-friday", "--seed", "3", "--real", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert list(found) == ["seed", "policies", "troubles", "false_alarms", "final_equals_truth"]
    assert list(found["policies"]) == ["always_confident", "always_conservative", "adaptive"]
    for scores in found["policies"].values():
        assert list(scores) == ["oversold_units", "undersold_units", "sold_units"]
        assert all(isinstance(units, int) for units in scores.values())
    assert [each["name"] for each in found["troubles"]] == list(ALL_TROUBLES)
    for each in found["troubles"]:
        assert list(each) == ["name", "seeded_at", "detected_at", "cycles_to_detect"]
        assert (each["detected_at"] is None) == (each["name"] == UNNOTICED)
    assert (found["seed"], found["false_alarms"], found["final_equals_truth"]) == (3, 0, True)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    """The day for people, and its picture where it was asked for."""
    path = tmp_path / "day.svg"
    run = atp("drill", "black-friday", "--real", "--trouble", "late-returns", "--picture", str(path))
    assert run.returncode == 0, run.stderr
    assert f"picture: {path}" in run.stdout
    assert "adaptive" in run.stdout
    text = path.read_text()
    assert text.startswith("<?xml")
    assert "late-returns" in text


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--trouble", "rain"], "late-returns"),
        (["--clean", "--trouble", "late-returns"], "only one"),
        (["--seed", "-1"], "--seed"),
        (["--seeds", "0"], "--seeds"),
        (["--picture", "day.pdf"], ".svg"),
        (["--picture", "nowhere/day.svg"], "folder"),
        (["--snow"], "--snow"),
    ],
)
def test_wrong_use_is_one_clear_line(flags: list[str], word: str) -> None:
    """It names the flag and what is allowed, and ends with 2."""
    run = atp("drill", "black-friday", *flags)
    assert run.returncode == 2
    assert is_one_line(run)
    assert word in run.stderr

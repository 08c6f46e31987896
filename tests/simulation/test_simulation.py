"""Thousands of seeds, each a run with its own faults; every invariant must hold in every one.

A seed that fails is named with the command that runs it again: `python -m tests.simulation SEED --trace`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.campaign import Result, broken, campaign, make
from tests.simulation.faults import KINDS

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
# Every step of the protocol; a tick marks the moment after its answer, before the next step.
STEPS = ("init", "fetch offsets", "bounds", "identity", "open reader", "offsets", "commit", "send changelog")
LOCAL_STEPS = ("attach", "begin", "read", "read ✓", "fetch", "commit ✓", "offsets ✓", "disk open")
STOPPING = ("crash", "zombie", "stall", "orderly stop")


@pytest.fixture(scope="module")
def result() -> Result:
    """What all seeds together came to."""
    return campaign(0, SEEDS)


def test_every_invariant_holds_in_every_seed(result: Result) -> None:
    """State, dead letters, disks, offsets, records, lag, memory and time are right after whatever happened."""
    assert result.seeds == SEEDS
    told = "\n".join(f"{what}\n    python -m tests.simulation {seed}" for seed, what in sorted(result.failed.items()))
    assert not result.failed, told


@pytest.mark.skipif(SEEDS < 2000, reason="fewer seeds need not hit everything")
def test_every_kind_of_fault_happens(result: Result) -> None:
    """No kind of fault is only on paper."""
    hit = Counter[str]()
    for (kind, _), times in result.hits.items():
        hit[kind] += times
    assert {kind: hit[kind] for kind in KINDS if hit[kind] < 10} == {}


@pytest.mark.skipif(SEEDS < 2000, reason="fewer seeds need not hit everything")
def test_faults_hit_every_step_of_the_protocol(result: Result) -> None:
    """Each request was lost, late, refused and unanswered; a worker was stopped before and after each step."""
    lost = ("request lost", "answer lost", "request late", "answer slow", "refused", "failed after")
    missed = [(kind, step) for kind in lost for step in STEPS if not result.hits[kind, step]]
    stopped = {step for (kind, step), times in result.hits.items() if kind in STOPPING and times}
    assert missed == []
    assert set(STEPS) | set(LOCAL_STEPS) <= stopped


@pytest.mark.parametrize("seed", [1, 7, 40])
def test_a_seed_is_one_run(seed: int) -> None:
    """The same seed gives the same trace, in another interpreter with other hashes too."""
    simulation = make(seed)
    assert broken(simulation) == ""
    mine = "\n".join(map(str, simulation.trace))
    program = (
        "import hashlib; from tests.simulation.campaign import broken, make\n"
        f"s = make({seed}); broken(s); print(hashlib.sha256(chr(10).join(map(str, s.trace)).encode()).hexdigest())"
    )
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert found.stdout.strip() == hashlib.sha256(mine.encode()).hexdigest()


def test_a_seed_is_replayed_with_one_command() -> None:
    """It prints the schedule of faults, or every step, and the verdict."""
    for options, least in (([], 1), (["--trace"], 50)):
        command = [sys.executable, "-m", "tests.simulation", "3", *options]
        found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        lines = found.stdout.splitlines()
        assert lines[-1] == "seed 3: every invariant held"
        assert len(lines) > least

"""Put each bug back into a copy of the source, and see who notices."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.mutations.catalogue import MUTATIONS, SEEDS, Mutation

ROOT = Path(__file__).parents[2]
COPIED = ("atp", "tests/lane", "tests/simulation", "tests/mutations", "tests/unit")
FILES = ("pyproject.toml", "tests/__init__.py", "tests/cli.py", "tests/conftest.py")
MOST_SEEDS = 600
TIMEOUT_S = 150


class Verdict(NamedTuple):
    """What became of a mutation."""

    mutation: Mutation
    caught_by: str  # empty: it survived
    spent_s: float


def copy_source(target: Path) -> None:
    """What the hunters need, without data and caches."""
    ignored = shutil.ignore_patterns("__pycache__", "*.zst", "*.csv", "*.jar")
    for name in COPIED:
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, target / name)


def mutate(target: Path, mutation: Mutation) -> None:
    """Apply the edits; ValueError when the text to change is not there exactly once."""
    for edit in mutation.edits:
        path = target / edit.path
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise ValueError(f"{mutation.bug}: {edit.path} has {text.count(edit.old)} times: {edit.old!r}")
        path.write_text(text.replace(edit.old, edit.new))


def command(mutation: Mutation) -> list[str]:
    """Who looks for it."""
    if mutation.hunter == SEEDS:
        return [sys.executable, "-m", "tests.mutations.hunt", str(MOST_SEEDS)]
    options = ["-q", "-x", "-p", "no:cacheprovider", "--no-header", "-m", "not kafka and not slow"]
    return [sys.executable, "-m", "pytest", *options, mutation.hunter]


def controls(wanted: list[Mutation]) -> list[Mutation]:
    """No change at all, for each hunter: what cries without a bug catches nothing."""
    return [Mutation(f"nothing, {hunter}", [], hunter) for hunter in sorted({mutation.hunter for mutation in wanted})]


def check(mutation: Mutation) -> Verdict:
    """Let the hunter loose on a mutated copy."""
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        target = Path(folder)
        copy_source(target)
        mutate(target, mutation)
        caught_by = hunted(mutation, target)
    return Verdict(mutation, caught_by, time.monotonic() - started_s)


def hunted(mutation: Mutation, target: Path) -> str:
    """The seed or test that noticed, or nothing."""
    environment = {**os.environ, "PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    try:
        found = subprocess.run(
            command(mutation), cwd=target, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT_S} s"
    if found.returncode == 0:
        return ""
    failed = re.search(r"^(seed \d+: .*|FAILED \S+)", found.stdout, re.MULTILINE)
    if failed is None:  # an import that fails, say: that proves nothing
        raise ValueError(f"{mutation.bug}: the hunter itself failed:\n{found.stdout[-2000:]}{found.stderr[-2000:]}")
    return failed.group(0)


def main() -> int:
    """0: every bug was noticed; 1: one survived, or no longer applies."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="Put known bugs back.")
    parser.add_argument("--only", default="", help="those whose name contains this")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("WORKERS", "2")))
    options = parser.parse_args()
    wanted = [mutation for mutation in MUTATIONS if options.only in mutation.bug]
    survivors = 0
    for false_alarm in filter(None, (check(control).caught_by for control in controls(wanted))):
        print(f"without any mutation: {false_alarm}")
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        for verdict in pool.map(check, wanted):
            survivors += not verdict.caught_by
            print(
                f"{verdict.mutation.bug}\n    {verdict.caught_by or 'SURVIVED'}  ({verdict.spent_s:.1f} s)",
                flush=True,
            )
    print(f"{len(wanted)} mutations, {len(wanted) - survivors} caught")
    return int(survivors > 0 or not wanted)


if __name__ == "__main__":
    sys.exit(main())

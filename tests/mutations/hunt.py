"""Run seeds of the toy domain until one fails: `python -m tests.mutations.hunt SEEDS`; exit 1 when one did."""

from __future__ import annotations

import sys
from pathlib import Path

import atp
from tests.simulation.campaign import broken
from tests.simulation.run import Simulation


def main() -> int:
    """Name the first seed that fails."""
    assert Path(atp.__file__).is_relative_to(Path.cwd()), "the mutated copy is not what was imported"
    for seed in range(1, 1 + int(sys.argv[1])):
        found = broken(Simulation(seed))
        if found:
            print(f"seed {seed}: {found.strip().splitlines()[-1][:160]}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Run one seed again and print its schedule, or run many."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.campaign import broken, campaign, make, table
from tests.simulation.run import replay_lines


def main() -> int:
    """0: every invariant held in every seed; 1: one did not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Run one seed again and print its schedule, or run many."
    )
    parser.add_argument("seed", type=int, nargs="?", default=0, help="the seed; of many, the first (default 0)")
    parser.add_argument("--trace", action="store_true", help="every step of the protocol, not only the faults")
    parser.add_argument("--seeds", type=int, help="run so many seeds")
    parser.add_argument("--minutes", type=float, help="run seeds for so long, or until one fails")
    parser.add_argument("--table", action="store_true", help="of many: print how often each fault hit each step")
    options = parser.parse_args()
    if options.seeds is None and options.minutes is None:
        return one(options.seed, options.trace)
    return many(options)


def one(seed: int, trace: bool) -> int:
    """One seed, told in full."""
    simulation = make(seed)
    wrong = broken(simulation)
    print("\n".join(replay_lines(simulation.trace, faults_only=not trace)))
    print(f"seed {seed}: {wrong or 'every invariant held'}")
    return int(bool(wrong))


def many(options: argparse.Namespace) -> int:
    """Many seeds, summed up."""
    result = campaign(options.seed, options.seeds, options.minutes)
    for seed, wrong in sorted(result.failed.items()):
        print(f"seed {seed}: {wrong}\n  again: python -m tests.simulation {seed}")
    if options.table:
        print(table(result.hits))
    each_ms = result.spent_s * 1000 / result.seeds
    print(f"{result.seeds} seeds, {len(result.failed)} failed, {each_ms:.1f} ms of a core each")
    return int(bool(result.failed))


if __name__ == "__main__":
    sys.exit(main())

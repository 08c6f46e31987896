"""The long form: `python -m tests.faults --kills 200 --facts 1000000 --minutes 60` writes docs/soak.md.

Every fault of every row in turn, kills at protocol steps between them, each with I1 to I7 after it, until so many
workers were killed and so many facts folded, or the time is over, or somebody ends it (Ctrl-C, SIGTERM). The report
is written anew after every fault, so that it tells what has run, however the run ends.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from atp.brokers.process import ended_by_signal
from tests.faults import faults
from tests.faults.ground import ROOT, Ground
from tests.faults.report import Report

SKUS, DAY_FACTS, RATE = 2_000, 4_000_000, 700.0


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--kills", type=int, default=200, help="kill -9 of a worker, at least")
    parser.add_argument("--facts", type=int, default=1_000_000, help="facts on the topics, at least")
    parser.add_argument("--minutes", type=float, default=60, help="no fault begins after this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=RATE, help="facts a second")
    parser.add_argument("--first", default="", help="the fault with which the round begins")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "soak.md")
    return parser.parse_args()


class Soak:
    """Grounds one after the other: each lives until an invariant breaks, a good one to the end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.until_s = time.monotonic() + options.minutes * 60
        self.report = Report(options)
        self.plan = self._planned()

    def _planned(self) -> Iterator[faults.Fault]:
        """Every fault, kills before each; when all had their turn, again."""
        names = [fault.__name__ for fault in faults.ALL]
        first = names.index(self.options.first) if self.options.first else 0
        for fault in itertools.islice(itertools.cycle(faults.ALL), first, None):
            if fault is not faults.killed_at_every_step:
                yield faults.killed_at_every_step
                yield fault

    @property
    def over(self) -> bool:
        """Nothing more is to begin."""
        return self.report.enough or time.monotonic() > self.until_s

    def run(self) -> bool:
        """Whether every invariant held."""
        seed = self.options.seed
        while not self.over:
            folder = Path(tempfile.mkdtemp(prefix="atp-faults-"))
            with Ground(folder, seed, SKUS, DAY_FACTS, self.options.rate) as ground:
                self.report.on(ground, seed)
                self._through(ground)
            seed += 1
        return not self.report.broken

    def _through(self, ground: Ground) -> None:
        """Fault after fault on one ground, the ones that end it last."""
        held = self._once(ground, faults.FIRST)
        while held and not self.over:
            fault = next(self.plan)
            if self.options.only in fault.__name__:
                held = self._once(ground, fault)
        for fault in faults.LAST:
            held = held and self._once(ground, fault)

    def _once(self, ground: Ground, fault: faults.Fault) -> bool:
        """Do it, check, and note how long nobody served and how long the lag took to go."""
        began_s = time.monotonic()
        ground.watcher.mark()
        try:
            fault(ground)
            gap_s = max(ground.watcher.gaps_s.values())
            settled_s = 0.0 if fault in faults.LAST else ground.check()
        except Exception as error:  # noqa: BLE001 # told in the report, and the run goes on elsewhere
            self.report.broke(fault.__name__, error)
            return False
        self.report.held(fault.__name__, gap_s, settled_s, time.monotonic() - began_s)
        return True


def main() -> int:
    """0: every invariant held after every fault."""
    soak = Soak(arguments())
    with suppress(KeyboardInterrupt), ended_by_signal():
        return 0 if soak.run() else 1
    return 1


if __name__ == "__main__":
    sys.exit(main())

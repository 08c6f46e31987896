"""What a long run of faults did and found, as a page."""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from atp.brokers.kafka import KAFKA_VERSION
from tests.faults import faults

if TYPE_CHECKING:
    from tests.faults.ground import Ground

PACKAGES = ("faust-streaming", "aiokafka", "confluent-kafka", "rocksdict", "msgspec")
HEAD = """# Soak: the last long run of real faults

Written by `python -m tests.faults` (also by `make soak`); what each fault is: [faults.md](faults.md). After \
every one of them the sources paused, and I1 to I7 were checked against an offline fold of all facts.
"""


class Row(NamedTuple):
    """One fault, so far."""

    times: int = 0
    gap_s: float = 0.0
    settled_s: float = 0.0


class Report:
    """Counts over all grounds of a run; the page is written after every fault."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._began_s, self._began = time.monotonic(), datetime.now(UTC)
        self._rows: dict[str, Row] = {}
        self._grounds: list[tuple[int, Ground]] = []
        self.broken: list[str] = []

    @property
    def enough(self) -> bool:
        """As many kills and facts as asked for, and every fault at least once."""
        wanted = [fault.__name__ for fault in faults.ALL]
        missing = [name for name in wanted if self._options.only in name and name not in self._rows]
        return not missing and self._kills >= self._options.kills and self._facts >= self._options.facts

    @property
    def _kills(self) -> int:
        return sum(ground.kills for _, ground in self._grounds)

    @property
    def _facts(self) -> int:
        return sum(ground.fold.facts for _, ground in self._grounds)

    def on(self, ground: Ground, seed: int) -> None:
        """From here on it happens on this ground."""
        self._grounds.append((seed, ground))

    def held(self, fault: str, gap_s: float, settled_s: float, took_s: float) -> None:
        """A fault broke nothing."""
        row = self._rows.get(fault, Row())
        self._rows[fault] = Row(row.times + 1, max(row.gap_s, gap_s), max(row.settled_s, settled_s))
        self._tell(f"{fault}: {took_s:.0f} s, gap {gap_s:.1f} s, {self._kills} kills, {self._facts:,} facts")

    def broke(self, fault: str, error: Exception) -> None:
        """A fault broke something."""
        self.broken.append(f"{fault} (seed {self._grounds[-1][0]}): {type(error).__name__}: {str(error)[:300]}")
        self._tell(f"BROKEN: {fault}: {error}")

    def _tell(self, line: str) -> None:
        print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)
        self._options.out.write_text(self.page())

    def page(self) -> str:
        """The page."""
        return "\n".join([HEAD, *self._counts(), "", *self._table(), "", *self._found()]) + "\n"

    def _counts(self) -> list[str]:
        folds = [ground.fold for _, ground in self._grounds]
        most = [max(getattr(g, name) for _, g in self._grounds) for name in ("rss_mb", "disk_mb")]
        versions = {"Python": sys.version.split()[0], "Kafka": KAFKA_VERSION, **{p: version(p) for p in PACKAGES}}
        minutes, load = (time.monotonic() - self._began_s) / 60, os.getloadavg()[1]
        when = f"{self._began:%Y-%m-%d %H:%M} UTC, {minutes:.0f} minutes"
        counts = {
            "date": f"{when}, on {os.cpu_count()} cores with others' work (load {load:.0f} at its end)",
            "versions": ", ".join(f"{name} {found}" for name, found in versions.items()),
            "seeds": ", ".join(str(seed) for seed, _ in self._grounds),
            "asked for": f"{self._options.kills:,} kills, {self._options.facts:,} facts, "
            f"at most {self._options.minutes:.0f} minutes",
            "kill -9 of a worker": f"{self._kills:,}",
            "restarted by the platform": f"{sum(g.revived for _, g in self._grounds):,}",
            "facts on the topics": f"{self._facts:,}, {sum(fold.distinct for fold in folds):,} distinct, "
            f"{sum(sum(fold.refused.values()) for fold in folds):,} refused into the dead letters",
            "records published": f"{sum(g.watcher.count for _, g in self._grounds):,}",
            "most memory and disk of a worker": f"{most[0]} MiB, {most[1]} MiB",
        }
        return ["| | |", "|---|---|", *(f"| {name} | {told} |" for name, told in counts.items())]

    def _table(self) -> list[str]:
        head = [
            "`gap`: the longest time in which a partition published nothing, pauses of the sources included;",
            "`settled`: the longest time until the lag was 0 again (I6).",
            "",
            "| fault | times | gap, s | settled, s |",
            "|---|---:|---:|---:|",
        ]
        rows = self._rows.items()
        return head + [f"| `{name}` | {row.times} | {row.gap_s:.1f} | {row.settled_s:.1f} |" for name, row in rows]

    def _found(self) -> list[str]:
        if not self.broken:
            refused = " and ".join(f"`{fault.__name__}`" for fault in faults.LAST)
            return [
                f"Every invariant held after every one of them; for {refused} it is the refusal that was checked."
            ]
        return ["Broken:", "", *(f"- {found}".replace("\n", " ") for found in self.broken)]

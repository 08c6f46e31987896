"""The long form: `python -m tests.faults --kills 200 --facts 1000000 --minutes 60` writes docs/faults.json.

Every fault of every row in turn, again and again, each with I1 to I7 after it, until so many workers were killed and
so many facts folded, or the time is over; the report says which.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from atp.brokers.kafka import KAFKA_VERSION
from tests.faults.faults import ROWS
from tests.faults.ground import ROOT, Ground

PACKAGES = ("faust-streaming", "aiokafka", "confluent-kafka", "rocksdict")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--kills", type=int, default=200, help="kill -9 of a worker, at least")
    parser.add_argument("--facts", type=int, default=1_000_000, help="facts on the topics, at least")
    parser.add_argument("--minutes", type=float, default=120, help="no fault begins after this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "faults.json")
    return parser.parse_args()


def main() -> int:
    """0: every invariant held after every fault."""
    options = arguments()
    found: dict[str, dict[str, Any]] = {}
    started_s = time.monotonic()
    with Ground(
        Path(tempfile.mkdtemp(prefix="atp-faults-")), options.seed, skus=2_000, day_facts=2_000_000
    ) as ground:
        ground.start()
        ground.flowing()
        ground.await_served()
        while not _enough(ground, options, started_s):
            for fault in [fault for row in ROWS.values() for fault in row if options.only in fault.__name__]:
                if time.monotonic() - started_s > options.minutes * 60:
                    break
                _once(ground, fault, found)
        report = _report(ground, options, found, time.monotonic() - started_s)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _enough(ground: Ground, options: argparse.Namespace, started_s: float) -> bool:
    over = time.monotonic() - started_s > options.minutes * 60
    return over or (ground.kills >= options.kills and ground.fold.facts >= options.facts)


def _once(ground: Ground, fault: Any, found: dict[str, dict[str, Any]]) -> None:
    """Do it, check, and note how long nobody served and how long the lag took to go."""
    began_s = time.monotonic()
    ground.watcher.mark()
    fault(ground)
    gap_s = max(ground.watcher.gaps_s.values())
    settled_s = ground.check()
    row = found.setdefault(fault.__name__, {"times": 0, "longest_gap_s": 0.0, "longest_settling_s": 0.0})
    row["times"] += 1
    row["longest_gap_s"] = round(max(row["longest_gap_s"], gap_s), 1)
    row["longest_settling_s"] = round(max(row["longest_settling_s"], settled_s), 1)
    took_s = time.monotonic() - began_s
    print(f"{fault.__name__}: {took_s:.0f} s, gap {gap_s:.1f} s, {ground.fold.facts:,} facts", flush=True)


def _report(ground: Ground, options: argparse.Namespace, found: dict[str, Any], spent_s: float) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": sys.version.split()[0], "kafka": KAFKA_VERSION, **{p: version(p) for p in PACKAGES}},
        "seed": options.seed,
        "minutes": round(spent_s / 60, 1),
        "asked_for": {"kills": options.kills, "facts": options.facts},
        "kills": ground.kills,
        "restarted_by_the_platform": ground.revived,
        "facts": ground.fold.facts,
        "distinct_facts": ground.fold.distinct,
        "refused": sum(ground.fold.refused.values()),
        "records_published": ground.watcher.count,
        "worker_rss_mb_max": ground.rss_mb,
        "worker_disk_mb_max": ground.disk_mb,
        "every_invariant_held_after": found,
    }


if __name__ == "__main__":
    sys.exit(main())

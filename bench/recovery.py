"""Back to work, and flat cost: `python -m bench.recovery`, kept in `recovery.json` beside the numbers to reach.

    python -m bench.recovery --keys 100000 --parts restart,rebuild,takeover     # shorter, or some of it

A run replaces its parts in the file and keeps the others; `python -m docs.generate` puts the table into README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import report
from bench.bounds import HEAD, rows
from bench.run import broker

OUT = Path(__file__).parent / "recovery.json"
WITH_BROKER = ("restart", "rebuild", "takeover")
PARTS = (*WITH_BROKER, "growth", "hot")
SMALLEST = 10_000


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; what is given by environment shortens the default run."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery")
    keys = int(os.environ.get("BENCH_KEYS", "1000000"))
    parser.add_argument("--keys", type=int, default=keys, help="live keys: SKU and region")
    parser.add_argument("--movements", type=int, default=int(os.environ.get("BENCH_MOVEMENTS", "100000")))
    parser.add_argument("--rounds", type=int, default=30, help="commits that are measured per state")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--profile", action="store_true", help="growth and hot: with the functions that cost most")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    options.parts = options.parts.split(",")
    if wrong := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"--parts {','.join(wrong)}: allowed are {', '.join(PARTS)}")
    return options


def say(text: str) -> None:
    """Progress."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def load() -> float:
    """Processes that wanted a processor during the last minute, ours among them."""
    return round(os.getloadavg()[0], 1)


def on_kafka(options: argparse.Namespace) -> dict[str, Any]:
    """The parts with a broker, in one run of it."""
    from bench.restarts import Restarts

    found: dict[str, Any] = {}
    with broker() as (bootstrap, _), tempfile.TemporaryDirectory(prefix="atp-recovery-") as folder:
        restarts = Restarts(bootstrap, Path(folder), say)
        try:
            restarts.open(options.keys)
            for part in WITH_BROKER:
                if part in options.parts:
                    found[part] = {"keys": options.keys, **getattr(restarts, part)(), "load": load()}
        finally:
            restarts.close()
    return found


def alone(options: argparse.Namespace) -> dict[str, Any]:
    """The parts in this process."""
    os.environ["ATP_CLOCK"] = "replay"
    from bench import growth

    found: dict[str, Any] = {}
    sizes = sorted({SMALLEST, max(SMALLEST, options.keys // 10), max(SMALLEST, options.keys)})
    if "hot" in options.parts:
        found["hot"] = asyncio.run(growth.hot_sku(options.movements, options.rounds, options.profile, say))
        found["hot"]["load"] = load()
    if "growth" in options.parts:
        found["growth"] = asyncio.run(growth.by_keys(sizes, options.rounds, options.profile, say))
        found["growth"]["load"] = load()
    return found


def kept(options: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """What was found, beside what earlier runs found of the other parts; each part names its machine and load."""
    document = json.loads(options.out.read_text()) if options.out.exists() else {}
    machine = report.machine()
    for part, figures in found.items():
        document[part] = {"machine": machine, **figures}
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    return document


def main(arguments: list[str] | None = None) -> int:
    """Measure, keep, show."""
    options = parse(arguments)
    found = alone(options)
    if set(options.parts) & set(WITH_BROKER):
        found |= on_kafka(options)
    table = Table(*HEAD, title="Back to work, and flat cost")
    for row in rows(kept(options, found)):
        table.add_row(*row)
    Console(width=160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

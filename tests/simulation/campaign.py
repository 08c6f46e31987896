"""Many seeds over several processes: which failed, and which fault hit which protocol step how often."""

from __future__ import annotations

import gc
import os
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import count, islice
from typing import NamedTuple

from tests.simulation.run import BrokenError, Simulation

RETAIL_EVERY = 20  # one seed in so many has the product's own domain; it takes several times as long
CHUNK = 25


class Result(NamedTuple):
    """What some seeds came to."""

    seeds: int
    failed: dict[int, str]
    hits: Counter[tuple[str, str]]
    spent_s: float


def make(seed: int) -> Simulation:
    """The run of a seed."""
    if seed % RETAIL_EVERY:
        return Simulation(seed)
    from tests.simulation.retail import RetailSimulation  # brings the whole product with it

    return RetailSimulation(seed)


def broken(simulation: Simulation) -> str:
    """Run it; what was wrong, or nothing."""
    try:
        simulation.run()
    except BrokenError as error:
        return str(error)
    except Exception:  # noqa: BLE001 # however a seed ends, it is one to look at
        return traceback.format_exc()
    return ""


def run_some(seeds: range) -> Result:
    """Run these seeds here."""
    failed, hits, started_s = {}, Counter[tuple[str, str]](), time.process_time()
    for seed in seeds:
        simulation = make(seed)
        what = broken(simulation)
        if what:
            failed[seed] = what
        hits += simulation.faults.hits
    gc.collect()
    return Result(len(seeds), failed, hits, time.process_time() - started_s)


def chunks(first: int, seeds: int | None) -> Iterator[range]:
    """Seeds in portions; without a number, for ever."""
    starts = count(first, CHUNK) if seeds is None else range(first, first + seeds, CHUNK)
    end = None if seeds is None else first + seeds
    for start in starts:
        yield range(start, start + CHUNK if end is None else min(end, start + CHUNK))


def campaign(first: int, seeds: int | None = None, minutes: float | None = None, jobs: int | None = None) -> Result:
    """Run seeds from `first` on: so many, or for so long; stops at the first portion with a failure when timed."""
    jobs = jobs or int(os.environ.get("WORKERS", "2"))
    deadline_s = None if minutes is None else time.monotonic() + minutes * 60
    total = Result(0, {}, Counter(), 0.0)
    portions = chunks(first, seeds)
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(run_some, portion) for portion in islice(portions, 2 * jobs)}
        while running:
            done = next(as_completed(running))
            running.remove(done)
            total = _sum(total, done.result())
            over = deadline_s is not None and (time.monotonic() > deadline_s or bool(total.failed))
            if not over and (portion := next(portions, None)) is not None:
                running.add(pool.submit(run_some, portion))
    return total


def _sum(a: Result, b: Result) -> Result:
    return Result(a.seeds + b.seeds, a.failed | b.failed, a.hits + b.hits, a.spent_s + b.spent_s)


def table(hits: Counter[tuple[str, str]]) -> str:
    """Fault by protocol step, with counts, as a Markdown table."""
    kinds: dict[str, Counter[str]] = {}
    for (kind, step), times in hits.items():
        kinds.setdefault(kind, Counter())[step] += times
    lines = ["| fault | times | at |", "| --- | ---: | --- |"]
    for kind, steps in sorted(kinds.items()):
        at = ", ".join(f"{step} {times}" for step, times in sorted(steps.items()))
        lines.append(f"| {kind} | {sum(steps.values())} | {at} |")
    return "\n".join(lines)

"""What a fact costs as the state grows; a part of `python -m bench.recovery`.

In one process and without a broker (`bench.inside`). What is compared takes turns within the same seconds, so that
whatever else the machine does meets all alike: read the ratios, the microseconds are those of a loaded machine.
"""

from __future__ import annotations

import cProfile
import gc
import io
import itertools
import json
import pstats
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.inside import Inside
from bench.load import PARTITIONS, partition_of
from bench.workload import NODES, REGIONS, Record, Workload

DAY_FACTS = 4_000_000
OPENING_FACTS = 40_000  # per step while a state is built
ROUND_FACTS = 4_000  # facts between two commits of all partitions
WARM_ROUNDS = 6
SKEWS = {"zipf": 1.1, "uniform": 0.0}
HOT_TURN = 100  # facts of one SKU between two commits: 1,000 a second at 100 ms
COLD_MOVEMENTS = 100
STEP_MS = 2_000
PROFILED = 18


class Market:
    """A worker's eight tasks with so many live keys (SKU and region), and traffic on them."""

    def __init__(self, folder: Path, keys: int) -> None:
        folder.mkdir()
        self.keys = keys
        self.inside = Inside(folder)
        self.workload = Workload(DAY_FACTS, skus=keys // len(REGIONS), skew=SKEWS["zipf"])
        self._places = [partition_of(sku) for sku in self.workload.skus]
        self._offsets = itertools.count()
        self.costs_us: list[float] = []
        self.distinct: list[float] = []

    async def open(self) -> None:
        """Count every SKU at every node."""
        opening = self.workload.opening()
        while facts := list(itertools.islice(opening, OPENING_FACTS)):
            await self._work(facts)

    async def warm(self, skew: float) -> None:
        """Let the traffic settle on another draw."""
        self.workload.draw_by(skew)
        for _ in range(WARM_ROUNDS):
            await self._work(itertools.islice(self.workload, ROUND_FACTS))
        self.costs_us, self.distinct = [], []

    async def round(self, profile: cProfile.Profile | None = None) -> None:
        """One commit of every partition, measured."""
        cpu_s, skus = await self._work(itertools.islice(self.workload, ROUND_FACTS), profile)
        self.costs_us.append(cpu_s / ROUND_FACTS * 1e6)
        self.distinct.append(skus / PARTITIONS)

    async def _work(self, facts: Iterable[Record], profile: cProfile.Profile | None = None) -> tuple[float, int]:
        """CPU seconds, and how many SKUs the facts were of."""
        parts: list[list[Any]] = [[] for _ in range(PARTITIONS)]
        for fact in facts:
            parts[self._places[fact.sku]].append(self._record(fact))
        cpu_s = 0.0
        for task, part in zip(self.inside.tasks, parts, strict=True):
            if part:
                cpu_s += await spent(self.inside, task, part, profile)
        return cpu_s, len({record.key for part in parts for record in part})

    def _record(self, fact: Record) -> Any:
        from atp.lane.ports import Record as Consumed

        place, key = self._places[fact.sku], self.workload.skus[fact.sku]
        return Consumed(fact.topic, place, next(self._offsets), fact.recorded_ms, key, fact.value)


async def spent(inside: Inside, task: Any, records: list[Any], profile: cProfile.Profile | None = None) -> float:
    """CPU seconds of one turn."""
    began_s = time.process_time()
    if profile:
        profile.enable()
    await inside.turn(task, records)
    if profile:
        profile.disable()
    return time.process_time() - began_s


async def by_keys(sizes: list[int], rounds: int, profiled: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Cost per fact by live keys, for each draw."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="atp-growth-") as folder:
        markets = [Market(Path(folder) / str(keys), keys) for keys in sizes]
        for market in markets:
            say(f"opening {market.keys:,} keys …")
            await market.open()
        gc.collect()
        for draw, skew in SKEWS.items():
            say(f"traffic by the {draw} draw …")
            for market in markets:
                await market.warm(skew)
            for _ in range(rounds):
                for market in markets:
                    await market.round()
            found[draw] = [_costs(market, markets[0]) for market in markets]
            if profiled:  # apart from what was measured: a profiler alone doubles the cost
                ends = (markets[0], markets[-1])
                found[f"{draw}_profile"] = {f"{market.keys}": await _profiled(market, rounds) for market in ends}
    return found


async def _profiled(market: Market, rounds: int) -> list[str]:
    profile = cProfile.Profile()
    for _ in range(rounds):
        await market.round(profile)
    return top(profile)


def _costs(market: Market, least: Market) -> dict[str, Any]:
    return {
        "keys": market.keys,
        "us_per_fact": round(median(market.costs_us), 1),
        "ratio": round(median(market.costs_us) / median(least.costs_us), 2),
        "skus_per_commit": round(median(market.distinct)),
    }


def top(profile: cProfile.Profile) -> list[str]:
    """The functions with the most time of their own."""
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(PROFILED)
    lines = text.getvalue().splitlines()
    return [line.rstrip() for line in lines[next(i for i, line in enumerate(lines) if "ncalls" in line) :] if line]


class HotSku:
    """One SKU with a long journal beside many with short ones, in the same stores."""

    def __init__(self, folder: Path) -> None:
        self.inside = Inside(folder)
        self._now_ms = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
        self._made = 0

    async def fill(self, sku: str, movements: int) -> None:
        """Count it, then move it."""
        await self.turn(sku, [self.count(sku, self._now_ms)])
        facts = (self._movement(sku) for _ in range(movements))
        while part := list(itertools.islice(facts, 1_000)):
            await self.turn(sku, part)

    def movements(self, sku: str) -> list[bytes]:
        """What comes between two commits."""
        return [self._movement(sku) for _ in range(HOT_TURN)]

    def _movement(self, sku: str) -> bytes:
        self._now_ms += STEP_MS
        return self._fact(sku, type="stock.adjusted", state="sellable", delta=1 - self._made % 3 or 1, reason="sold")

    def count(self, sku: str, as_of_ms: int) -> bytes:
        """A count of sellable as of an instant."""
        return self._fact(sku, type="stock.counted", as_of=_text(as_of_ms), quantities={"sellable": 1_000_000})

    def _fact(self, sku: str, **body: Any) -> bytes:
        self._made += 1
        head = {"event_id": f"e{self._made}", "schema_version": "1.0", "source": "wms", "sku": sku}
        where = {"node": NODES[0][0].decode(), "occurred_at": _text(self._now_ms), "recorded_at": _text(self._now_ms)}
        return json.dumps(head | where | body).encode()

    async def turn(self, sku: str, values: list[bytes], profile: cProfile.Profile | None = None) -> float:
        """One commit; CPU seconds."""
        from atp.domain.facts import STOCK_TOPIC
        from atp.lane.ports import Record as Consumed

        place = partition_of(sku.encode())
        records = [Consumed(STOCK_TOPIC, place, i, self._now_ms, sku.encode(), v) for i, v in enumerate(values)]
        return await spent(self.inside, self.inside.tasks[place], records, profile)

    async def late_count(self, sku: str, hours: int) -> float:
        """CPU seconds for a count that comes so many hours after its instant."""
        return await self.turn(sku, [self.count(sku, self._now_ms - hours * 3_600_000)])


async def hot_sku(movements: int, rounds: int, profiled: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Cost per fact of a SKU with so many movements in its window, against SKUs with a hundred."""
    with tempfile.TemporaryDirectory(prefix="atp-hot-") as folder:
        world = HotSku(Path(folder))
        say(f"moving one SKU {movements:,} times …")
        await world.fill("HOT", movements)
        cold = [f"COLD-{number:03d}" for number in range(rounds)]
        for sku in cold:
            await world.fill(sku, COLD_MOVEMENTS)
        profile = cProfile.Profile() if profiled else None
        costs: dict[str, list[float]] = {"hot": [], "cold": []}
        for sku in cold:
            costs["hot"].append(await world.turn("HOT", world.movements("HOT"), profile))
            costs["cold"].append(await world.turn(sku, world.movements(sku)))
        found = {name: round(median(figures) / HOT_TURN * 1e6, 1) for name, figures in costs.items()}
        counts = {f"count_{h}_h_late_ms": round(await world.late_count("HOT", h) * 1000, 1) for h in (0, 24, 12)}
    return {
        "movements": movements,
        "hot_us_per_fact": found["hot"],
        "cold_us_per_fact": found["cold"],
        "ratio": round(found["hot"] / found["cold"], 2),
        **counts,
        **({"profile": top(profile)} if profile else {}),
    }


def _text(instant_ms: int) -> str:
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

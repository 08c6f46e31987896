"""The numbers to reach when a worker goes or the state grows, and what a run found beside them."""

from __future__ import annotations

from typing import Any, NamedTuple

SESSION_S = 10.0  # ATP_SESSION_TIMEOUT_MS: so long nobody doubts a static member that is silent
REBALANCE_S = 5.0  # heartbeats, the join of the others, fencing, offsets, the first commit
RESTORED_PER_S = 100_000
RESTART_S, RSS_MB = 10.0, 1024.0
FLAT, HOT = 1.3, 1.5
FULL_KEYS = 1_000_000  # the size that the numbers are meant for


class Figure(NamedTuple):
    """One figure beside its bound."""

    what: str
    found: float
    unit: str
    bound: float
    at_least: bool = False
    remark: str = ""
    full: bool = True  # at the size that the bound is meant for

    @property
    def verdict(self) -> str:
        """In words; a smaller run proves nothing about the full size, and says so."""
        return ("met" if self.met else "**missed**") + ("" if self.full else ", at a smaller size")

    @property
    def met(self) -> bool:
        """Whether the bound holds."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


def takeover_bound_s(records: int) -> float:
    """Until all partitions of a lost worker are served again: its session, a rebalance, and what must be restored."""
    return SESSION_S + REBALANCE_S + records / RESTORED_PER_S


def figures(document: dict[str, Any]) -> list[Figure]:
    """Every figure of the parts that were run."""
    found: list[Figure] = []
    for name, make in (("restart", _restart), ("rebuild", _rebuild), ("takeover", _takeover), ("growth", _growth)):
        if name in document:
            found += make(document[name])
    return found + (_hot(document["hot"]) if "hot" in document else [])


def _load(part: dict[str, Any]) -> str:
    return f"load {part['load']:.0f} on {part['machine']['cpus']} CPUs"


def _full(part: dict[str, Any]) -> bool:
    return bool(part["keys"] >= FULL_KEYS)


def _restart(part: dict[str, Any]) -> list[Figure]:
    keys = f"{part['keys']:,} keys"
    timed = [
        Figure(f"restart with local state, {keys}, {how}: first record", part[name]["first_s"], "s", RESTART_S,
               remark=f"all partitions {part[name]['all_s']} s; {part[name]['cpu_s']} s of CPU; {_load(part)}",
               full=_full(part))
        for name, how in (("sigterm", "stopped in order"), ("sigkill", "killed"))
    ]  # fmt: skip
    memory = Figure(f"memory of a worker with {keys}", part["rss_mb_before"], "MB", RSS_MB, full=_full(part))
    return [*timed, memory]


def _rebuild(part: dict[str, Any]) -> list[Figure]:
    remark = (
        f"{part['records']:,} records in {part['restore_s']} s; served after {part['first_s']} s (first) and "
        f"{part['all_s']} s (all); {part['cpu_s']} s of CPU; {_load(part)}"
    )
    what = f"rebuild from the changelog, {part['keys']:,} keys"
    return [Figure(what, part["records_per_s"], "records/s", RESTORED_PER_S, True, remark, _full(part))]


def _takeover(part: dict[str, Any]) -> list[Figure]:
    return [
        _lost(f"{part['keys']:,} keys, heir without their state", part["without_state"], part),
        _lost(f"{part['keys']:,} keys, heir with older state", part["with_state"], part),
    ]


def _lost(what: str, lost: dict[str, Any], part: dict[str, Any]) -> Figure:
    remark = (
        f"all served; first record after {lost['first_s']} s; {lost['records']:,} records restored; the bound: "
        f"session {SESSION_S:.0f} s + {REBALANCE_S:.0f} s + restore; {_load(part)}"
    )
    bound_s = round(takeover_bound_s(lost["records"]), 1)
    what = f"takeover of {lost['partitions']} partitions, {what}"
    return Figure(what, lost["all_s"], "s", bound_s, remark=remark, full=_full(part))


def _growth(part: dict[str, Any]) -> list[Figure]:
    found = []
    for draw in ("zipf", "uniform"):
        least = part[draw][0]
        for row in part[draw][1:]:
            remark = f"{least['us_per_fact']} → {row['us_per_fact']} µs; SKUs per commit and partition "
            remark += f"{least['skus_per_commit']} → {row['skus_per_commit']}"
            what = f"cost per fact, {least['keys']:,} → {row['keys']:,} keys, {draw} draw"
            full = row["keys"] >= FULL_KEYS
            found.append(Figure(what, row["ratio"], "×", FLAT, remark=f"{remark}; {_load(part)}", full=full))
    return found


def _hot(part: dict[str, Any]) -> list[Figure]:
    remark = (
        f"{part['cold_us_per_fact']} → {part['hot_us_per_fact']} µs; a count of it {part['count_0_h_late_ms']} ms, "
    )
    remark += f"one that comes a day late {part['count_24_h_late_ms']} ms; {_load(part)}"
    what = f"cost per fact of one SKU with {part['movements']:,} movements"
    return [Figure(what, part["ratio"], "×", HOT, remark=remark)]


def rows(document: dict[str, Any]) -> list[list[str]]:
    """Cells of a table: figure, found, bound, verdict, remark."""
    return [
        [f.what, f"{f.found:,} {f.unit}", f"{'≥' if f.at_least else '≤'} {f.bound:,.15g} {f.unit}",
         f.verdict, f.remark]
        for f in figures(document)
    ]  # fmt: skip


HEAD = ["figure", "found", "to reach", "", "remarks"]

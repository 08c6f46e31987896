"""DERIVED counts of a shelf: the opening count, then a cycle count every six weeks or so.

Cycle counts agree with the truth, but for about six of a hundred that find a unit or two more or fewer.
A count is set at night and never within seconds of another change, so that it can always be placed.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from atp.domain.times import DAY_MS, HOUR_MS
from atp.sources.retail_documents import Count
from atp.sources.retail_time import SECOND_MS, mix
from atp.sources.retail_world import Place

_EVERY_DAYS = 45
_CLEAR_MS = 5 * SECOND_MS


def count_shelf(
    sku: str, place: Place, opening: int, truth: list[tuple[int, int]], chance: int, span_ms: tuple[int, int]
) -> tuple[list[Count], int]:
    """The counts of a shelf, and its sellable units at the very end."""
    start_ms, end_ms = span_ms
    counts = [Count(sku, place, 0, opening, 0, start_ms)]
    times = [ms for ms, _ in truth]
    balances = list(accumulate((units for _, units in truth), initial=opening))
    drift = 0
    count_ms = start_ms + (10 + (chance >> 9) % 35) * DAY_MS + 2 * HOUR_MS + (chance >> 20) % (2 * HOUR_MS)
    while count_ms < end_ms:
        at = bisect_right(times, count_ms)
        if _clear(times, at, count_ms):
            found = _drift(mix(chance + len(counts)), balances, at, drift)
            drift += found
            counts.append(Count(sku, place, len(counts), balances[at] + drift, found, count_ms))
        count_ms += _EVERY_DAYS * DAY_MS
    return counts, balances[-1] + drift


def _clear(times: list[int], at: int, count_ms: int) -> bool:
    before = at == 0 or times[at - 1] < count_ms - _CLEAR_MS
    return before and (at == len(times) or times[at] > count_ms + _CLEAR_MS)


def _drift(chance: int, balances: list[int], at: int, drift: int) -> int:
    """How far a count is off; never so low that what is still to ship would be missing."""
    if chance % 100 >= 6:
        return 0
    found = (-2, -1, 1)[(chance >> 8) % 3]
    return found if min(balances[at:]) + drift + found >= 0 else 0

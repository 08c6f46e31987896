"""When a task begins a turn: at most once per commit interval, at least once per tick."""

from __future__ import annotations


class Pace:
    """Counts from the beginning of a turn, so that a slow commit does not add to the interval."""

    def __init__(self, commit_interval_ms: int, tick_interval_ms: int) -> None:
        self._interval_s = commit_interval_ms / 1000
        self._tick_s = tick_interval_ms / 1000
        self._last_turn_s = float("-inf")
        self._last_tick_s = float("-inf")

    def interval_over(self, now_s: float) -> bool:
        """Whether something to do may be done at once."""
        return now_s - self._last_turn_s >= self._interval_s

    def delay_s(self, now_s: float, has_work: bool) -> float:
        """Seconds until there is a reason to look again; none left (≤ 0) means: begin a turn."""
        tick_s = self._last_tick_s + self._tick_s - now_s
        interval_s = self._last_turn_s + self._interval_s - now_s
        return min(tick_s, interval_s) if has_work or interval_s > 0 else tick_s

    def begin(self, now_s: float) -> tuple[float, bool]:
        """A turn begins: seconds since the one before (at most a tick), and whether this one is a tick."""
        since_s = min(now_s - self._last_turn_s, self._tick_s)
        is_tick = now_s - self._last_tick_s >= self._tick_s
        self._last_turn_s = now_s
        if is_tick:
            self._last_tick_s = now_s
        return since_s, is_tick

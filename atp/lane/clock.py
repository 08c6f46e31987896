"""Clocks: the wall, or a history that is being replayed."""

from __future__ import annotations

import time


class SystemClock:
    """Now is the wall clock, whatever was seen."""

    def now_ms(self, seen_ms: int) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class FloorClock:
    """Now is the floor of a replay alone: for a lane whose records carry times of their own."""

    def __init__(self, replay: ReplayClock) -> None:
        self._replay = replay

    def now_ms(self, _seen_ms: int) -> int:
        """How far the replay was advanced from outside."""
        return self._replay.floor_ms


class ReplayClock:
    """Now is the newest record a task has seen, or a floor that is advanced from outside."""

    def __init__(self, floor_ms: int = 0) -> None:
        self.floor_ms = floor_ms

    def now_ms(self, seen_ms: int) -> int:
        """The later of the two."""
        return max(seen_ms, self.floor_ms)

    def advance_to(self, floor_ms: int) -> None:
        """Let every task know that this much time has passed; never goes back."""
        self.floor_ms = max(self.floor_ms, floor_ms)

"""How much may be refused before the task stops instead of dead-lettering everything."""

from __future__ import annotations

from collections import deque

from atp.lane.errors import PoisonRateError

WINDOW_S = 60


class PoisonLimit:
    """Counts refusals of the last minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._refused: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, refused: int) -> None:
        """Count what a turn refuses; raises, and starts to count afresh, beyond the limit."""
        while self._refused and self._refused[0][0] < now_s - WINDOW_S:
            self._refused.popleft()
        if refused:
            self._refused.append((now_s, refused))
        total = sum([count for _, count in self._refused])
        if total > self._per_minute:
            self._refused.clear()
            raise PoisonRateError(
                f"{total} records refused within a minute, {self._per_minute} allowed; nothing was committed"
            )

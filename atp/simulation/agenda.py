"""What happens when: the loop of the simulated day."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Agenda:
    """Actions by time (ms); those of one instant run in the order in which they were planned."""

    def __init__(self, now_ms: int, close_ms: int) -> None:
        self.now_ms, self.close_ms = now_ms, close_ms
        self._due: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._planned = 0

    def plan(self, at_ms: int, action: Callable[..., None], *arguments: Any) -> None:
        """Something happens in the world; at the close it stands still."""
        if at_ms < self.close_ms:
            self.deliver(at_ms, action, *arguments)

    def deliver(self, at_ms: int, action: Callable[..., None], *arguments: Any) -> None:
        """A message arrives, after the close too."""
        self._planned += 1
        heappush(self._due, (at_ms, self._planned, action, arguments))

    def run(self, until_ms: int | None = None) -> None:
        """Let happen what is due before an instant, or everything."""
        while self._due and (until_ms is None or self._due[0][0] < until_ms):
            self.now_ms, _, action, arguments = heappop(self._due)
            action(*arguments)
        self.now_ms = max(self.now_ms, until_ms or 0)

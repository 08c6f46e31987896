"""Work that can wait, of all tasks of a lane: one task at a time does it, so that facts wait for one portion at most.

A burst is input of a paced topic, or what an agent goes on with. All tasks share one processor: were every task to
work off its own portion at once, a fact would wait for all of them.
"""

from __future__ import annotations

from collections.abc import Callable


class Bursts:
    """Who may work on a burst now; those who wait are woken, the longest waiting first, when it is free."""

    def __init__(self) -> None:
        self._busy: object | None = None
        self._waiting: dict[object, Callable[[], None]] = {}

    def free(self, who: object, wake: Callable[[], None]) -> bool:
        """Whether somebody may begin; else he is woken when it is worth asking again."""
        if self._busy is None:
            return True
        self._waiting.setdefault(who, wake)
        return False

    def begin(self, who: object) -> bool:
        """Take the burst, if nobody has it."""
        if self._busy is not None:
            return False
        self._waiting.pop(who, None)
        self._busy = who
        return True

    def end(self, who: object) -> None:
        """Leave it to the others; it does not matter whether one had it."""
        self._waiting.pop(who, None)
        if self._busy is who:
            self._busy = None
            for wake in list(self._waiting.values()):
                wake()

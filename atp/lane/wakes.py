"""Wake times of keys, in memory: rebuilt by the sweep that every task start begins with."""

from __future__ import annotations

import heapq

SPARE = 64  # superseded entries that are no reason yet to build the heap anew


class Wakes:
    """The latest wake time set for a key is the one that counts."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._at: dict[str, int] = {}

    def set(self, key: str, at_ms: int) -> None:
        """Wake the key at this time instead of any time set before."""
        if self._at.get(key) != at_ms:
            self._at[key] = at_ms
            heapq.heappush(self._heap, (at_ms, key))
            if len(self._heap) > 2 * len(self._at) + SPARE:
                self._heap = [(at_ms, key) for key, at_ms in self._at.items()]
                heapq.heapify(self._heap)

    def next_ms(self) -> int | None:
        """Earliest wake time."""
        heap, at = self._heap, self._at
        while heap and at.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now_ms: int, limit: int) -> list[str]:
        """Keys whose time has come, at most `limit`."""
        keys: list[str] = []
        next_ms = self.next_ms()
        while next_ms is not None and next_ms <= now_ms and len(keys) < limit:
            key = heapq.heappop(self._heap)[1]
            del self._at[key]
            keys.append(key)
            next_ms = self.next_ms()
        return keys

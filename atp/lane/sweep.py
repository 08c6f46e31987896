"""A paced walk over the record keys of one table: slow enough to disturb nobody, sure to reach every key."""

from __future__ import annotations

from atp.lane.keys import decode, first_part
from atp.lane.meta import Meta
from atp.lane.ports import Store

SCANNED_PER_KEY = 8


class Sweep:
    """Visits each key of the table at least once after the latest `start`."""

    def __init__(self, prefix: bytes, store: Store) -> None:
        self._prefix = prefix
        self._store = store
        self.generation = 0
        self.cursor: bytes | None = None  # where the walk goes on; None: not walking
        self._goal: bytes | None = None  # where a walk that was started again may end
        self._again = False

    @property
    def active(self) -> bool:
        """Whether keys are still to be visited."""
        return self.cursor is not None

    def start(self) -> None:
        """Begin, or, when under way, go on and then cover again what was already passed."""
        self.generation += 1
        if self.cursor is None:
            self.cursor, self._goal, self._again = b"", None, False
        else:
            self._goal, self._again = self.cursor, True

    def save(self, meta: Meta) -> None:
        """Leave a trace in the metadata row."""
        meta.sweep_generation = self.generation
        meta.sweep_cursor = self.cursor

    def next(self, limit: int) -> list[str]:
        """The next keys, at most `limit`; stops walking after the last one."""
        keys: list[str] = []
        if self.cursor is None or limit <= 0:
            return keys
        cursor, scanned, size = self.cursor, 0, len(self._prefix)
        for key, _ in self._store.scan(self._prefix + cursor, self._prefix):
            scanned += 1
            first = first_part(key[size:])
            if first < cursor:
                continue
            if len(keys) >= limit or scanned > limit * SCANNED_PER_KEY:
                self.cursor = cursor
                return keys
            if not self._again and self._goal is not None and first >= self._goal:
                break
            keys.append(decode(first)[0])
            cursor = first[:-1] + b"\x01"  # past every row of this key
        self._wrap()
        return keys

    def _wrap(self) -> None:
        if self._again:
            self.cursor, self._again = b"", False
        else:
            self.cursor, self._goal = None, None

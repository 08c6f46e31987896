"""Rows of one table within one task: decoded once, kept in a bounded cache, written once per commit.

The cache has two generations instead of a true LRU: a hit costs one dictionary look-up and no
bookkeeping. What is used moves into `hot`; when `hot` is full it becomes `cold` and the rows nobody
used since are let go. A row that does not exist is cached as None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from atp.lane.keys import Key, decode, encode, first_part
from atp.lane.ports import Store

MISSING = object()


class Rows:
    """Decoded rows of one table in one task."""

    __slots__ = ("_cold", "_decode", "_encode", "_limit", "_prefix", "dirty", "hot", "notes", "store", "weight")

    def __init__(
        self,
        prefix: bytes,
        store: Store,
        encode_row: Callable[[Any], bytes],
        decode_row: Callable[[bytes], Any],
        limit: int,
    ) -> None:
        self._prefix = prefix
        self._encode = encode_row
        self._decode = decode_row
        self._limit = max(2, limit) // 2
        self.store = store
        self.hot: dict[Key, Any] = {}
        self._cold: dict[Key, Any] = {}
        self.dirty: dict[Key, None] = {}
        self.weight = 0  # what rows in `hot` hold beyond themselves, in rows
        self.notes: dict[str, int] = {}  # what the table was told for this commit only

    def load(self, key: Key) -> Any:
        """The row or None, after a miss in `hot`."""
        row = self.hot.get(key, MISSING)
        if row is MISSING:
            row = self._cold.get(key, MISSING)
            if row is MISSING:
                data = self.store.get(self._prefix + encode(key))
                row = None if data is None else self._decode(data)
            self.hot[key] = row
        return row

    def peek(self, key: Key) -> Any:
        """The row or None, without keeping it: for what is asked for once."""
        for rows in (self.hot, self._cold):
            if key in rows:
                return rows[key]
        data = self.store.get(self._prefix + encode(key))
        return None if data is None else self._decode(data)

    def put(self, key: Key, row: Any) -> None:
        """Set a row; None deletes it."""
        self.hot[key] = row
        self.dirty[key] = None

    def written(self) -> Iterator[tuple[str, bytes, bytes | None]]:
        """Record key, changelog key and encoded value of every dirty row."""
        hot, prefix, encode_row = self.hot, self._prefix, self._encode
        for key in self.dirty:
            row = hot[key]
            yield key[0], prefix + encode(key), None if row is None else encode_row(row)

    def settle(self) -> None:
        """The dirty rows are committed; make room if the cache is full."""
        self.dirty.clear()
        self.notes.clear()
        if len(self.hot) + self.weight > self._limit:
            self._cold = self.hot
            self.hot = {}
            self.weight = 0

    def drop(self) -> None:
        """Forget everything that is not in the store."""
        self.dirty.clear()
        self.notes.clear()
        self.hot = {}
        self._cold = {}
        self.weight = 0

    def scan(self, prefix: Key) -> Iterator[tuple[bytes, Any]]:
        """Committed rows under a key prefix as (encoded key, fresh row)."""
        start = self._prefix + (encode(prefix) if prefix else b"")
        size = len(self._prefix)
        for key, data in self.store.scan(start, start):
            yield key[size:], self._decode(data)

    def keys_after(self, first: str, limit: int) -> list[str]:
        """Record keys of committed rows after one, each once."""
        found: dict[str, None] = {}
        start = self._prefix + (encode((first,))[:-1] + b"\x01" if first else b"")
        size = len(self._prefix)
        for key, _ in self.store.scan(start, self._prefix):
            found[decode(first_part(key[size:]))[0]] = None
            if len(found) >= limit:
                break
        return list(found)

    def read_ahead(self, first: str, last: str) -> None:
        """Keep the rows of all record keys between two: in key order they cost a tenth of what each costs alone."""
        hot, cold, size, end = self.hot, self._cold, len(self._prefix), encode((last,))
        for stored, data in self.store.scan(self._prefix + encode((first,)), self._prefix):
            found = stored[size:]
            if found > end and not found.startswith(end):
                return
            key = decode(found)
            if key not in hot and key not in cold:
                hot[key] = self._decode(data)

    def committed(self, key: Key) -> Any:
        """The committed row, decoded afresh, or None."""
        data = self.store.get(self._prefix + encode(key))
        return None if data is None else self._decode(data)

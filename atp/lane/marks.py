"""Mark tables: have we seen this before? Twenty-four bytes an answer.

Marks lie in buckets that grow by linear hashing. Stored, a bucket is packed: how many buckets there are (only
bucket 0's figure counts), then all keys (u64), all payloads (u64), all expiries (i64). In the cache it is a
dictionary: a batch asks and adds far more often than it writes. Keys must be hashes (evenly spread), such as
xxh3 of an identity.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from atp.lane.linear import bucket_of, split_source
from atp.lane.rows import Rows
from atp.lane.table import BaseTable

BUCKET_MARKS = 48
_WORD = 8


class Bucket:
    """Marks of one bucket: (payload, expires_ms) by key."""

    __slots__ = ("buckets", "marks")

    def __init__(self, buckets: int, marks: dict[int, tuple[int, int]]) -> None:
        self.buckets = buckets
        self.marks = marks


def encode(bucket: Bucket) -> bytes:
    """The packed bucket."""
    marks = bucket.marks
    count = len(marks)
    payloads, expiries = zip(*marks.values(), strict=True) if marks else ((), ())
    return struct.pack(f"<Q{count}Q{count}Q{count}q", bucket.buckets, *marks, *payloads, *expiries)


def decode(data: bytes) -> Bucket:
    """The bucket of its packed form."""
    count = (len(data) - _WORD) // (3 * _WORD)
    buckets, *words = struct.unpack(f"<Q{count}Q{count}Q{count}q", data)
    answers = zip(words[count : 2 * count], words[2 * count :], strict=True)
    return Bucket(buckets, dict(zip(words, answers, strict=False)))


class MarkTable(BaseTable):
    """Marks by record key and a 64-bit hash; each expires."""

    def __init__(self, name: str, bucket_marks: int = BUCKET_MARKS) -> None:
        super().__init__(name)
        self._full = bucket_marks

    def codec(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """Packed words."""
        return encode, decode

    def get(self, key: str, mark: int) -> tuple[int, int] | None:
        """Payload and expiry of a mark, or None."""
        bucket = self._find(self._rows or self.rows, key, mark)[1]
        return None if bucket is None else bucket.marks.get(mark)

    def put(self, key: str, mark: int, payload: int, expires_ms: int, drop_before_ms: int) -> None:
        """Insert or overwrite; a full bucket first loses what expired before `drop_before_ms`."""
        rows = self._rows or self.rows
        where, bucket = self._find(rows, key, mark)
        if bucket is None:
            bucket = Bucket(1, {})
        rows.hot[where] = bucket
        rows.dirty[where] = None
        marks = bucket.marks
        full = len(marks) >= self._full and mark not in marks and not _drop_expired(bucket, drop_before_ms)
        bucket.marks[mark] = (payload, expires_ms)
        if full:
            self._split(rows, key)

    def _find(self, rows: Rows, key: str, mark: int) -> tuple[tuple[str, str], Bucket | None]:
        where, hot = (key, "0"), rows.hot
        first = hot.get(where) or rows.load(where)
        if first is None or first.buckets == 1:
            return where, first
        index = bucket_of(mark, first.buckets)
        if index == 0:
            return where, first
        where = (key, str(index))
        return where, hot.get(where) or rows.load(where)

    def _split(self, rows: Rows, key: str) -> None:
        first = rows.load((key, "0"))
        new = first.buckets
        first.buckets = new + 1
        rows.put((key, "0"), first)
        source_at = (key, str(split_source(new)))
        source = rows.load(source_at)
        if source is not None:
            rows.put((key, str(new)), _move(source, new))
            rows.put(source_at, source)


def _drop_expired(bucket: Bucket, before_ms: int) -> bool:
    """Remove expired marks; whether there were any."""
    kept = {mark: answer for mark, answer in bucket.marks.items() if answer[1] >= before_ms}
    dropped = len(kept) < len(bucket.marks)
    bucket.marks = kept
    return dropped


def _move(source: Bucket, new: int) -> Bucket:
    """Take the marks that belong to the new bucket out of the one it splits from."""
    moved = {mark: answer for mark, answer in source.marks.items() if bucket_of(mark, new + 1) == new}
    source.marks = {mark: answer for mark, answer in source.marks.items() if mark not in moved}
    return Bucket(0, moved)

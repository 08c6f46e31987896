"""Mark tables: have we seen this before? Twenty-four bytes an answer.

Marks lie in buckets that grow by linear hashing. Stored, a bucket is packed: how many buckets there are (only
bucket 0's figure counts), then all keys (u64), then all answers (payload u64, expiry i64). In the cache it is a
dictionary of key to packed answer: a batch asks and adds far more often than it writes, nearly every question
finds nothing, and numbers with bytes are nothing that the garbage collector would have to walk. Keys must be
hashes (evenly spread), such as xxh3 of an identity.
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
_ANSWER = struct.Struct("<Qq")
_pack, _unpack = _ANSWER.pack, _ANSWER.unpack


class Bucket:
    """Marks of one bucket: packed (payload, expires_ms) by key."""

    __slots__ = ("buckets", "marks")

    def __init__(self, buckets: int, marks: dict[int, bytes]) -> None:
        self.buckets = buckets
        self.marks = marks


def encode(bucket: Bucket) -> bytes:
    """The packed bucket."""
    marks = bucket.marks
    return struct.pack(f"<{len(marks) + 1}Q", bucket.buckets, *marks) + b"".join(marks.values())


def decode(data: bytes) -> Bucket:
    """The bucket of its packed form."""
    count = (len(data) - _WORD) // (_WORD + _ANSWER.size)
    buckets, *keys = struct.unpack_from(f"<{count + 1}Q", data)
    starts = range(_WORD * (count + 1), len(data), _ANSWER.size)
    return Bucket(buckets, {key: data[at : at + _ANSWER.size] for key, at in zip(keys, starts, strict=True)})


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
        answer = None if bucket is None else bucket.marks.get(mark)
        return None if answer is None else _unpack(answer)

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
        bucket.marks[mark] = _pack(payload, expires_ms)
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
    kept = {mark: answer for mark, answer in bucket.marks.items() if _unpack(answer)[1] >= before_ms}
    dropped = len(kept) < len(bucket.marks)
    bucket.marks = kept
    return dropped


def _move(source: Bucket, new: int) -> Bucket:
    """Take the marks that belong to the new bucket out of the one it splits from."""
    moved = {mark: answer for mark, answer in source.marks.items() if bucket_of(mark, new + 1) == new}
    for mark in moved:
        del source.marks[mark]
    return Bucket(0, moved)

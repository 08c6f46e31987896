"""Mark tables: have we seen this before? Twenty-four bytes an answer.

A bucket is a bytearray: eight bytes (how many buckets there are; only bucket 0's counts), then entries
of key u64, payload u64, expires_ms i64. The look-up is `bytes.find` with a check that the hit is aligned.
Keys must be hashes (evenly spread), such as xxh3 of an identity.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from atp.lane.linear import bucket_of, split_source
from atp.lane.rows import Rows
from atp.lane.table import BaseTable

BUCKET_MARKS = 64
HEADER = 8
ENTRY = 24

_entry = struct.Struct("<QQq")
_answer = struct.Struct("<Qq")
_count = struct.Struct("<Q")

Bucket = bytearray


class MarkTable(BaseTable):
    """Marks by record key and a 64-bit hash; each expires."""

    def __init__(self, name: str, bucket_marks: int = BUCKET_MARKS) -> None:
        super().__init__(name)
        self._full = HEADER + bucket_marks * ENTRY

    def codec(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """The bytes as they are."""
        return bytes, bytearray

    def get(self, key: str, mark: int) -> tuple[int, int] | None:
        """Payload and expiry of a mark, or None."""
        bucket = self._find(self.rows, key, mark)[1]
        if bucket is None:
            return None
        at = _position(bucket, mark.to_bytes(8, "little"))
        return None if at < 0 else _answer.unpack_from(bucket, at + 8)

    def put(self, key: str, mark: int, payload: int, expires_ms: int, drop_before_ms: int) -> None:
        """Insert or overwrite; a full bucket first loses what expired before `drop_before_ms`."""
        rows = self.rows
        where, bucket = self._find(rows, key, mark)
        if bucket is None:
            bucket = bytearray(_count.pack(1))
        at = _position(bucket, mark.to_bytes(8, "little"))
        rows.put(where, bucket)
        if at >= 0:
            _entry.pack_into(bucket, at, mark, payload, expires_ms)
            return
        full = len(bucket) >= self._full and not _drop_expired(bucket, drop_before_ms)
        bucket += _entry.pack(mark, payload, expires_ms)
        if full:
            self._split(rows, key)

    def _find(self, rows: Rows, key: str, mark: int) -> tuple[tuple[str, str], Bucket | None]:
        where = (key, "0")
        first = rows.hot.get(where) or rows.load(where)
        if first is None:
            return where, None
        buckets = int.from_bytes(first[:HEADER], "little")
        index = bucket_of(mark, buckets) if buckets > 1 else 0
        if index == 0:
            return where, first
        where = (key, str(index))
        return where, rows.hot.get(where) or rows.load(where)

    def _split(self, rows: Rows, key: str) -> None:
        first = rows.load((key, "0"))
        new = _count.unpack_from(first)[0]
        _count.pack_into(first, 0, new + 1)
        rows.put((key, "0"), first)
        source_at = (key, str(split_source(new)))
        source = rows.load(source_at)
        if source is not None:
            moved = _move(source, new)
            rows.put((key, str(new)), moved)
            rows.put(source_at, source)


def _position(bucket: Bucket, needle: bytes) -> int:
    """Where the entry of a mark begins, or -1; a hit inside another entry is passed over."""
    at = bucket.find(needle, HEADER)
    while at >= 0 and (at - HEADER) % ENTRY:
        at = bucket.find(needle, at + 1)
    return at


def _drop_expired(bucket: Bucket, before_ms: int) -> bool:
    """Remove expired entries in place; whether there were any."""
    kept = [e for e in _entry.iter_unpack(memoryview(bytes(bucket))[HEADER:]) if e[2] >= before_ms]
    if HEADER + len(kept) * ENTRY == len(bucket):
        return False
    bucket[HEADER:] = b"".join([_entry.pack(*e) for e in kept])
    return True


def _move(source: Bucket, new: int) -> Bucket:
    """Take the entries that belong to the new bucket out of the one it splits from."""
    entries = list(_entry.iter_unpack(memoryview(bytes(source))[HEADER:]))
    goes = [bucket_of(e[0], new + 1) == new for e in entries]
    source[HEADER:] = b"".join([_entry.pack(*e) for e, go in zip(entries, goes, strict=True) if not go])
    return bytearray(_count.pack(0)) + b"".join([_entry.pack(*e) for e, go in zip(entries, goes, strict=True) if go])

"""Mark tables: have we seen this before? Twenty-four bytes an answer.

A bucket is a bytearray: eight bytes (how many buckets there are; only bucket 0's counts), then all keys
(u64 each), then their answers (payload u64, expires_ms i64). The look-up is `bytes.find` over the keys,
with a check that the hit is aligned. Keys must be hashes (evenly spread), such as xxh3 of an identity.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from atp.lane.linear import bucket_of, split_source
from atp.lane.rows import Rows
from atp.lane.table import BaseTable

BUCKET_MARKS = 64
HEADER, KEY, ANSWER = 8, 8, 16

_count = struct.Struct("<Q")
_answer = struct.Struct("<Qq")

Bucket = bytearray
Entry = tuple[bytes, bytes]


class MarkTable(BaseTable):
    """Marks by record key and a 64-bit hash; each expires."""

    def __init__(self, name: str, bucket_marks: int = BUCKET_MARKS) -> None:
        super().__init__(name)
        self._full = HEADER + bucket_marks * (KEY + ANSWER)

    def codec(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """The bytes as they are."""
        return bytes, bytearray

    def get(self, key: str, mark: int) -> tuple[int, int] | None:
        """Payload and expiry of a mark, or None."""
        bucket = self._find(self._rows or self.rows, key, mark)[1]
        if bucket is None:
            return None
        at = _position(bucket, mark.to_bytes(KEY, "little"))
        return None if at < 0 else _answer.unpack_from(bucket, at)

    def put(self, key: str, mark: int, payload: int, expires_ms: int, drop_before_ms: int) -> None:
        """Insert or overwrite; a full bucket first loses what expired before `drop_before_ms`."""
        rows = self.rows
        where, bucket = self._find(rows, key, mark)
        if bucket is None:
            bucket = bytearray(_count.pack(1))
        needle = mark.to_bytes(KEY, "little")
        at = _position(bucket, needle)
        rows.put(where, bucket)
        if at >= 0:
            _answer.pack_into(bucket, at, payload, expires_ms)
            return
        full = len(bucket) >= self._full and not _drop_expired(bucket, drop_before_ms)
        end = _end_of_keys(bucket)
        bucket[end:end] = needle
        bucket += _answer.pack(payload, expires_ms)
        if full:
            self._split(rows, key)

    def _find(self, rows: Rows, key: str, mark: int) -> tuple[tuple[str, str], Bucket | None]:
        where, hot = (key, "0"), rows.hot
        first = hot.get(where) or rows.load(where)
        if first is None:
            return where, None
        (buckets,) = _count.unpack_from(first)
        if buckets == 1:
            return where, first
        index = bucket_of(mark, buckets)
        if index == 0:
            return where, first
        where = (key, str(index))
        return where, hot.get(where) or rows.load(where)

    def _split(self, rows: Rows, key: str) -> None:
        first = rows.load((key, "0"))
        (new,) = _count.unpack_from(first)
        _count.pack_into(first, 0, new + 1)
        rows.put((key, "0"), first)
        source_at = (key, str(split_source(new)))
        source = rows.load(source_at)
        if source is not None:
            rows.put((key, str(new)), _move(source, new))
            rows.put(source_at, source)


def _end_of_keys(bucket: Bucket) -> int:
    return HEADER + (len(bucket) - HEADER) // 3


def _position(bucket: Bucket, needle: bytes) -> int:
    """Where the answer of a mark begins, or -1; a hit across two keys is passed over."""
    end = HEADER + (len(bucket) - HEADER) // 3
    at = bucket.find(needle, HEADER, end)
    while at >= 0 and at % KEY:
        at = bucket.find(needle, at + 1, end)
    return at if at < 0 else end + (at - HEADER) * 2


def _entries(bucket: Bucket) -> list[Entry]:
    data, end = bytes(bucket), _end_of_keys(bucket)
    marks = [data[i : i + KEY] for i in range(HEADER, end, KEY)]
    return list(zip(marks, [data[i : i + ANSWER] for i in range(end, len(data), ANSWER)], strict=True))


def _fill(bucket: Bucket, entries: Iterable[Entry]) -> None:
    kept = list(entries)
    bucket[HEADER:] = b"".join([mark for mark, _ in kept]) + b"".join([answer for _, answer in kept])


def _drop_expired(bucket: Bucket, before_ms: int) -> bool:
    """Remove expired entries in place; whether there were any."""
    entries = _entries(bucket)
    kept = [entry for entry in entries if _answer.unpack(entry[1])[1] >= before_ms]
    _fill(bucket, kept)
    return len(kept) < len(entries)


def _move(source: Bucket, new: int) -> Bucket:
    """Take the entries that belong to the new bucket out of the one it splits from."""
    stay: list[Entry] = []
    goes: list[Entry] = []
    for entry in _entries(source):
        index = bucket_of(int.from_bytes(entry[0], "little"), new + 1)
        (goes if index == new else stay).append(entry)
    _fill(source, stay)
    target = bytearray(_count.pack(0))
    _fill(target, goes)
    return target

"""Spread tables: many small rows of one record key in hash buckets of about sixteen.

A bucket is what is loaded, encoded and changelogged, so a key with a hundred thousand rows costs per
change what a key with twenty costs. Bucket 0 knows how many buckets there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
import xxhash

from atp.lane.linear import bucket_of, split_source
from atp.lane.rows import Rows
from atp.lane.table import BaseTable

R = TypeVar("R")
BUCKET_ROWS = 16


def _hash(subkey: str) -> int:
    return xxhash.xxh3_64_intdigest(subkey.encode())


class SpreadTable(BaseTable, Generic[R]):
    """Rows by record key and subkey. Rows are mutable: change one in place, then `put` it again."""

    def __init__(self, name: str, row: type[R], bucket_rows: int = BUCKET_ROWS) -> None:
        super().__init__(name)
        self.row = row
        self._limit = bucket_rows
        rows: Any = dict.__class_getitem__((str, row))
        self._bucket: Any = msgspec.defstruct("Bucket", [("buckets", int), ("rows", rows)], array_like=True)

    def codec(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """MessagePack of a bucket of rows of the declared type."""
        return msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(self._bucket).decode

    def get(self, key: str, subkey: str, default: Any = None) -> Any:
        """One row, or the default."""
        bucket = self._find(self.rows, key, subkey)[1]
        return default if bucket is None else bucket.rows.get(subkey, default)

    def put(self, key: str, subkey: str, row: R) -> None:
        """Insert or overwrite one row."""
        rows = self.rows
        at, bucket = self._find(rows, key, subkey)
        if bucket is None:
            bucket = self._bucket(1, {})
        grows = subkey not in bucket.rows
        bucket.rows[subkey] = row
        rows.put(at, bucket)
        if grows and len(bucket.rows) > self._limit:
            self._drop_old(rows, key, bucket)
            if len(bucket.rows) > self._limit:
                self._split(rows, key)

    def delete(self, key: str, subkey: str) -> None:
        """Remove one row if it is there."""
        rows = self.rows
        at, bucket = self._find(rows, key, subkey)
        if bucket is not None and bucket.rows.pop(subkey, None) is not None:
            rows.put(at, bucket)

    def items(self, key: str) -> Iterator[tuple[str, R]]:
        """Every row of a record key; loads all its buckets, so keep it rare."""
        rows = self.rows
        first = rows.load((key, "0"))
        for index in range(first.buckets if first is not None else 0):
            bucket = rows.load((key, str(index)))
            if bucket is not None:
                yield from list(bucket.rows.items())

    def forget(self, key: str, before_ms: int) -> None:
        """Drop rows with `forget_at_ms < before_ms` from the buckets of the key this commit rewrites."""
        self.rows.notes[key] = before_ms

    def before_commit(self, rows: Rows) -> None:
        """Drop forgotten rows from dirty buckets, and buckets that became empty."""
        for at in rows.dirty:
            bucket = rows.hot[at]
            if bucket is not None and at[0] in rows.notes:
                self._drop_old(rows, at[0], bucket)
            if bucket is not None and not bucket.rows and bucket.buckets <= 1:
                rows.hot[at] = None

    def _find(self, rows: Rows, key: str, subkey: str) -> tuple[tuple[str, str], Any]:
        at = (key, "0")
        first = rows.hot.get(at) or rows.load(at)
        if first is None or first.buckets == 1:
            return at, first
        index = bucket_of(_hash(subkey), first.buckets)
        if index == 0:
            return at, first
        at = (key, str(index))
        return at, rows.hot.get(at) or rows.load(at)

    def _split(self, rows: Rows, key: str) -> None:
        first = rows.load((key, "0"))
        new, source_at = first.buckets, (key, str(split_source(first.buckets)))
        source = rows.load(source_at)
        first.buckets = new + 1
        rows.put((key, "0"), first)
        if source is None:
            return
        moved = [s for s in source.rows if bucket_of(_hash(s), new + 1) == new]
        if moved:
            rows.put((key, str(new)), self._bucket(0, {s: source.rows.pop(s) for s in moved}))
            rows.put(source_at, source)

    def _drop_old(self, rows: Rows, key: str, bucket: Any) -> None:
        before_ms = rows.notes.get(key)
        if before_ms is None:
            return
        kept = {s: row for s, row in bucket.rows.items() if not _is_old(row, before_ms)}
        if len(kept) != len(bucket.rows):
            bucket.rows = kept


def _is_old(row: Any, before_ms: int) -> bool:
    at_ms = getattr(row, "forget_at_ms", None)
    return at_ms is not None and at_ms < before_ms

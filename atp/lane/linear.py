"""Linear hashing: buckets grow one at a time, so the cost of an insert does not depend on the size."""

from __future__ import annotations


def bucket_of(hashed: int, buckets: int) -> int:
    """Bucket of a hash among `buckets` buckets."""
    size = 1 << buckets.bit_length()
    index = hashed & (size - 1)
    return index if index < buckets else hashed & (size // 2 - 1)


def split_source(buckets: int) -> int:
    """Bucket that shares its content with the next new bucket, number `buckets`."""
    return buckets - (1 << (buckets.bit_length() - 1))

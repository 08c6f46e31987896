"""Keys: tuples of strings as ordered bytes, table ids, and the partitioner every producer agrees on."""

from __future__ import annotations

from functools import lru_cache

import xxhash

Key = tuple[str, ...]

# Two bytes in front of every changelog key and store key. Zero is the lane's own.
LANE_ID = b"\x00\x00"
META_KEY = LANE_ID + b"meta"
LOCAL_KEY = LANE_ID + b"local"


def table_id(name: str) -> bytes:
    """Two bytes that depend on the name alone, so that the order of declarations may change."""
    return (xxhash.xxh3_64_intdigest(name.encode()) % 0xFFFF + 1).to_bytes(2, "big")


def encode(key: Key) -> bytes:
    """Each part ends in a zero byte, so keys sort by part and a tuple is a prefix of its extensions."""
    joined = "\x00".join(key)
    if joined.count("\x00") == len(key) - 1 and "\x01" not in joined:
        return joined.encode() + b"\x00"
    return b"".join(_escape(part) + b"\x00" for part in key)


def _escape(part: str) -> bytes:
    return part.encode().replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")


def decode(data: bytes) -> Key:
    """Inverse of `encode`."""
    parts = data[:-1].split(b"\x00")
    if b"\x01" not in data:
        return tuple([part.decode() for part in parts])
    return tuple([part.replace(b"\x01\x01", b"\x00").replace(b"\x01\x02", b"\x01").decode() for part in parts])


def first_part(data: bytes) -> bytes:
    """Encoded first part of an encoded key, with its end."""
    return data[: data.index(b"\x00") + 1]


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 of a key, as its Java producer computes it."""
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * 0x5BD1E995 & 0xFFFFFFFF
        k = (k ^ k >> 24) * 0x5BD1E995 & 0xFFFFFFFF
        h = h * 0x5BD1E995 & 0xFFFFFFFF ^ k
    if length != whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return h ^ h >> 15


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """Partition number Kafka's default partitioner gives a key."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions

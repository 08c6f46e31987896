"""The canonical record on the wire: content, and around it what does not count as content.

Same content is not published again. `version`, `published_at`, `as_of` and `inputs` depend on when and in which
batches facts were worked off; they are no part of a comparison.
"""

from __future__ import annotations

from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from atp.domain.availability import Content
from atp.domain.times import rfc3339

NOT_CONTENT = ("version", "published_at", "as_of", "inputs")
_encode = msgspec.json.encode
_RECORD = (
    b'{"schema_version":"1.0","sku":%b,"region":%b,"version":%d,"as_of":"%b","published_at":"%b",%b,"inputs":%b}'
)


class Published(msgspec.Struct, array_like=True, gc=False):
    """What was last published for a (SKU, region)."""

    version: int = 0
    digest: int = 0
    valid_until_ms: int = 0  # a later now may change the record without a fact
    stream_until_ms: int = 0  # a later stream time may, though no fact named its region

    def holds(self, now_ms: int, stream_ms: int) -> bool:
        """Whether neither time nor stream time can have changed the record."""
        return now_ms < self.valid_until_ms and stream_ms <= self.stream_until_ms


def content_bytes(content: Content) -> bytes:
    """The content as JSON, always the same bytes for the same content."""
    return _encode(content)


def digest(content: bytes) -> int:
    """63-bit digest by which a republication of the same content is recognised."""
    return int(xxh3_64_intdigest(content)) >> 1


def record_key(sku: str, region: str) -> str:
    """Key of a canonical record."""
    return f"{sku}|{region}"


def record_bytes(
    sku: str, region: str, version: int, as_of_ms: int, published_ms: int, content: bytes, inputs: bytes
) -> bytes:
    """The canonical record: the encoded content between its envelope's fields."""
    head = (_encode(sku), _encode(region), version, rfc3339(as_of_ms).encode(), rfc3339(published_ms).encode())
    return _RECORD % (*head, content[1:-1], inputs)


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what is not content."""
    return {name: value for name, value in record.items() if name not in NOT_CONTENT}

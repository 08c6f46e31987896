"""What a channel reads off `atp.availability.v1`: the wire contract, tolerant of fields that it does not know."""

from __future__ import annotations

from datetime import datetime

import msgspec

MAJOR = "1."


class Offer(msgspec.Struct, frozen=True, gc=False):
    """What one channel may sell, in units: `sellable` was picked by the mode when the record was published."""

    sellable: int
    confident: int
    conservative: int
    mode: str
    confidence: str
    reasons: tuple[str, ...] = ()


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """What may be promised for a day (units)."""

    date: str
    atp: int


class Record(msgspec.Struct, frozen=True):
    """One canonical record; `as_of` and `published_at` are RFC 3339 instants."""

    sku: str
    region: str
    version: int
    as_of: str
    published_at: str
    atp: int
    channels: dict[str, Offer]
    schema_version: str = "1.0"
    shortage: int = 0
    on_hand: dict[str, int] = {}
    reserved: dict[str, int] = {}
    buckets: tuple[Bucket, ...] = ()
    flags: tuple[str, ...] = ()
    policy_version: int = 0


class Measured(msgspec.Struct, frozen=True):
    """What a channel reads off `atp.freshness.v1`: when its region was last looked at."""

    region: str
    as_of: datetime


class UnreadableRecordError(ValueError):
    """A record of another major version, or none at all."""


_decode = msgspec.json.Decoder(Record).decode
decode_measured = msgspec.json.Decoder(Measured).decode


def decode_record(value: bytes) -> Record:
    """The record in a message, or UnreadableRecordError."""
    try:
        found = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableRecordError(str(error)) from None
    if not found.schema_version.startswith(MAJOR):
        raise UnreadableRecordError(f"schema_version = {found.schema_version!r}: {MAJOR}x is allowed")
    return found

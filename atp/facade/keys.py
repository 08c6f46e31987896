"""Who may ask: API keys per channel, kept as SHA-256 only, each with its own rate limit.

A key is 256 random bits, so one round of SHA-256 tells nothing about it (a slow hash is for what people choose).
The document: `[{"name": …, "channel": …, "sha256": …, "per_second": …}]`; a channel of `*` is an operator, who may
ask for every channel and use the console's actions. Limits hold per process: n replicas let n times as much through.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Annotated, Any

import msgspec
from fastapi import Request

from atp.domain.decoding import explain_invalid
from atp.facade.problems import ProblemError

OPERATOR = "*"
# A bulk of the largest size must fit into a full bucket.
MAX_BULK = 1_000


class KeyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of the document. `per_second`: look-ups a second, a bulk counts each of its items."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    channel: Annotated[str, msgspec.Meta(min_length=1)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    per_second: Annotated[int, msgspec.Meta(ge=1)] = 1_000


class KeysError(ValueError):
    """Keys that cannot be used: names what is wrong, never the key."""


class Bucket:
    """A token bucket: `per_second` flow in, a second's worth or one largest bulk is kept."""

    __slots__ = ("_at_s", "_left", "_most", "_per_second")

    def __init__(self, per_second: int) -> None:
        self._per_second, self._most = per_second, max(per_second, MAX_BULK)
        self._left, self._at_s = float(self._most), time.monotonic()

    def take(self, tokens: int, now_s: float) -> float:
        """Take tokens: 0.0, or how many seconds to wait for them (then none are taken)."""
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        if self._left < tokens:
            return (tokens - self._left) / self._per_second
        self._left -= tokens
        return 0.0


class Caller:
    """Whoever asks with one key."""

    __slots__ = ("_bucket", "channel", "name")

    def __init__(self, row: KeyRow | None) -> None:
        self.name = row.name if row else "anyone"
        self.channel = row.channel if row else OPERATOR
        self._bucket = Bucket(row.per_second) if row else None

    @property
    def is_operator(self) -> bool:
        """Whether every channel, and the actions, are open to it."""
        return self.channel == OPERATOR

    def spend(self, tokens: int) -> None:
        """Count look-ups; ProblemError 429 beyond the limit."""
        wait_s = self._bucket.take(tokens, time.monotonic()) if self._bucket else 0.0
        if wait_s:
            detail = f"key {self.name!r}: its limit is used up for {wait_s:.1f} s"
            raise ProblemError(429, "rate-limited", "Too many requests", detail, retry_after_s=int(wait_s) + 1)

    def channel_of(self, asked: str | None) -> str:
        """The channel meant; ProblemError when it is not this key's."""
        if self.is_operator:
            if asked is None:
                errors = [{"field": "channel", "value": None, "allowed": "the name of a sales channel"}]
                detail = "channel is missing, and no key says which one"
                raise ProblemError(422, "invalid-request", "Invalid request", detail, errors)
            return asked
        if asked not in (None, self.channel):
            errors = [{"field": "channel", "value": asked, "allowed": self.channel}]
            detail = f"channel = {asked!r}: this key is for {self.channel!r}"
            raise ProblemError(403, "other-channel", "Another channel's key", detail, errors)
        return self.channel


class Keys:
    """The known keys. Without any, everybody is an operator: good for a machine of one's own only."""

    def __init__(self, rows: list[KeyRow]) -> None:
        self._callers = {row.sha256: Caller(row) for row in rows}
        self._anyone = None if rows else Caller(None)

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        return self._anyone is not None

    def caller(self, request: Request, cookie: str | None = None) -> Caller:
        """Who asks, or ProblemError 401."""
        if self._anyone is not None:
            return self._anyone
        found = self._callers.get(hashed(_given(request) or cookie or ""))
        if found is None:
            raise ProblemError(401, "no-key", "No valid key", "Authorization: Bearer KEY is needed, with a known key")
        return found


def _given(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")


def hashed(key: str) -> str:
    """What is kept of a key. Looked up by hash, so comparing takes no time that would tell anything of the key."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key(name: str, channel: str, per_second: int) -> tuple[str, KeyRow]:
    """A key that nobody knows yet, and its row for the document."""
    key = secrets.token_urlsafe(32)
    return key, KeyRow(name, channel, hashed(key), per_second)


def parse_keys(text: str | bytes) -> list[KeyRow]:
    """The rows of a document, or KeysError."""
    raw: Any = None
    try:
        raw = msgspec.json.decode(text)
        rows = msgspec.convert(raw, list[KeyRow])
    except msgspec.ValidationError as error:
        raise KeysError(f"API keys: {explain_invalid(raw, error)}") from None
    except msgspec.DecodeError as error:
        raise KeysError(f"API keys: no JSON array ({error})") from None
    if len({row.sha256 for row in rows}) < len(rows):
        raise KeysError("API keys: one key stands there twice")
    return rows


def load_keys(text: str | None) -> Keys:
    """The keys of the setting; KeysError when they cannot be used."""
    return Keys(parse_keys(text) if text is not None else [])

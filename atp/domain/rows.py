"""What the domain needs of the place where state is kept.

In a fold these are dictionaries; in the worker they are the lane's changelog-backed tables. A row is loaded,
changed in place and put back; a row that is not put back is not changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

R = TypeVar("R")


class Rows(Protocol[R]):
    """Rows by key; the key's first part is the SKU."""

    def get(self, key: tuple[str, ...], /) -> R | None: ...
    def __setitem__(self, key: tuple[str, ...], row: R, /) -> None: ...
    def __delitem__(self, key: tuple[str, ...], /) -> None: ...


class SpreadRows(Protocol[R]):
    """Many small rows of one SKU; rows whose `forget_at_ms` lies before what `forget` was told may vanish."""

    def get(self, sku: str, part: str, /) -> R | None: ...
    def put(self, sku: str, part: str, row: R, /) -> None: ...
    def items(self, sku: str, /) -> Iterable[tuple[str, R]]: ...
    def forget(self, sku: str, before_ms: int, /) -> None: ...


class Marks(Protocol):
    """Dedupe marks of a SKU: (payload, expires_ms) by a 64-bit key."""

    def get(self, sku: str, key: int, /) -> tuple[int, int] | None: ...
    def put(self, sku: str, key: int, payload: int, expires_ms: int, drop_before_ms: int, /) -> None: ...


class MemoryRows(dict[tuple[str, ...], R]):
    """Rows in a dictionary."""


class MemorySpread(dict[str, dict[str, R]]):
    """Spread rows in dictionaries; nothing is ever forgotten, which no reader may notice."""

    def get(self, sku: str, part: str) -> R | None:  # type: ignore[override]
        return dict.get(self, sku, {}).get(part)

    def put(self, sku: str, part: str, row: R) -> None:
        self.setdefault(sku, {})[part] = row

    def items(self, sku: str) -> list[tuple[str, R]]:  # type: ignore[override]
        return list(dict.get(self, sku, {}).items())

    def forget(self, sku: str, before_ms: int) -> None:
        return None


class MemoryMarks(dict[tuple[str, int], tuple[int, int]]):
    """Marks in a dictionary."""

    def get(self, sku: str, key: int) -> tuple[int, int] | None:  # type: ignore[override]
        return dict.get(self, (sku, key))

    def put(self, sku: str, key: int, payload: int, expires_ms: int, drop_before_ms: int) -> None:
        self[sku, key] = (payload, expires_ms)

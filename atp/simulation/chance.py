"""Chance by name: each question has its own answer, whatever else was asked before.

So the same shopper, parcel and trouble meet the same fate under every policy of a seed.
"""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

_PARTS = 2**53


class Chance:
    """Draws of one seed."""

    __slots__ = ("seed",)

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def part(self, *names: object) -> float:
        """Evenly from [0, 1)."""
        return int(xxh3_64_intdigest("|".join(map(str, names)).encode(), self.seed)) % _PARTS / _PARTS

    def happens(self, share: float, *names: object) -> bool:
        """True in a share of the cases."""
        return self.part(*names) < share

    def between(self, span: tuple[float, float], *names: object) -> float:
        """Evenly from a span."""
        return span[0] + (span[1] - span[0]) * self.part(*names)

    def whole(self, span: tuple[float, float], *names: object) -> int:
        """A whole number, evenly from a span, rounded down."""
        return int(self.between(span, *names))

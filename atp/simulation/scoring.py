"""Scores against the truth: what was sold that is not there, what was refused that was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec


class AtClose(NamedTuple):
    """One (SKU, region) when the world stands still."""

    shipped: int
    open: int  # accepted and not shipped yet
    shelf: int  # sellable units that lie there
    refused: int


class Score(msgspec.Struct, kw_only=True):
    """Units of a day under one policy. `sold_units`: accepted, neither given back nor oversold."""

    oversold_units: int = 0
    undersold_units: int = 0
    sold_units: int = 0

    def add(self, other: Score) -> Score:
        """Both together."""
        return Score(
            oversold_units=self.oversold_units + other.oversold_units,
            undersold_units=self.undersold_units + other.undersold_units,
            sold_units=self.sold_units + other.sold_units,
        )


def oversold(at: AtClose) -> int:
    """Units accepted that cannot be delivered."""
    return max(0, at.open - at.shelf)


def undersold(at: AtClose) -> int:
    """Units refused that could have been delivered."""
    return min(at.refused, max(0, at.shelf - at.open))


def score(records: Iterable[AtClose]) -> Score:
    """The day's score over all records."""
    found = Score()
    for at in records:
        over = oversold(at)
        found = found.add(
            Score(oversold_units=over, undersold_units=undersold(at), sold_units=at.shipped + at.open - over)
        )
    return found

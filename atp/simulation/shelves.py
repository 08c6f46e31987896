"""What physically lies where. Units never appear or vanish but through the doors."""

from __future__ import annotations

from collections import Counter, defaultdict

from atp.domain.facts import StockState

Shelf = tuple[str, str]  # SKU, node


class Shelves:
    """Units by (SKU, node) and state; what came in through the doors and what went out."""

    def __init__(self) -> None:
        self.units: defaultdict[Shelf, Counter[StockState]] = defaultdict(Counter)
        self.came_in = self.went_out = 0

    def lying(self, shelf: Shelf, state: StockState = StockState.SELLABLE) -> int:
        """Units of a shelf in a state."""
        return self.units[shelf][state]

    def bring(self, shelf: Shelf, state: StockState, units: int) -> None:
        """Units come in."""
        self.units[shelf][state] += units
        self.came_in += units

    def carry_off(self, shelf: Shelf, units: int) -> None:
        """Sellable units leave."""
        self._lift(shelf, StockState.SELLABLE, units)
        self.went_out += units

    def move(self, shelf: Shelf, source: StockState, target: StockState, units: int) -> None:
        """Units change their state."""
        self._lift(shelf, source, units)
        self.units[shelf][target] += units

    def _lift(self, shelf: Shelf, state: StockState, units: int) -> None:
        assert 0 < units <= self.units[shelf][state], f"{shelf}: {units} {state} units are not there"
        self.units[shelf][state] -= units

    def are_conserved(self) -> bool:
        """Whether everything that came in lies somewhere or went out."""
        return self.came_in == self.went_out + sum(sum(states.values()) for states in self.units.values())

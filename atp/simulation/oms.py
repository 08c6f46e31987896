"""Order lines as they truly are, from the shopper's click to the parcel, and what OMS says of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from atp.domain.facts import LineState
from atp.domain.times import MINUTE_MS
from atp.simulation.agenda import Agenda
from atp.simulation.chance import Chance
from atp.simulation.places import Place, Places
from atp.simulation.plan import OrderPlan, Span
from atp.simulation.shelves import Shelf, Shelves

if TYPE_CHECKING:
    from atp.simulation.shoppers import Wish
    from atp.simulation.sources import Sources


class OrderLine(msgspec.Struct):
    """An order line. requested = open + consumed + released, always."""

    reservation_id: str
    sku: str
    region: str
    channel: str
    requested: int
    open: int
    state: LineState
    expires_ms: int = 0
    consumed: int = 0
    released: int = 0
    version: int = 0
    node: str = ""


class Oms:
    """Allocates, ships, releases. It promises what was accepted and learns at the shelf whether that was true."""

    def __init__(
        self, plan: OrderPlan, chance: Chance, agenda: Agenda, places: Places, shelves: Shelves, sources: Sources
    ) -> None:
        self._plan, self._chance, self._agenda = plan, chance, agenda
        self._places, self._shelves, self._sources = places, shelves, sources
        self.open_lines: dict[str, OrderLine] = {}
        self.open_units: Counter[tuple[str, str]] = Counter()  # (SKU, region)
        self.sold_units: Counter[tuple[str, str]] = Counter()  # shipped
        self._allocated: Counter[Shelf] = Counter()
        self._waiting: defaultdict[tuple[str, str], list[OrderLine]] = defaultdict(list)

    def place(self, wish: Wish, sku: str, units: int) -> None:
        """A shopper's order was accepted."""
        name, plan = f"r{wish.number}-{sku}", self._plan
        line = OrderLine(name, sku, wish.region, wish.channel, units, units, LineState.FIRM)
        self.open_lines[name] = line
        self.open_units[sku, wish.region] += units
        if self._chance.happens(plan.cart_share, name, "cart"):
            self._fill_cart(line)
        else:
            self._say(line, "placed")
            self._in(plan.allocate_minutes, self._allocate, line)
        if self._chance.happens(plan.cancelled_share, name, "cancelled"):
            self._in(plan.cancel_minutes, self._cancel, line)

    def _fill_cart(self, line: OrderLine) -> None:
        line.state = LineState.SOFT
        line.expires_ms = self._agenda.now_ms + self._plan.soft_ttl_minutes * MINUTE_MS
        self._say(line, "placed")
        if self._chance.happens(self._plan.abandoned_share, line.reservation_id, "abandoned"):
            self._agenda.plan(line.expires_ms, self._expire, line)
        else:
            self._in(self._plan.confirm_minutes, self._confirm, line)

    def _confirm(self, line: OrderLine) -> None:
        if line.open:
            line.state = LineState.FIRM
            self._say(line, "confirmed")
            self._in(self._plan.allocate_minutes, self._allocate, line)

    def _expire(self, line: OrderLine) -> None:
        if line.open and line.state is LineState.SOFT:
            self._release(line, "expired")

    def _cancel(self, line: OrderLine) -> None:
        if line.open:
            self._release(line, "cancelled")

    def _release(self, line: OrderLine, what: str) -> None:
        self._take_back(line)
        self.open_units[line.sku, line.region] -= line.open
        line.released, line.open, line.state = line.open, 0, LineState.CLOSED
        del self.open_lines[line.reservation_id]
        self._say(line, what)
        self.serve(line.sku, line.region)

    def _allocate(self, line: OrderLine) -> None:
        if not line.open:
            return
        place = self._with_room(line)
        if place is not None:
            line.state, line.node = LineState.ALLOCATED, place.node
            self._allocated[line.sku, place.node] += line.open
            self._say(line, "allocated")
            self._in(self._plan.ship_minutes, self._ship, line)
        elif line.state is not LineState.BACKORDERED:
            line.state, line.node = LineState.BACKORDERED, ""
            self._waiting[line.sku, line.region].append(line)
            self._say(line, "short")

    def _with_room(self, line: OrderLine) -> Place | None:
        """The node with the most units that lie there for no other order, if they are enough."""
        best = max(self._places.by_region[line.region], key=lambda place: self.room((line.sku, place.node)))
        return best if self.room((line.sku, best.node)) >= line.open else None

    def room(self, shelf: Shelf) -> int:
        """Sellable units of a shelf that were not allocated to an order."""
        return self._shelves.lying(shelf) - self._allocated[shelf]

    def serve(self, sku: str, region: str) -> None:
        """Units came free: those who wait come first, in their order."""
        waiting = self._waiting.pop((sku, region), [])
        still = []
        for line in waiting:
            self._allocate(line)
            if line.state is LineState.BACKORDERED:
                still.append(line)
        if still:
            self._waiting[sku, region] = still

    def _ship(self, line: OrderLine) -> None:
        if not line.open:
            return
        shelf, units = (line.sku, line.node), line.open
        if self._shelves.lying(shelf) < units:
            self._take_back(line)
            line.state = LineState.FIRM
            self._allocate(line)
            return
        self._take_back(line)
        self._shelves.carry_off(shelf, units)
        self.open_units[line.sku, line.region] -= units
        self.sold_units[line.sku, line.region] += units
        line.consumed, line.open, line.state = units, 0, LineState.CLOSED
        del self.open_lines[line.reservation_id]
        self._sources.shipped(line, self._places.by_node[line.node], units)
        self._say(line, "shipped")

    def _take_back(self, line: OrderLine) -> None:
        if line.state is LineState.ALLOCATED:
            self._allocated[line.sku, line.node] -= line.open

    def _say(self, line: OrderLine, what: str) -> None:
        line.version += 1
        self._sources.reserved(line, what)

    def _in(self, span: Span, action: Callable[[OrderLine], None], line: OrderLine) -> None:
        minutes = self._chance.between(span, line.reservation_id, action.__name__, line.version)
        self._agenda.plan(self._agenda.now_ms + int(minutes * MINUTE_MS), action, line)

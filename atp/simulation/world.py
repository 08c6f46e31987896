"""The true world of a day: what lies where, what comes and goes, and who says so."""

from __future__ import annotations

from collections import Counter

from atp.domain.facts import Stage, StockState
from atp.domain.times import MINUTE_MS
from atp.simulation.agenda import Agenda
from atp.simulation.chance import Chance
from atp.simulation.oms import Oms
from atp.simulation.places import Place, Places
from atp.simulation.plan import Plan
from atp.simulation.post import Post
from atp.simulation.shelves import Shelves
from atp.simulation.shoppers import Key, Wish
from atp.simulation.sources import Sources

SELLABLE, DAMAGED, RECEIVING, RETURN_HOLD = (
    StockState.SELLABLE,
    StockState.DAMAGED,
    StockState.RECEIVING,
    StockState.RETURN_HOLD,
)
_STEPS = ((1, "planned", Stage.PLANNED), (2, "confirmed", Stage.CONFIRMED), (3, "shipped", Stage.IN_TRANSIT))


class TrueWorld:
    """Stores, warehouses and orders; each thing that happens is true at once and is said by its source."""

    def __init__(self, plan: Plan, chance: Chance, agenda: Agenda, post: Post) -> None:
        self.plan, self.chance, self.agenda = plan, chance, agenda
        self.places, self.shelves = Places(plan), Shelves()
        self.sources = Sources(agenda, post)
        self.oms = Oms(plan.orders, chance, agenda, self.places, self.shelves, self.sources)
        self.keys: list[Key] = []

    def open(self, wishes: list[Wish]) -> None:
        """Fill the shelves before the day, and plan all that does not depend on who buys what."""
        demand: Counter[Key] = Counter()
        for wish in wishes:
            demand[wish.sku, wish.region] += wish.units
        self.keys = sorted(demand)
        for key in self.keys:
            self._stock(key, demand[key])
        self._plan_returns(sum(demand.values()))
        self._plan_damages()

    def _stock(self, key: Key, expected: int) -> None:
        (sku, region), stock = key, self.plan.stock
        units = round(expected * self.chance.between(stock.cover, *key, "cover"))
        if self.chance.happens(stock.inbound_share, *key, "inbound"):
            inbound = round(units * stock.inbound_part)
            units -= inbound
            self._send_lorry(sku, region, inbound)
        left = units
        for place, part in zip(self.places.by_region[region], stock.nodes, strict=True):
            share = min(left, round(units * part))
            left -= share
            self._fill(sku, place, share)
        self._fill(sku, self.places.by_region[region][0], left)
        for place in self.places.by_region[region]:
            self.sources.counted(sku, place, {SELLABLE: self.shelves.lying((sku, place.node))})

    def _fill(self, sku: str, place: Place, units: int) -> None:
        if units:
            self.shelves.bring((sku, place.node), SELLABLE, units)

    def _send_lorry(self, sku: str, region: str, units: int) -> None:
        """A receipt that comes today, as planned."""
        if not units:
            return
        place, receipt_id = self.places.by_region[region][0], f"po-{region}-{sku}"
        for step in _STEPS:
            self.sources.received(sku, place, receipt_id, step, (units, 0, 0))
        at_ms = self.plan.minute_ms(self.chance.between(self.plan.stock.inbound_minutes, receipt_id))
        self.agenda.plan(at_ms, self._unload, sku, place, receipt_id, units)

    def _unload(self, sku: str, place: Place, receipt_id: str, units: int) -> None:
        self.shelves.bring((sku, place.node), RECEIVING, units)
        self.sources.received(sku, place, receipt_id, (4, "received", Stage.RECEIVED), (units, units, 0))
        self.agenda.plan(self.agenda.now_ms + 40 * MINUTE_MS, self._put_away, sku, place, receipt_id, units)

    def _put_away(self, sku: str, place: Place, receipt_id: str, units: int) -> None:
        self.shelves.move((sku, place.node), RECEIVING, SELLABLE, units)
        self.sources.received(sku, place, receipt_id, (5, "put_away", Stage.PUT_AWAY), (units, units, units))
        self.oms.serve(sku, place.region)

    def _plan_returns(self, demand: int) -> None:
        for number in range(int(demand * self.plan.stock.returned_share)):
            key = self.keys[int(self.chance.part("return", number, "key") * len(self.keys))]
            minute = self.chance.between((480, self.plan.world.shoppers_leave_minute), "return", number)
            self.agenda.plan(self.plan.minute_ms(minute), self.bring_back, key, f"return-{number}")

    def bring_back(self, key: Key, name: str) -> None:
        """A customer brings a unit back to a store; somebody looks at it later."""
        sku, region = key
        place = self.places.stores_of(region)[0]
        self.shelves.bring((sku, place.node), RETURN_HOLD, 1)
        self.sources.returned(sku, place, 1)
        later_ms = int(self.chance.between(self.plan.stock.dispose_minutes, name, "dispose") * MINUTE_MS)
        self.agenda.plan(self.agenda.now_ms + later_ms, self._dispose, sku, place, name)

    def _dispose(self, sku: str, place: Place, name: str) -> None:
        target = SELLABLE if self.chance.happens(self.plan.stock.resold_share, name, "resold") else DAMAGED
        self.shelves.move((sku, place.node), RETURN_HOLD, target, 1)
        self.sources.moved(sku, place, RETURN_HOLD, target, 1, "return")
        self.oms.serve(sku, place.region)

    def _plan_damages(self) -> None:
        for number in range(self.plan.stock.damages):
            sku, region = self.keys[int(self.chance.part("damage", number, "key") * len(self.keys))]
            minute = self.chance.between((0, self.plan.world.close_minute), "damage", number)
            place = self.places.by_region[region][0]
            self.agenda.plan(self.plan.minute_ms(minute), self.damage, sku, place, f"damage-{number}", 1)

    def damage(self, sku: str, place: Place, damage_id: str, wanted: int) -> None:
        """Units on a shelf break, no more than lie there."""
        units = min(wanted, self.shelves.lying((sku, place.node)))
        if units > 0:
            self.shelves.move((sku, place.node), SELLABLE, DAMAGED, units)
            self.sources.damaged(sku, place, damage_id, units)

    def lying(self, key: Key) -> int:
        """Sellable units of a region."""
        sku, region = key
        return sum(self.shelves.lying((sku, place.node)) for place in self.places.by_region[region])

    def deliverable(self, key: Key) -> int:
        """Sellable units that nobody was promised; below 0: promised and not there."""
        return self.lying(key) - self.oms.open_units[key]

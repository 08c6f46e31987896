"""The whole product as one pure function: facts in log order → canonical records.

The worker does the same with the same functions, a batch at a time; a fold is what it is held against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from atp.domain import damages, receipts, reservations, stock
from atp.domain.availability import NO_DEMAND, NO_STOCK, NO_SUPPLY, Reckoning, Situation, availability
from atp.domain.documents import History
from atp.domain.facts import Fact, Reservation
from atp.domain.freshness import WatermarkBook
from atp.domain.intake import Admitted, Duplicate, Horizons, SkuHead, admit
from atp.domain.modes import ModeBook
from atp.domain.nodes import NodeBook
from atp.domain.policy import PolicyBook
from atp.domain.receipts import ReceiptRows
from atp.domain.refusals import Refusal
from atp.domain.reservations import ReservationRows
from atp.domain.routing import stages_of
from atp.domain.rows import Marks, MemoryMarks, MemoryRows, MemorySpread, Rows, SpreadRows
from atp.domain.stock import StockCount, StockEffect, StockRows
from atp.domain.times import FOREVER_MS


class State(msgspec.Struct):
    """All tables of the SKU topology. In the worker each one is a changelog-backed table of the same name."""

    heads: Rows[SkuHead]
    marks: Marks
    stock: StockRows
    receipts: ReceiptRows
    damages: SpreadRows[History]
    reservations: ReservationRows

    @classmethod
    def in_memory(cls) -> State:
        """Empty state in dictionaries."""
        return cls(
            MemoryRows(),
            MemoryMarks(),
            StockRows(MemoryRows(), MemoryRows(), MemoryRows()),
            ReceiptRows(MemorySpread(), MemoryRows()),
            MemorySpread(),
            ReservationRows(MemorySpread(), MemoryRows()),
        )


class World(msgspec.Struct):
    """What people and sources say: it enters when records are reckoned, never into the state of facts."""

    policies: PolicyBook = msgspec.field(default_factory=PolicyBook)
    nodes: NodeBook = msgspec.field(default_factory=NodeBook)
    modes: ModeBook = msgspec.field(default_factory=ModeBook)
    watermarks: WatermarkBook = msgspec.field(default_factory=WatermarkBook)

    def region_of(self, fact: Fact) -> str:
        """The region of a fact's node, or its own where no node decides."""
        node = None if type(fact) is Reservation or fact.node is None else self.nodes.get(fact.node)
        return (fact.region or "") if node is None else node.region


def apply(
    fact: Fact, state: State, horizons: Horizons, now_ms: int, compared_ms: int = -FOREVER_MS
) -> Admitted | Duplicate | Refusal:
    """Judge one fact and, if it is admitted, let it do what it does. `compared_ms`: see `intake.admit`."""
    admitted = admit(fact, state.heads, state.marks, horizons, now_ms, compared_ms)
    if isinstance(admitted, Admitted):
        transition(admitted, state, horizons)
    return admitted


def transition(admitted: Admitted, state: State, horizons: Horizons) -> None:
    """fact → state, in the order of the worker's stages: documents, stock, reservations."""
    for stage in stages_of(admitted):
        match stage:
            case "receipts":
                _place(receipts.apply(admitted, state.receipts, horizons)[0], state, horizons)
            case "damages":
                _place(damages.apply(admitted, state.damages, horizons), state, horizons)
            case "stock":
                _place([stock.effect_of(admitted)], state, horizons)
            case "reservations":
                reservations.apply(admitted, state.reservations, horizons)


def _place(effects: Sequence[StockEffect | StockCount], state: State, horizons: Horizons) -> None:
    for effect in effects:
        stock.apply(effect, state.stock, horizons)


def regions_of(sku: str, state: State, world: World) -> list[str]:
    """The regions in which a SKU has a record."""
    head = state.heads.get((sku,))
    return [] if head is None else world.nodes.regions_of(head.nodes, head.regions)


def situations(
    sku: str, state: State, world: World, horizons: Horizons, now_ms: int, regions: Sequence[str]
) -> Iterator[Situation]:
    """Gather what bears on each record of a SKU, region by region."""
    head = state.heads.get((sku,))
    if head is None:
        return
    demand = state.reservations.demand.get((sku,)) or NO_DEMAND
    supply = state.receipts.supply.get((sku,)) or NO_SUPPLY
    for region in regions:
        nodes = [
            (world.nodes[name], state.stock.nodes.get((sku, name)) or NO_STOCK)
            for name in head.nodes
            if name in world.nodes and world.nodes[name].region == region
        ]
        policy = world.policies.resolve(sku, region)
        yield Situation(
            sku, region, head, nodes, demand, supply, policy, world.modes, world.watermarks, horizons, now_ms
        )


def reckon(
    sku: str, state: State, world: World, horizons: Horizons, now_ms: int, regions: Sequence[str] | None = None
) -> Iterator[tuple[str, Reckoning]]:
    """(region, reckoning) of the records of a SKU: of all of them, or of some regions."""
    wanted = regions_of(sku, state, world) if regions is None else regions
    for situation in situations(sku, state, world, horizons, now_ms, wanted):
        yield situation.region, availability(situation)

"""The regions, their nodes, and who owns which truth."""

from __future__ import annotations

from typing import NamedTuple

from atp.domain.facts import Fact
from atp.simulation.plan import Plan

OMS, WMS, STORES, PURCHASING = "oms", "wms", "stores", "purchasing"
SOURCES = (OMS, WMS, STORES, PURCHASING)


class Place(NamedTuple):
    """A node. `owner`: the source that owns its stock."""

    node: str
    region: str
    owner: str


class Places:
    """All nodes by region and by name."""

    def __init__(self, plan: Plan) -> None:
        world = plan.world
        self.regions = tuple(world.regions)
        self.by_region = {region: self._of(region, world.warehouses, world.stores) for region in self.regions}
        self.by_node = {place.node: place for places in self.by_region.values() for place in places}

    @staticmethod
    def _of(region: str, warehouses: int, stores: int) -> list[Place]:
        depots = [Place(f"{region}-dc-{number}", region, WMS) for number in range(1, warehouses + 1)]
        return depots + [Place(f"{region}-store-{number}", region, STORES) for number in range(1, stores + 1)]

    def region_of(self, fact: Fact) -> str:
        """Where a fact happened."""
        return fact.region or self.by_node[fact.node or ""].region

    def stores_of(self, region: str) -> list[Place]:
        """The stores of a region."""
        return [place for place in self.by_region[region] if place.owner == STORES]

"""The world of the retail replay: regions, nodes, channels and policies.

The source knows the customer's country only. Regions group countries by how they would be served; nodes,
channels and policies are DERIVED.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

NODES_TOPIC = "reference.nodes.v1"
POLICIES_TOPIC = "atp.policies.v1"
HEARTBEATS_TOPIC = "sources.heartbeats.v1"

OMS, WMS, INVENTORY, PURCHASING = "oms", "wms", "inventory", "derived:purchasing"
SOURCES = (OMS, WMS, INVENTORY, PURCHASING)
STORE, WEB, APP, MARKETPLACE = "store", "web", "app", "marketplace"

REST = "rest"
COUNTRIES: dict[str, tuple[str, ...]] = {
    "uk": ("United Kingdom", "Channel Islands"),
    "ireland": ("EIRE",),
    "dach": ("Germany", "Austria", "Switzerland"),
    "france-benelux": ("France", "Belgium", "Netherlands"),
    "nordics": ("Norway", "Finland", "Sweden", "Denmark", "Iceland", "Lithuania"),
    "south": ("Spain", "Portugal", "Italy", "Greece", "Cyprus", "Malta"),
    REST: (),  # every other country, with "Unspecified" and "European Community"
}
REGIONS = tuple(COUNTRIES)
_REGION_OF = {country: region for region, countries in COUNTRIES.items() for country in countries}


class Place(msgspec.Struct, frozen=True, gc=False):
    """A node. `number` makes small keys."""

    number: int
    node: str
    region: str
    kind: str
    trusted: bool = True


_NAMES = (
    ("uk-dc-leeds", "uk", "warehouse", True),
    ("uk-dc-reading", "uk", "warehouse", True),
    ("uk-store-london", "uk", "store", True),
    ("ie-dc-dublin", "ireland", "warehouse", True),
    ("ie-store-cork", "ireland", "store", True),
    ("de-dc-kassel", "dach", "warehouse", True),
    ("ch-3pl-basel", "dach", "3pl", False),
    ("fr-dc-lille", "france-benelux", "warehouse", True),
    ("nl-dc-venlo", "france-benelux", "warehouse", True),
    ("se-dc-boras", "nordics", "warehouse", True),
    ("no-3pl-oslo", "nordics", "3pl", True),
    ("es-dc-zaragoza", "south", "warehouse", True),
    ("it-3pl-bologna", "south", "3pl", True),
    ("uk-dc-export", REST, "warehouse", True),
    ("hk-3pl-kowloon", REST, "3pl", False),
)
PLACES = tuple(Place(number, *names) for number, names in enumerate(_NAMES))


def region_of(country: str) -> str:
    """The region that serves a country."""
    return _REGION_OF.get(country, REST)


def channel_of(customer: str, chance: int) -> str:
    """The channel of a sale: nobody's name is taken in a store; others are web 55 %, app 30 %, marketplace 15 %."""
    if not customer:
        return STORE
    share = chance % 100
    return WEB if share < 55 else APP if share < 85 else MARKETPLACE


@lru_cache(maxsize=64)
def _candidates(region: str, store: bool) -> tuple[Place, ...]:
    """Ten tickets: the first warehouse holds seven, the second three; a store holds all of its own sales."""
    places = [place for place in PLACES if place.region == region]
    stores = [place for place in places if place.kind == STORE]
    if store and stores:
        return tuple(stores[:1] * 10)
    depots = [place for place in places if place.kind != STORE]
    return tuple(depots[:1] * 7 + depots[-1:] * 3)


def place_of(region: str, channel: str, chance: int) -> Place:
    """The node that serves a sale."""
    return _candidates(region, channel == STORE)[chance % 10]


def node_references() -> list[dict[str, Any]]:
    """Documents of `reference.nodes.v1`."""
    return [{"node": p.node, "region": p.region, "kind": p.kind, "trusted": p.trusted} for p in PLACES]


_ZONES = {
    "uk": "Europe/London",
    "ireland": "Europe/Dublin",
    "dach": "Europe/Berlin",
    "france-benelux": "Europe/Paris",
    "nordics": "Europe/Stockholm",
    "south": "Europe/Madrid",
    REST: "UTC",
}


def policies() -> list[dict[str, Any]]:
    """Documents of `atp.policies.v1`. Heartbeats come hourly in a replay, so silence means more than two hours."""
    default = {
        "required_sources": list(SOURCES),
        "channels": [WEB, APP, STORE, MARKETPLACE],
        "heartbeat_timeout_s": 7500,
        "drift_units_tolerance": 2,
        "priorities": {STORE: 1, WEB: 2, APP: 2, MARKETPLACE: 3},
    }
    documents = [_policy("default", default)]
    documents += [_policy(f"region:{region}", _of_region(region, zone)) for region, zone in _ZONES.items()]
    documents.append(_policy(f"channel:{MARKETPLACE}", {"buffer_units": 3, "buffer_percent": 10}))
    documents.append(_policy(f"region:uk|channel:{STORE}", {"safety_stock": 0}))
    return documents


def _of_region(region: str, zone: str) -> dict[str, Any]:
    """Goods travel longer to the rest of the world; only where there is a store are units kept for it."""
    fields: dict[str, Any] = {"time_zone": zone, "horizon_days": {"uk": 14, "ireland": 14, REST: 28}.get(region, 21)}
    if any(place.region == region and place.kind == STORE for place in PLACES):
        fields |= {"safety_stock": 2, "protections": {STORE: 3}}
    return fields


def _policy(scope: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"scope": scope, "version": 1, **fields}

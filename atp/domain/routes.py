"""The strangler's routes: who answers a (region, channel) — the legacy batch mart, or this product.

Without a document for it the product answers the digital channels of the first regions, the mart all others.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from atp.domain.decoding import explain_invalid
from atp.domain.facts import Identity


class Answerer(StrEnum):
    """Who answers."""

    LEGACY = "LEGACY"
    PRODUCT = "PRODUCT"


class Route(msgspec.Struct, frozen=True):
    """One row of `atp.routes.v1`. `set_at`: RFC 3339; `reason`: in people's words."""

    region: Identity
    channel: Identity
    answers: Answerer
    reason: str = ""
    set_at: str = ""


class RouteError(ValueError):
    """A route that cannot be used: names field, value and what is allowed."""


def parse_route(document: Any) -> Route:
    """A validated route, or RouteError."""
    try:
        return msgspec.convert(document, Route)
    except msgspec.ValidationError as error:
        raise RouteError(explain_invalid(document, error)) from None


def route_key(region: str, channel: str) -> str:
    """Key of a route's document."""
    return f"{region}|{channel}"


class RouteBook(dict[tuple[str, str], Route]):
    """The routes by (region, channel)."""

    def __init__(self, first_regions: tuple[str, ...] = (), first_channels: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._regions, self._channels = first_regions, first_channels

    def of(self, region: str, channel: str) -> Answerer:
        """Who answers."""
        route = self.get((region, channel))
        if route is not None:
            return route.answers
        first = region in self._regions and channel in self._channels
        return Answerer.PRODUCT if first else Answerer.LEGACY


class MartRow(NamedTuple):
    """What the legacy mart says of a (SKU, region, channel); `as_of` as the mart writes it."""

    sellable: int
    as_of: str


class Comparison(msgspec.Struct):
    """Mart and product side by side, for one (region, channel); keys, and units where they differ.

    `over`: the mart promises more than the product, so it would oversell; `under`: it withholds what could be sold.
    """

    region: str
    channel: str
    answers: Answerer
    agree: int = 0
    over: int = 0
    over_units: int = 0
    under: int = 0
    under_units: int = 0
    only_mart: int = 0
    only_product: int = 0

    @property
    def compared(self) -> int:
        """Keys that both know."""
        return self.agree + self.over + self.under

    @property
    def agreement(self) -> float | None:
        """Share of the keys known to both on which they agree."""
        return self.agree / self.compared if self.compared else None

    def take(self, mart: int | None, product: int | None) -> None:
        """Count one key; None: not known there."""
        if product is None:
            self.only_mart += 1
        elif mart is None:
            self.only_product += 1
        elif mart > product:
            self.over, self.over_units = self.over + 1, self.over_units + mart - product
        elif mart < product:
            self.under, self.under_units = self.under + 1, self.under_units + product - mart
        else:
            self.agree += 1

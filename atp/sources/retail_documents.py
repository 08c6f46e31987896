"""What the retail replay tells of: sale lines, returns, adjustments, damages, receipts and counts.

Each is a document with a start; the modules that render facts turn it into facts at its own times.
"""

from __future__ import annotations

import msgspec

from atp.domain.times import HOUR_MS
from atp.sources.retail_time import SECOND_MS
from atp.sources.retail_world import STORE, Place


class Line(msgspec.Struct, gc=False):
    """A sale line. `left` units were neither cancelled nor returned; `short_ms` > 0: back-ordered then."""

    position: int
    invoice: str
    sku: str
    channel: str
    place: Place
    units: int
    start_ms: int
    chance: int
    ship_ms: int
    left: int
    cancels: list[tuple[int, int]] | None = None
    returned: bool = False
    short_ms: int = 0
    second_parcel_ms: int = 0

    @property
    def plain(self) -> bool:
        """Whether nothing was cancelled, returned, split or delayed, so that its parcels may still move in time."""
        return not (self.cancels or self.returned or self.second_parcel_ms or self.short_ms)

    def parcels(self) -> list[tuple[int, int]]:
        """(time, units) of what leaves the node."""
        units = self.units - sum(units for _, units in self.cancels or ())
        if units == 0:
            return []
        if not self.second_parcel_ms:
            return [(self.ship_ms, units)]
        return [(self.ship_ms, units // 2), (self.second_parcel_ms, units - units // 2)]


def ship_delay_ms(channel: str, chance: int) -> int:
    """From order to parcel: over the counter at once, otherwise 1 to 24 hours. DERIVED."""
    if channel == STORE:
        return 20 * SECOND_MS + (chance >> 8) % (100 * SECOND_MS)
    return HOUR_MS + (chance >> 8) % (23 * HOUR_MS)


class Return(msgspec.Struct, gc=False):
    """Units that came back; `order` is "" when no earlier sale explains them. `disposed_ms`, `resold`: DERIVED."""

    position: int
    piece: int
    sku: str
    place: Place
    units: int
    start_ms: int
    order: str
    disposed_ms: int
    resold: bool


class Adjustment(msgspec.Struct, gc=False):
    """A manual adjustment; `units` is signed: more than 0 means stock in."""

    position: int
    sku: str
    place: Place
    units: int
    start_ms: int
    reason: str


class DamageReport(msgspec.Struct, gc=False):
    """Units reported as damaged. What becomes of them is DERIVED: some are reversed, most are written off."""

    position: int
    sku: str
    place: Place
    units: int
    start_ms: int
    quarantine: bool
    reversed_units: int
    reversed_ms: int
    written_off_ms: int  # 0: never


class InboundReceipt(msgspec.Struct, gc=False):
    """DERIVED: an inbound line. `units` are put away at `put_away_ms`; `held` more go to quality control.

    `surprise` units more (over) or fewer (short) came than expected. `eta_ms` is what the supplier promised.
    """

    receipt_id: str
    sku: str
    place: Place
    units: int
    held: int
    surprise: int
    start_ms: int
    put_away_ms: int
    eta_ms: int
    chance: int
    cancelled: bool = False

    @property
    def released_ms(self) -> int:
        """When held units leave quality control."""
        return self.put_away_ms + 26 * HOUR_MS + self.chance % (40 * HOUR_MS)

    @property
    def released_damaged(self) -> bool:
        """Whether quality control found the held units damaged."""
        return (self.chance >> 6) % 10 == 0


class Count(msgspec.Struct, gc=False):
    """DERIVED: what was counted on a shelf. `drift` is how far the count is off the truth before it."""

    sku: str
    place: Place
    number: int  # 0: the opening count
    units: int
    drift: int
    start_ms: int


Document = Line | Return | Adjustment | DamageReport | InboundReceipt | Count

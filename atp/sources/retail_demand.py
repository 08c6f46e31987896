"""Rows → documents of demand: sale lines, cancellations, returns, adjustments and damages.

The source does not tell a cancellation from a return. Here a cancelling row takes from the customer's latest sales
of that SKU: units not yet shipped are released, shipped ones come back; what no sale explains comes back without
an order. So a row of −n units always gives n units, released or returned.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from atp.domain.times import DAY_MS, HOUR_MS, MINUTE_MS
from atp.sources.retail_documents import Adjustment, DamageReport, Line, Return, ship_delay_ms
from atp.sources.retail_rows import Row, RowKind, damage_vocabulary
from atp.sources.retail_time import mix
from atp.sources.retail_world import MARKETPLACE, Place, channel_of, place_of, region_of

# A parcel that leaves within the minute can no longer be stopped.
_STOPPABLE_MS = MINUTE_MS
NOT_GOODS = "not_goods"


class Demand:
    """Documents of a span of rows, and the rows and units by kind (rows that are no goods apart)."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.lines: list[Line] = []
        self.returns: list[Return] = []
        self.adjustments: list[Adjustment] = []
        self.damages: list[DamageReport] = []
        self.rows: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self.skipped_rows: Counter[str] = Counter()
        self.skipped_units: Counter[str] = Counter()
        self.cancelled_units = self.orphan_rows = 0
        self._sales: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
        for row in rows:
            self._take(row)
        self._split_parcels()

    def _take(self, row: Row) -> None:
        self.rows[row.kind] += 1
        self.units[row.kind] += row.units
        if not row.goods or row.kind is RowKind.BAD_DEBT:
            self.skipped_rows[row.kind] += 1
            self.skipped_units[row.kind] += row.units
        elif row.kind is RowKind.SALE or row.kind is RowKind.FREE_GOODS:
            self._sell(row)
        elif row.kind is RowKind.CANCELLATION:
            self._cancel(row)
        else:
            self._adjust(row)

    def _sell(self, row: Row) -> None:
        chance = mix(row.position)
        channel = channel_of(row.customer, chance >> 40)
        place = place_of(region_of(row.country), channel, chance >> 48)
        ship_ms = row.time_ms + ship_delay_ms(channel, chance)
        line = Line(
            row.position, row.invoice, row.sku, channel, place, row.units, row.time_ms, chance, ship_ms, row.units
        )
        self.lines.append(line)
        if row.customer:
            self._sales[row.customer, row.sku].append(line)

    def _cancel(self, row: Row) -> None:
        wanted, piece = -row.units, 0
        sales = self._sales.get((row.customer, row.sku), [])
        while wanted and sales:
            taken = min(wanted, sales[-1].left)
            self._undo(row, piece, sales[-1], taken)
            wanted, piece = wanted - taken, piece + 1
            if sales[-1].left == 0:
                sales.pop()
        if wanted:
            self.orphan_rows += piece == 0
            self._return(row, piece, None, wanted)

    def _undo(self, row: Row, piece: int, line: Line, units: int) -> None:
        line.left -= units
        if row.time_ms < line.ship_ms - _STOPPABLE_MS:
            self.cancelled_units += units
            line.cancels = [*(line.cancels or ()), (row.time_ms, units)]
        else:
            line.returned = True
            self._return(row, piece, line, units)

    def _return(self, row: Row, piece: int, line: Line | None, units: int) -> None:
        chance = mix(row.position)
        place = line.place if line else place_of(region_of(row.country), MARKETPLACE, chance >> 48)
        # a parcel may leave up to a minute after the row that could no longer stop it
        start_ms = row.time_ms + 5 * MINUTE_MS
        disposed_ms = start_ms + DAY_MS + (chance >> 8) % (3 * DAY_MS)
        order = f"OR-{line.invoice}" if line else ""
        resold = (chance >> 4) % 10 < 8
        self.returns.append(Return(row.position, piece, row.sku, place, units, start_ms, order, disposed_ms, resold))

    def _adjust(self, row: Row) -> None:
        chance = mix(row.position)
        place = place_of(region_of(row.country), MARKETPLACE, chance >> 48)
        if row.kind is RowKind.ADJUSTMENT_DOWN and row.description in damage_vocabulary():
            self.damages.append(_damage(row, chance, place))
            return
        reason = row.description.strip() or "unexplained"
        self.adjustments.append(Adjustment(row.position, row.sku, place, row.units, row.time_ms, reason))

    def _split_parcels(self) -> None:
        """Some lines leave in two parcels: only those that no cancellation touched."""
        for line in self.lines:
            if line.chance % 100 < 3 and line.units > 1 and line.plain:
                line.second_parcel_ms = line.ship_ms + 4 * HOUR_MS + (line.chance >> 20) % (20 * HOUR_MS)


def _damage(row: Row, chance: int, place: Place) -> DamageReport:
    """Two of ten reports are partly reversed within two days, two stay as they are, the rest is written off."""
    fate, units = chance % 10, -row.units
    reversed_ms = row.time_ms + 8 * HOUR_MS + (chance >> 8) % (40 * HOUR_MS)
    written_off_ms = row.time_ms + 3 * DAY_MS + (chance >> 8) % (5 * DAY_MS) if fate < 8 else 0
    reversed_units = max(1, units // 3) if fate < 2 else 0
    doubtful = "?" in row.description
    return DamageReport(
        row.position, row.sku, place, units, row.time_ms, doubtful, reversed_units, reversed_ms, written_off_ms
    )

"""DERIVED supply: opening stock, inbound receipts and counts, so that no shelf ever runs out.

The source has none of these. A shelf is one SKU at one node; all its changes of sellable are known beforehand, so
each receipt is planned backwards from the first parcel that would find the shelf empty. A few receipts come late:
then the parcels they were meant for wait (back-ordered), stock itself never falls below 0.
(Over 150 lines: the planner and the few rules it plans by belong on one page.)
"""

from __future__ import annotations

from collections import defaultdict

from atp.domain.times import DAY_MS, HOUR_MS, MINUTE_MS
from atp.sources.retail_counts import count_shelf
from atp.sources.retail_demand import Demand
from atp.sources.retail_documents import Count, InboundReceipt, Line
from atp.sources.retail_time import SECOND_MS, mix, mix_text
from atp.sources.retail_world import PLACES, STORE

# (time, change of sellable, tie-breaker, the line behind it)
Change = tuple[int, int, int, Line | None]
# What comes in is relied upon only when its fact, too, has surely been recorded.
INCOMING_GUARD_MS = 2 * MINUTE_MS
_OPENING_COVER_DAYS, _RECEIPT_COVER_DAYS = 32, 24
_AFTER_LATE_MS = 10 * MINUTE_MS


class Supply:
    """Opening stock, receipts and counts of every shelf that the demand touches."""

    def __init__(self, demand: Demand, start_ms: int, end_ms: int) -> None:
        self.receipts: list[InboundReceipt] = []
        self.counts: list[Count] = []
        self.late_lines = 0
        self.closing_units = 0
        self._start_ms, self._end_ms = start_ms, end_ms
        for (sku, number), changes in _shelves(demand).items():
            self._plan(sku, number, changes)

    def _plan(self, sku: str, number: int, changes: list[Change]) -> None:
        changes.sort(key=_by_time)
        place = PLACES[number]
        chance = mix_text(f"{sku}|{place.node}")
        cover_ms = (_OPENING_COVER_DAYS + chance % 14) * DAY_MS
        at, low, balance = _walk(changes, 0, 0, self._start_ms + cover_ms)
        opening = -low + (chance >> 5) % 6 - low // 8
        receipts = self._replenish(sku, number, changes, at, balance + opening)
        counts, closing = count_shelf(
            sku, place, opening, _truth(changes, receipts), chance, (self._start_ms, self._end_ms)
        )
        self.receipts += receipts
        self.counts += counts
        self.closing_units += closing

    def _replenish(self, sku: str, number: int, changes: list[Change], at: int, balance: int) -> list[InboundReceipt]:
        receipts: list[InboundReceipt] = []
        while at < len(changes):
            if balance + changes[at][1] >= 0:
                balance += changes[at][1]
                at += 1
                continue
            chance = mix_text(f"{sku}|{number}|{len(receipts)}")
            put_away_ms, eta_ms = self._arrange(changes, at, chance)
            until_ms = changes[at][0] + (_RECEIPT_COVER_DAYS + chance % 20) * DAY_MS
            at, low, balance = _walk(changes, at, balance, until_ms)
            units = _packs(-low + (chance >> 7) % 5 - low // 10)
            balance += units
            receipts.append(_receipt(sku, number, len(receipts), units, put_away_ms, eta_ms, chance))
        return receipts

    def _arrange(self, changes: list[Change], at: int, chance: int) -> tuple[int, int]:
        """When a receipt is put away, and when it was promised, given the first change that needs it."""
        need_ms = changes[at][0]
        in_time_ms = need_ms - 40 * HOUR_MS - (chance >> 9) % (60 * HOUR_MS)
        fate = (chance >> 16) % 1000
        if fate < 15:
            late_ms = need_ms + 12 * HOUR_MS + (chance >> 9) % (48 * HOUR_MS)
            waiting = _postpone(changes, at, late_ms + _AFTER_LATE_MS)
            self.late_lines += waiting
            return (late_ms if waiting else in_time_ms), in_time_ms
        overdue_days = 1 + fate % 3 if fate < 60 else 0
        return in_time_ms, in_time_ms - overdue_days * DAY_MS


def _by_time(change: Change) -> tuple[int, int, int]:
    return change[:3]


def _shelves(demand: Demand) -> dict[tuple[str, int], list[Change]]:
    shelves: defaultdict[tuple[str, int], list[Change]] = defaultdict(list)
    for line in demand.lines:
        for ms, units in line.parcels():
            shelves[line.sku, line.place.number].append((ms, -units, line.position, line))
    for damage in demand.damages:
        shelf = shelves[damage.sku, damage.place.number]
        shelf.append((damage.start_ms, -damage.units, damage.position, None))
        if damage.reversed_units:
            shelf.append((damage.reversed_ms + INCOMING_GUARD_MS, damage.reversed_units, damage.position, None))
    for change in demand.adjustments:
        guard_ms = INCOMING_GUARD_MS if change.units > 0 else 0
        entry = (change.start_ms + guard_ms, change.units, change.position, None)
        shelves[change.sku, change.place.number].append(entry)
    for back in demand.returns:
        entry = (back.disposed_ms + INCOMING_GUARD_MS, back.units * back.resold, back.position, None)
        shelves[back.sku, back.place.number].append(entry)
    return shelves


def _walk(changes: list[Change], at: int, balance: int, until_ms: int) -> tuple[int, int, int]:
    """Go on to a time: (where that is, lowest balance on the way or 0, balance there)."""
    low = 0
    while at < len(changes) and changes[at][0] < until_ms:
        balance += changes[at][1]
        low = min(low, balance)
        at += 1
    return at, low, balance


def _packs(units: int) -> int:
    """Suppliers deliver dozens, beyond small quantities."""
    return units if units < 24 else -(-units // 12) * 12


def _postpone(changes: list[Change], at: int, from_ms: int) -> int:
    """Let every parcel until `from_ms` wait until then; 0 if one of them cannot, and none does."""
    waiting = [c for c in changes[at:] if c[0] < from_ms and c[1] < 0]
    lines = [c[3] for c in waiting if c[3] is not None and c[3].plain and c[3].channel != STORE]
    if len(lines) < len(waiting):
        return 0
    kept = [c for c in changes[at:] if not (c[0] < from_ms and c[1] < 0)]
    for number, line in enumerate(lines):
        line.short_ms = line.ship_ms - 10 * MINUTE_MS
        line.ship_ms = from_ms + number * 20 * SECOND_MS
        kept.append((line.ship_ms, -line.units, line.position, line))
    changes[at:] = sorted(kept, key=_by_time)
    return len(lines)


def _receipt(
    sku: str, number: int, nth: int, units: int, put_away_ms: int, eta_ms: int, chance: int
) -> InboundReceipt:
    """Eight of a hundred hold a part back for quality control, three come short, two over, one is ordered anew."""
    fate = (chance >> 26) % 100
    held = 1 + units // 12 if fate < 8 else 0
    surprise = -(1 + units // 20) if 8 <= fate < 11 else min(units - 1, 1 + units // 20) if 11 <= fate < 13 else 0
    start_ms = put_away_ms - lead_ms(chance)
    place = PLACES[number]
    receipt_id = f"PO-{place.node}-{sku}-{nth + 1}"
    return InboundReceipt(
        receipt_id, sku, place, units, held, surprise, start_ms, put_away_ms, eta_ms, chance, fate == 13
    )


def lead_ms(chance: int) -> int:
    """From plan to shelf: 10 to 21 days, less than the opening stock covers."""
    return sum(stage_gaps_ms(chance))


def stage_gaps_ms(chance: int) -> tuple[int, int, int, int, int]:
    """Gaps planned → confirmed → shipped → arrived → received → put away."""
    shared = mix(chance)
    return (
        DAY_MS + shared % (5 * DAY_MS),
        DAY_MS + (shared >> 7) % (4 * DAY_MS),
        3 * DAY_MS + (shared >> 14) % (6 * DAY_MS),
        HOUR_MS + (shared >> 21) % (4 * HOUR_MS),
        HOUR_MS + (shared >> 28) % (5 * HOUR_MS),
    )


def _truth(changes: list[Change], receipts: list[InboundReceipt]) -> list[tuple[int, int]]:
    """(time, change of sellable) as it really happens, receipts included."""
    truth = [(ms - INCOMING_GUARD_MS if units > 0 else ms, units) for ms, units, _, _ in changes]
    truth += [(receipt.put_away_ms, receipt.units) for receipt in receipts]
    truth += [(r.released_ms, r.held) for r in receipts if r.held and not r.released_damaged]
    truth.sort()
    return truth

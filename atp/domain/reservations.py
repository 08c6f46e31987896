"""Reservations: the highest version of a line is its state; demand is kept as sums over lines.

OMS owns reservations and its word stands. The WMS ship lowers sellable, the OMS ship consumes the line; until
both are known the difference is held back (`Unsettled`), so that no unit is promised twice.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TypeVar

import msgspec

from atp.domain.facts import LineState, Reservation, StockShipped
from atp.domain.intake import Admitted, Horizons, known_until_ms, line_key
from atp.domain.rows import Rows, SpreadRows
from atp.domain.times import DAY_MS, FOREVER_MS, HOUR_MS, MINUTE_MS, to_ms

QUARTER_MS = 15 * MINUTE_MS  # no time zone's midnight lies off a quarter of an hour
LONGEST_DAY_MS = 26 * HOUR_MS  # a day of 25 hours, and what clocks may differ
DUE_NOW = 0  # ordinal of "no due date": due at once, and past due for ever after
K = TypeVar("K", int, str)
_FEW = 64  # sums are swept of what no longer counts when they have grown beyond this


class LineVersion(msgspec.Struct, array_like=True, gc=False):
    """One version of a reservation line."""

    version: int
    time_ms: int
    state: LineState
    region: str
    channel: str
    node: str | None
    requested: int
    open: int
    consumed: int
    released: int
    expires_ms: int  # 0: does not expire
    due: int  # ordinal of the due date, DUE_NOW where there is none
    recorded_ms: int = 0  # 0: learned before this was kept, or of a snapshot


class Line(msgspec.Struct, array_like=True):
    """A reservation line: its known versions, ascending, and what the WMS shipped for it."""

    versions: list[LineVersion] = []
    shipped: int = 0
    forget_at_ms: int = 0


class SoftDemand(msgspec.Struct, array_like=True, gc=False):
    """An offer with a time limit; from `expires_ms` on it counts nothing."""

    region: str
    channel: str
    due: int
    open: int
    used: int
    first_ms: int
    expires_ms: int
    late: bool


class Unsettled(msgspec.Struct, array_like=True, gc=False):
    """Units that OMS shipped and WMS did not yet; settled by the ship or by a count of the node's sellable."""

    units: int
    region: str
    shipped: list[tuple[str, int, int]]  # from which node OMS shipped ("": it never said), when, how many
    forget_at_ms: int

    def hold(self, region: str, counted_as_of_ms: dict[str, int]) -> int:
        """Units still to be held back in a region, given the latest count of sellable of each of its nodes."""
        open_units = 0
        for node, at_ms, units in self.shipped:
            if node:
                open_units += units if at_ms > counted_as_of_ms.get(node, FOREVER_MS) else 0
            elif region == self.region:
                open_units += units
        return min(self.units, open_units)


class DemandBook(msgspec.Struct, array_like=True):
    """Demand of a SKU as sums, and the few lines that time or a count may still change."""

    firm: dict[str, dict[int, int]] = {}  # region → due → open units
    allocated: dict[str, dict[int, int]] = {}  # node → due → open units
    backordered: dict[str, dict[int, int]] = {}  # region → due → open units
    soft: dict[str, SoftDemand] = {}
    unsettled: dict[str, Unsettled] = {}
    used: dict[str, dict[str, dict[int, int]]] = {}  # region → channel → quarter of first version → units
    late_regions: dict[str, int] = {}  # open lines confirmed or extended after they had expired
    late_nodes: dict[str, int] = {}


class ReservationRows(msgspec.Struct):
    """The tables in which reservations are kept."""

    lines: SpreadRows[Line]
    demand: Rows[DemandBook]


def apply(admitted: Admitted, rows: ReservationRows, horizons: Horizons) -> bool:
    """Take a line version, or the WMS ship of a line, into the line and into the sums.

    True: the line also lies, or lay, at another node or region than the fact names.
    """
    fact = admitted.fact
    assert isinstance(fact, Reservation | StockShipped)
    assert fact.reservation_id is not None
    assert fact.line is not None
    key = line_key(fact.reservation_id, fact.line)
    line = rows.lines.get(fact.sku, key)
    if line is None or line.forget_at_ms < admitted.stream_ms:
        line = Line()
    book = rows.demand.get((fact.sku,)) or DemandBook()
    _count(book, key, line, -1)
    if isinstance(fact, Reservation):
        _learn(line, fact, admitted, horizons)
    else:
        line.shipped += fact.quantity
        line.forget_at_ms = max(line.forget_at_ms, admitted.time_ms + horizons.memory_ms)
    _count(book, key, line, +1)
    _sweep(book, admitted.stream_ms)
    rows.demand[fact.sku,] = book
    rows.lines.forget(fact.sku, admitted.stream_ms)
    rows.lines.put(fact.sku, key, line)
    return _lay_elsewhere(line, fact)


def _lay_elsewhere(line: Line, fact: Reservation | StockShipped) -> bool:
    region = fact.region if isinstance(fact, Reservation) else None
    for version in line.versions:
        if version.node is not None and version.node != fact.node:
            return True
        if region is not None and version.region != region:
            return True
    return False


def pairs(admitted: Admitted) -> bool:
    """Whether a fact is a WMS ship that names its reservation line."""
    fact = admitted.fact
    return type(fact) is StockShipped and fact.reservation_id is not None and fact.line is not None


def _learn(line: Line, fact: Reservation, admitted: Admitted, horizons: Horizons) -> None:
    versions = line.versions
    at = bisect_left(versions, fact.version, key=lambda known: known.version)
    if at < len(versions) and versions[at].version == fact.version:
        return
    versions.insert(at, _version(fact, admitted))
    memory_until = admitted.time_ms + horizons.memory_ms
    if at == len(versions) - 1:
        line.forget_at_ms = known_until_ms(fact, memory_until)


def _version(fact: Reservation, admitted: Admitted) -> LineVersion:
    return LineVersion(
        fact.version,
        admitted.time_ms,
        fact.state,
        fact.region,
        fact.channel,
        fact.node,
        fact.requested,
        fact.open,
        fact.consumed,
        fact.released,
        to_ms(fact.expires_at) if fact.state is LineState.SOFT and fact.expires_at is not None else 0,
        fact.due_date.toordinal() if fact.due_date is not None else DUE_NOW,
        admitted.recorded_ms,
    )


def is_late(line: Line) -> bool:
    """Whether an open line was confirmed or extended after the expiry known before."""
    versions = line.versions
    if len(versions) < 2 or versions[-1].open == 0:
        return False
    return any(
        after.open > 0 and before.state is LineState.SOFT and after.time_ms > before.expires_ms
        for before, after in pairwise(versions)
    )


def _count(book: DemandBook, key: str, line: Line, sign: int) -> None:
    """Add a line to the sums (or, with sign −1, take it out of them)."""
    if not line.versions:
        return
    top = line.versions[-1]
    if top.state is LineState.SOFT:
        _count_soft(book, key, line, top, sign)
    else:
        _count_firm(book, line, top, sign)
    _count_unsettled(book, key, line, top, sign)


def _count_soft(book: DemandBook, key: str, line: Line, top: LineVersion, sign: int) -> None:
    if sign < 0:
        book.soft.pop(key, None)
        return
    used, first_ms = top.requested - top.released, line.versions[0].time_ms
    book.soft[key] = SoftDemand(
        top.region, top.channel, top.due, top.open, used, first_ms, top.expires_ms, is_late(line)
    )


def _count_firm(book: DemandBook, line: Line, top: LineVersion, sign: int) -> None:
    quarter = line.versions[0].time_ms // QUARTER_MS
    quarters = book.used.setdefault(top.region, {}).setdefault(top.channel, {})
    if quarters and quarter not in quarters:
        _drop_past(quarters, max(quarter, max(quarters)) - LONGEST_DAY_MS // QUARTER_MS)
    _add(quarters, quarter, sign * (top.requested - top.released))
    if top.open == 0:
        return
    if top.state is LineState.ALLOCATED:
        assert top.node is not None
        sums, place, late = book.allocated, top.node, book.late_nodes
    elif top.state is LineState.BACKORDERED:
        sums, place, late = book.backordered, top.region, book.late_regions
    else:
        sums, place, late = book.firm, top.region, book.late_regions
    _add(sums.setdefault(place, {}), top.due, sign * top.open)
    if not sums[place]:
        del sums[place]
    if is_late(line):
        _add(late, place, sign)


def _drop_past(quarters: dict[int, int], first: int) -> None:
    """Drop quarters of days that are over: only today's units are ever asked for, and a row stays small."""
    for quarter in [q for q in quarters if q < first]:
        del quarters[quarter]


def _add(sums: dict[K, int], key: K, units: int) -> None:
    total = sums.get(key, 0) + units
    if total:
        sums[key] = total
    else:
        sums.pop(key, None)


def _count_unsettled(book: DemandBook, key: str, line: Line, top: LineVersion, sign: int) -> None:
    units = top.consumed - line.shipped
    if units <= 0:
        return
    if sign < 0:
        book.unsettled.pop(key, None)
        return
    shipped, consumed, node = [], 0, ""
    for version in line.versions:
        node = version.node or node
        if version.consumed > consumed:
            shipped.append((node, version.time_ms, version.consumed - consumed))
        consumed = version.consumed
    book.unsettled[key] = Unsettled(units, top.region, shipped, line.forget_at_ms)


def _sweep(book: DemandBook, stream_ms: int) -> None:
    """Drop what can no longer count at any `now` that is legal after `stream_ms`; only when it has piled up."""
    if len(book.soft) > _FEW:
        dead = [key for key, soft in book.soft.items() if soft.expires_ms < stream_ms - DAY_MS]
        for key in dead:
            del book.soft[key]
    if len(book.unsettled) > _FEW:
        for key in [key for key, held in book.unsettled.items() if held.forget_at_ms < stream_ms]:
            del book.unsettled[key]

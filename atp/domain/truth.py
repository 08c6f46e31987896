"""The latest word of the systems of record on a SKU, and how far our state was from it at its as_of.

The truth stays beside the state: a fact that comes late and is dated before it has the comparison made anew, so the
drift is a function of the facts and of the latest snapshot, whatever came first.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from atp.domain.as_of import Range, line_at, open_at, open_range, stock_at
from atp.domain.facts import LineState
from atp.domain.intake import Horizons, line_key
from atp.domain.reservations import DUE_NOW, Line, LineVersion, ReservationRows
from atp.domain.snapshots import RESERVATIONS, STOCK, SnapshotLine, SnapshotRow, StockRow
from atp.domain.stock import INDEX, RECEIVING, SELLABLE, STATES, StockRows
from atp.domain.times import to_ms


class Truth(msgspec.Struct, array_like=True):
    """What a snapshot says of one place of a SKU: a node's quantities by state, or a region's open lines by key."""

    kind: str
    place: str  # node or region
    region: str
    source: str
    snapshot_id: str
    as_of_ms: int
    quantities: dict[int, int] = {}
    lines: dict[str, LineVersion] = {}


class SkuTruth(msgspec.Struct, array_like=True):
    """Per kind and place the truth in force, and the one that waits until its source and we have passed its as_of."""

    known: dict[str, Truth] = {}
    waiting: dict[str, Truth] = {}


class Drift(NamedTuple):
    """One key that disagrees: ours − truth by state, or of a line's open units. Units are never negative."""

    truth: Truth
    line: str  # key of a reservation line, "" for stock
    ours: dict[str, int]
    theirs: dict[str, int]
    units: int
    over: int  # units that we promise too many


def name_of(kind: str, place: str) -> str:
    """The name of a place within a SKU's truth and drifts."""
    return f"{kind}|{place}"


def truth_of(row: SnapshotRow) -> Truth:
    """The truth that a snapshot row states."""
    as_of_ms = to_ms(row.as_of)
    if isinstance(row, StockRow):
        quantities = {INDEX[state]: units for state, units in row.quantities.items()}
        return Truth(STOCK, row.node, row.region, row.source, row.snapshot_id, as_of_ms, quantities)
    lines = {line_key(line.reservation_id, line.line): _version(line, row.region, as_of_ms) for line in row.lines}
    return Truth(RESERVATIONS, row.region, row.region, row.source, row.snapshot_id, as_of_ms, lines=lines)


def nothing(truth_kind: str, place: str, region: str, source: str, snapshot_id: str, as_of_ms: int) -> Truth:
    """The truth on a key that a complete snapshot does not name: none of it is there."""
    quantities = dict.fromkeys(range(len(STATES)), 0) if truth_kind == STOCK else {}
    return Truth(truth_kind, place, region, source, snapshot_id, as_of_ms, quantities)


def _version(line: SnapshotLine, region: str, as_of_ms: int) -> LineVersion:
    soft = line.state is LineState.SOFT and line.expires_at is not None
    return LineVersion(
        line.version,
        as_of_ms,
        line.state,
        region,
        line.channel,
        line.node,
        line.requested,
        line.open,
        line.consumed,
        line.released,
        to_ms(line.expires_at) if soft and line.expires_at is not None else 0,
        line.due_date.toordinal() if line.due_date is not None else DUE_NOW,
    )


def drifts_of(sku: str, truth: Truth, stock: StockRows, lines: ReservationRows, horizons: Horizons) -> list[Drift]:
    """Every key of a truth that disagrees with our state at its as_of."""
    if truth.kind == STOCK:
        return _stock_drift(sku, truth, stock, horizons)
    found = (_line_drift(truth, key, line, horizons) for key, line in _lines(sku, truth, lines))
    return [drift for drift in found if drift is not None]


def keys_of(sku: str, truth: Truth, lines: ReservationRows) -> int:
    """How many keys a truth compares: a (SKU, node), or lines that they or we have open."""
    if truth.kind == STOCK:
        return 1
    return sum(
        key in truth.lines
        or (line is not None and open_at(line_at(line, truth.as_of_ms), truth.region, truth.as_of_ms) > 0)
        for key, line in _lines(sku, truth, lines)
    )


def _stock_drift(sku: str, truth: Truth, stock: StockRows, horizons: Horizons) -> list[Drift]:
    ranges = stock_at(sku, truth.place, truth.quantities, stock, truth.as_of_ms, horizons.ambiguity_ms)
    deltas = {
        state: ours.drift(units) for state, units in truth.quantities.items() if (ours := ranges[state]) is not None
    }
    units = sum(abs(delta) for delta in deltas.values())
    if not units:
        return []
    promised = deltas.get(SELLABLE, 0)
    over = max(0, promised, promised + deltas.get(RECEIVING, 0))
    theirs = {STATES[state].value: truth.quantities[state] for state, delta in deltas.items() if delta}
    ours_now = {STATES[state].value: truth.quantities[state] + delta for state, delta in deltas.items() if delta}
    return [Drift(truth, "", ours_now, theirs, units, over)]


def _lines(sku: str, truth: Truth, rows: ReservationRows) -> list[tuple[str, Line | None]]:
    """The lines that the truth names, and those that we have in its region and had not ended by then."""
    ours = {
        key: line
        for key, line in rows.lines.items(sku)
        if line.versions and (key in truth.lines or _concerns(line.versions[-1], truth))
    }
    return [(key, ours.get(key)) for key in sorted({*ours, *truth.lines})]


def _concerns(top: LineVersion, truth: Truth) -> bool:
    return (top.open > 0 or top.time_ms > truth.as_of_ms) and top.region == truth.region


def _line_drift(truth: Truth, key: str, line: Line | None, horizons: Horizons) -> Drift | None:
    """Open units of one line at the as_of, ours and theirs, where they differ beyond what is too close to tell."""
    theirs = truth.lines.get(key)
    known = line.versions if line is not None else []
    ours = line_at(line, truth.as_of_ms) if line is not None else None
    if theirs is None:
        if known and known[-1].open == 0:
            return None  # it ended, though later than the snapshot says
    elif known and known[-1].version > theirs.version:
        return None  # we have learned of later versions: what the snapshot names is past
    elif known and known[-1].version == theirs.version:
        ours = known[-1]
    had, has = (open_at(version, truth.region, truth.as_of_ms) for version in (ours, theirs))
    if had == has or (line is not None and not _range(line, truth, horizons).drift(has)):
        return None
    return Drift(truth, key, {"open": had}, {"open": has}, abs(had - has), max(0, has - had))


def _range(line: Line, truth: Truth, horizons: Horizons) -> Range:
    return open_range(line, truth.region, truth.as_of_ms, horizons.ambiguity_ms)

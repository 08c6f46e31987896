"""Inbound receipts: cumulative quantities become stock, what is still expected becomes open supply.

An advance shipping notice is a version of the line and replaces the ordered quantity; it never adds to it.
"""

from __future__ import annotations

import msgspec

from atp.domain.documents import History, Totals, effects, insert
from atp.domain.facts import Receipt, Stage
from atp.domain.intake import Admitted, Horizons, line_key
from atp.domain.rows import Rows, SpreadRows
from atp.domain.stock import QC_HOLD, RECEIVING, SELLABLE, StockEffect

ENDED = frozenset({Stage.CLOSED_SHORT, Stage.OVER, Stage.CANCELLED})
HERE = frozenset({Stage.ARRIVED, Stage.RECEIVED, Stage.PUT_AWAY, Stage.QC_HOLD})

# node, stage, eta as a day's ordinal (0 once the goods are here: they are due now, whatever was planned)
SupplyKey = tuple[str, str, int]


class ReceiptLine(msgspec.Struct, array_like=True):
    """A receipt line: its history, and the open supply of its highest version."""

    history: History
    node: str = ""
    stage: str = ""
    eta: int = 0
    open: int = 0


class SupplyBook(msgspec.Struct, array_like=True):
    """Open units of a SKU by node, stage and eta: kept sums, so that no reader visits the lines."""

    open: list[tuple[str, str, int, int]] = []


class ReceiptRows(msgspec.Struct):
    """The tables in which receipts are kept."""

    lines: SpreadRows[ReceiptLine]
    supply: Rows[SupplyBook]


def apply(admitted: Admitted, rows: ReceiptRows, horizons: Horizons) -> tuple[list[StockEffect], bool]:
    """Take a version of a receipt line into its history.

    Answers its stock effects, and whether some version of the line names another node.
    """
    fact = admitted.fact
    assert isinstance(fact, Receipt)
    key = line_key(fact.receipt_id, fact.line)
    line = rows.lines.get(fact.sku, key)
    if line is None:
        line = ReceiptLine(History())
    at = insert(line.history, totals_of(fact, admitted.time_ms), admitted.stream_ms - horizons.journal_ms)
    if at is None:
        return [], False
    if at == len(line.history.versions) - 1:
        _supply(fact, line, rows.supply)
    rows.lines.put(fact.sku, key, line)
    redirected = any(known.node != fact.node for known in line.history.versions)
    return effects(line.history, at, fact.sku, f"r\x1f{key}", admitted.stream_ms), redirected


def totals_of(fact: Receipt, time_ms: int) -> Totals:
    """received − put_away − held lies in receiving, put_away in sellable, held in QC hold."""
    receiving = fact.received - fact.put_away - fact.held
    legs = (SELLABLE, fact.put_away, RECEIVING, receiving, QC_HOLD, fact.held)
    return Totals(fact.version, time_ms, fact.node, legs)


def _supply(fact: Receipt, line: ReceiptLine, supply: Rows[SupplyBook]) -> None:
    """Replace what the line's former highest version still expected."""
    book = supply.get((fact.sku,)) or SupplyBook()
    _add(book, (line.node, line.stage, line.eta), -line.open)
    line.node, line.stage = fact.node, fact.stage.value
    line.eta = 0 if fact.stage in HERE else fact.eta.toordinal()
    line.open = 0 if fact.stage in ENDED else max(0, fact.expected - fact.received)
    _add(book, (line.node, line.stage, line.eta), line.open)
    supply[fact.sku,] = book


def _add(book: SupplyBook, key: SupplyKey, units: int) -> None:
    if units == 0:
        return
    for at, (*known, open_units) in enumerate(book.open):
        if tuple(known) == key:
            if open_units + units:
                book.open[at] = (*key, open_units + units)
            else:
                del book.open[at]
            return
    book.open.append((*key, units))

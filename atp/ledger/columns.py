"""Days as columns: the sparse entries of all SKUs become one table per region and business date.

Only arrays here, no object per row: a day of a million rows is a few dozen vectors.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from atp.domain.ledger_book import CLASSES
from atp.domain.ledger_days import FIGURES, Entry
from atp.domain.times import iso_day

MOVEMENTS = tuple(f"{name}_{place}" for name in CLASSES for place in ("sellable", "on_hand"))
SCHEMA = pa.schema(
    [
        ("business_date", pa.date32()),
        ("region", pa.string()),
        ("sku", pa.string()),
        ("revision", pa.int32()),
        ("status", pa.string()),
        ("opening_sellable", pa.int64()),
        ("opening_on_hand", pa.int64()),
        *((name, pa.int64()) for name in MOVEMENTS),
        ("closing_sellable", pa.int64()),
        ("closing_on_hand", pa.int64()),
        ("reserved_close", pa.int64()),
        ("promised_close", pa.int64()),
        ("operational_closing_sellable", pa.int64()),
        ("difference_explained", pa.int64()),
    ]
)
SUMMED = tuple(field.name for field in SCHEMA if field.type == pa.int64())
FIGURE_COLUMNS = ("sku", *SUMMED)  # what a revision states: all but its number and status
Vector = npt.NDArray[np.int64]
_ENTRY = 2 + FIGURES + 5  # date, SKU, movements, closings, changes of reserved and promised, difference
_EPOCH = 719_163  # ordinal of 1970-01-01


class BrokenLedgerError(Exception):
    """An invariant of the ledger does not hold: the close must stop."""


class Region:
    """The entries of a region, in whatever order they came; then its days, each going on from the one before."""

    def __init__(self, name: str, skus: Sequence[str]) -> None:
        self.name = name
        self._skus = pa.array(skus, pa.string())
        self._flat = array("q")

    def add(self, sku: int, entry: Entry) -> None:
        """Take an entry of a SKU, by its place among the SKUs in order."""
        closing = (entry.closing_sellable, entry.closing_on_hand)
        changes = (entry.reserved, entry.promised, entry.difference)
        self._flat.extend((entry.ordinal, sku, *entry.movements, *closing, *changes))

    def add_columns(self, entries: Vector) -> None:
        """Take entries as a matrix of the same layout."""
        self._flat.frombytes(np.ascontiguousarray(entries, dtype=np.int64).tobytes())

    def first(self) -> int:
        """The ordinal of the first date with an entry."""
        return int(self._matrix()[:, 0].min())

    def days(self, last: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """(ordinal, columns) of every date from the first entry to the last date asked for."""
        matrix = self._matrix()
        matrix = matrix[np.lexsort((matrix[:, 1], matrix[:, 0]))]
        levels = np.zeros((4, len(self._skus)), dtype=np.int64)  # sellable, on hand, reserved, promised
        alive = np.zeros(len(self._skus), dtype=bool)
        if not len(matrix):
            return
        for ordinal in range(int(matrix[0, 0]), last + 1):
            today = matrix[slice(*np.searchsorted(matrix[:, 0], [ordinal, ordinal + 1]))]
            alive[today[:, 1]] = True
            yield ordinal, self._day(today, levels, alive)

    def _matrix(self) -> Vector:
        return np.frombuffer(self._flat, dtype=np.int64).reshape(-1, _ENTRY)

    def _day(self, today: Vector, levels: Vector, alive: npt.NDArray[np.bool_]) -> dict[str, Any]:
        skus, rows = today[:, 1], np.flatnonzero(alive)
        opening = levels[:2].copy()
        moved = today[:, 2 : 2 + FIGURES]
        levels[0, skus] += moved[:, 0::2].sum(axis=1)
        levels[1, skus] += moved[:, 1::2].sum(axis=1)
        levels[2:, skus] += today[:, 4 + FIGURES : 6 + FIGURES].T
        if not np.array_equal(levels[:2, skus].T, today[:, 2 + FIGURES : 4 + FIGURES]):
            raise BrokenLedgerError(f"{self.name}: opening + Σ movements is not what the facts close at")
        at = np.searchsorted(rows, skus)
        columns: dict[str, Any] = {
            "sku": self._skus.take(pa.array(rows)),
            "opening_sellable": opening[0, rows],
            "opening_on_hand": opening[1, rows],
        }
        for number, name in enumerate(MOVEMENTS):
            column = np.zeros(len(rows), dtype=np.int64)
            column[at] = moved[:, number]
            columns[name] = column
        difference = np.zeros(len(rows), dtype=np.int64)
        difference[at] = today[:, 6 + FIGURES]
        closing, on_hand, reserved, promised = levels[:, rows]
        columns |= {
            "closing_sellable": closing,
            "closing_on_hand": on_hand,
            "reserved_close": reserved,
            "promised_close": promised,
            "operational_closing_sellable": closing - difference,
            "difference_explained": difference,
        }
        return columns


def table_of(columns: dict[str, Any], ordinal: int, region: str, revision: int, status: str) -> pa.Table:
    """The table of a revision, in the order of the schema."""
    rows = len(columns["sku"])
    constant = {
        "business_date": pa.scalar(ordinal - _EPOCH, pa.int32()).cast(pa.date32()),
        "region": pa.scalar(region),
        "revision": pa.scalar(revision, pa.int32()),
        "status": pa.scalar(status),
    }
    arrays = [
        pa.repeat(constant[name], rows) if name in constant else pa.array(columns[name]) for name in SCHEMA.names
    ]
    return pa.table(arrays, schema=SCHEMA)


def figures(table: pa.Table) -> dict[str, Any]:
    """What a table states, as columns."""
    return {"sku": table["sku"].combine_chunks(), **{name: table[name].to_numpy() for name in SUMMED}}


def totals(columns: dict[str, Any]) -> dict[str, int]:
    """The sum of every figure."""
    return {name: int(columns[name].sum()) for name in SUMMED}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two days state the same rows."""
    return bool(one["sku"].equals(other["sku"])) and all(np.array_equal(one[n], other[n]) for n in SUMMED)


def check(columns: dict[str, Any], name: str) -> None:
    """The invariants of a day; raises BrokenLedgerError naming the first row that breaks one."""
    for place in ("sellable", "on_hand"):
        moved = sum(columns[m] for m in MOVEMENTS if m.endswith(f"_{place}") and _place(m) == place)
        _all_equal(columns, columns[f"opening_{place}"] + moved, columns[f"closing_{place}"], name, place)
    explained = columns["operational_closing_sellable"] + columns["difference_explained"]
    _all_equal(columns, explained, columns["closing_sellable"], name, "operational + explained")


def _place(movement: str) -> str:
    return "on_hand" if movement.endswith("_on_hand") else "sellable"


def _all_equal(columns: dict[str, Any], found: Vector, closing: Vector, name: str, what: str) -> None:
    wrong = np.flatnonzero(found != closing)
    if len(wrong):
        at = int(wrong[0])
        raise BrokenLedgerError(
            f"{name}, sku {columns['sku'][at]}: {what} = {found[at]}, must be the closing {closing[at]}"
        )


def check_opening(before: dict[str, Any], after: dict[str, Any], name: str) -> None:
    """A day opens as the day before closed, SKU by SKU; raises BrokenLedgerError."""
    at = positions(before["sku"], after["sku"], f"{name}: no row for a SKU that the day before has")
    for place in ("sellable", "on_hand"):
        opening, closing = after[f"opening_{place}"], np.zeros(len(after["sku"]), dtype=np.int64)
        closing[at] = before[f"closing_{place}"]
        wrong = np.flatnonzero(opening != closing)
        if len(wrong):
            row = int(wrong[0])
            raise BrokenLedgerError(
                f"{name}, sku {after['sku'][row]}: opening_{place} = {opening[row]}, "
                f"must be {closing[row]}, the closing of the day before"
            )


def positions(skus: pa.Array, among: pa.Array, missing: str) -> Vector:
    """Where SKUs are among others; raises BrokenLedgerError if one is not."""
    found = compute.index_in(skus, among)
    if found.null_count:
        gone = skus.filter(found.is_null())[0]
        raise BrokenLedgerError(f"{missing}: {gone}")
    return np.asarray(found.to_numpy(), dtype=np.int64)


def date_of(ordinal: int) -> str:
    """`2011-11-25`"""
    return iso_day(ordinal)

"""What stands beside the rows: explanations and adjustments line by line, and units per supplier."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from atp.domain.ledger_days import Settled
from atp.domain.ledger_difference import Line
from atp.ledger.columns import SUMMED, positions

LINE_COLUMNS = ("kind", "sku", "cause", "event_id", "before", "after", "units")
SETTLEMENT_COLUMNS = ("supplier", "sku", "received", "returned")
UNKNOWN_SUPPLIER = "(unknown)"


def adjustments(before: dict[str, Any], after: dict[str, Any], name: str) -> list[tuple[str, str, int, int]]:
    """(SKU, column, before, after) of every figure that a revision states otherwise than the one before it."""
    at = positions(before["sku"], after["sku"], f"{name}: no row for a SKU that was closed")
    found: list[tuple[str, str, int, int]] = []
    for column in SUMMED:
        was = np.zeros(len(after["sku"]), dtype=np.int64)
        was[at] = before[column]
        changed = np.flatnonzero(was != after[column])
        skus = after["sku"].take(pa.array(changed)).to_pylist()
        found += zip(skus, [column] * len(skus), was[changed].tolist(), after[column][changed].tolist(), strict=True)
    return sorted(found)


def lines_csv(lines: Iterable[tuple[str, Line]], adjusted: list[tuple[str, str, int, int]] | None) -> bytes:
    """DIFFERENCE lines sum to a row's `difference_explained`; ADJUSTMENT lines lead from the revision before."""
    rows: list[tuple[Any, ...]] = [
        ("DIFFERENCE", sku, line.cause.value, line.event_id, "", "", line.units) for sku, line in lines
    ]
    rows += [("ADJUSTMENT", sku, column, "", was, now, now - was) for sku, column, was, now in adjusted or []]
    return _csv(LINE_COLUMNS, rows)


def settlement_csv(settled: Iterable[tuple[str, Settled]]) -> bytes:
    """Units by supplier and SKU: what receipts brought, and what customers returned of the supplier's goods."""
    return _csv(
        SETTLEMENT_COLUMNS,
        sorted((known.supplier or UNKNOWN_SUPPLIER, sku, known.received, known.returned) for sku, known in settled),
    )


def suppliers(settled: Iterable[tuple[str, Settled]]) -> dict[str, dict[str, int]]:
    """The same, summed by supplier."""
    sums: dict[str, dict[str, int]] = {}
    for _, known in settled:
        of = sums.setdefault(known.supplier or UNKNOWN_SUPPLIER, {"received": 0, "returned": 0})
        of["received"] += known.received
        of["returned"] += known.returned
    return dict(sorted(sums.items()))


def _csv(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()

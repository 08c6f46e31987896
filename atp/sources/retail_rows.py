"""Rows of Online Retail: read a span of days and say what kind each row is.

Traps of the source, and what is decided here:
* 5,268 rows repeat exactly and an invoice names a product on up to 20 lines: a row is known by its position in
  the file, nothing else.
* `InvoiceNo` with `A` is bad debt (two of the three have a negative price): judged before the price is read.
* Stock codes that do not start with a digit are postage, fees, vouchers: not goods, whatever their kind.
* `85123a` and `85123A` are one product: SKUs are upper-cased (4,070 codes → 3,958).
* The sign of an adjustment says where stock goes: more than 0 is stock in, unlike on a sale.
* Minutes only: rows of a minute are spread over it in file order, 40 ms apart, which keeps their order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib import resources

import msgspec
import zstandard

from atp.sources.retail_time import uk_minute_ms

FIRST_DAY, LAST_DAY = "2010-12-01", "2011-12-09"
ROW_SPACING_MS = 40
_LAST_SPACED_ROW = 59_999 // ROW_SPACING_MS
# No gap of the source (Christmas) is longer.
_LONGEST_CLOSURE_DAYS = 31


class RowKind(StrEnum):
    """What a row states; disjoint, and together all rows."""

    SALE = "sale"
    CANCELLATION = "cancellation"
    ADJUSTMENT_DOWN = "adjustment_down"
    ADJUSTMENT_UP = "adjustment_up"
    FREE_GOODS = "free_goods"
    BAD_DEBT = "bad_debt"


class Row(msgspec.Struct, gc=False):
    """A row of the source. `position` counts from 1; `units` is signed as in the source."""

    position: int
    kind: RowKind
    goods: bool
    invoice: str
    code: str
    sku: str
    units: int
    time_ms: int
    customer: str
    country: str
    description: str


def read_data(name: str) -> bytes:
    """A file that comes with this package."""
    return resources.files("atp.sources").joinpath("data", name).read_bytes()


def row_kind(invoice: str, units: int, price: float, customer: str) -> RowKind:
    """The kind of a row; the order of the questions makes the kinds disjoint."""
    if invoice.startswith("C"):
        return RowKind.CANCELLATION
    if invoice.startswith("A"):
        return RowKind.BAD_DEBT
    if price > 0 and units > 0:
        return RowKind.SALE
    if price == 0 and customer:
        return RowKind.FREE_GOODS
    assert price == 0, f"invoice {invoice}: no kind of row has price {price} and {units} units"
    return RowKind.ADJUSTMENT_UP if units > 0 else RowKind.ADJUSTMENT_DOWN


def rows_of(first_day: str = FIRST_DAY, last_day: str = LAST_DAY) -> Iterator[Row]:
    """Rows of the days `first_day` to `last_day` (inclusive, `YYYY-MM-DD`, UK), in file order."""
    text, first_position = _from_day(_whole_text(), first_day)
    minute, rank = "", 0
    for position, fields in enumerate(csv.reader(io.StringIO(text)), first_position):
        if fields[3][:10] > last_day:
            return
        rank = rank + 1 if fields[3] == minute else 0
        minute = fields[3]
        yield _row(position, fields, rank)


def _row(position: int, fields: list[str], rank: int) -> Row:
    invoice, code, quantity, minute, price, customer, country, description = fields
    units = int(quantity)
    time_ms = uk_minute_ms(minute) + min(rank, _LAST_SPACED_ROW) * ROW_SPACING_MS
    kind, sku = row_kind(invoice, units, float(price), customer), code.upper()
    goods = code[0].isdigit()
    return Row(position, kind, goods, invoice, code, sku, units, time_ms, customer, country, description)


def _whole_text() -> str:
    compressed = io.BytesIO(read_data("online_retail.csv.zst"))
    with zstandard.ZstdDecompressor().stream_reader(compressed) as reader:
        return reader.read().decode()


def _from_day(text: str, first_day: str) -> tuple[str, int]:
    """The rows from a day on, and the position of the first; rows lie in order of days, so earlier ones are cut."""
    day = date.fromisoformat(max(first_day, FIRST_DAY))
    for later in range(_LONGEST_CLOSURE_DAYS):
        found = text.find(f",{day + timedelta(later)} ")
        if found >= 0:
            start = text.rfind("\n", 0, found) + 1
            return text[start:], text.count("\n", 0, start)
    return "", 0


@lru_cache(maxsize=1)
def damage_vocabulary() -> frozenset[str]:
    """Descriptions of downward adjustments that speak of damage."""
    lines = csv.DictReader(io.StringIO(read_data("adjustments_vocabulary.csv").decode()))
    return frozenset(
        line["Description"] for line in lines if line["sign"] == "neg" and line["suggested_event_type"] == "damage"
    )


@lru_cache(maxsize=1)
def product_names() -> dict[str, str]:
    """SKU → the commonest description of what was sold; a code of mixed case gives its name to one SKU."""
    lines = csv.DictReader(io.StringIO(read_data("products.csv").decode()))
    return {line["StockCode"].upper(): line["Description"].strip() for line in lines}

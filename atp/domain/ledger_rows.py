"""The rows of one SKU: its sparse entries, date by date, as a closed day states them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

from atp.domain.daily_ledger import Facts, LedgerRow, Rules, SkuLedger, reckon
from atp.domain.ledger_account import LedgerRows, opening_of, postings_of
from atp.domain.ledger_book import Posting
from atp.domain.ledger_close import Status
from atp.domain.ledger_days import FIGURES
from atp.domain.ledger_demand import demand_of
from atp.domain.reservations import Line
from atp.domain.rows import SpreadRows


def ledger_of(
    sku: str, rows: LedgerRows, lines: SpreadRows[Line], rules: Rules, regions: Collection[str] | None = None
) -> SkuLedger:
    """The ledger of a SKU by what a worker keeps of it; of some regions alone, it says nothing of the others."""
    demand = {key: demand_of(line) for key, line in lines.items(sku) if line.versions}
    postings = postings_of(sku, rows)
    if regions is not None:
        postings = [posting for posting in postings if _concerns(posting, regions, rules)]
    return reckon(Facts(sku, postings, demand), rules, opening_of(sku, rows, rules.horizons))


def _concerns(posting: Posting, regions: Collection[str], rules: Rules) -> bool:
    """Whether a fact may change stock of some regions: a document may move from one to another."""
    return posting.document is not None or rules.region_of(posting.node) in regions


def row_of(ledger: SkuLedger, region: str, ordinal: int, revision: int, status: Status) -> Any:
    """The LedgerRow of a date; None before the first fact of the SKU in the region."""
    known = [entry for entry in ledger.entries if entry.region == region and entry.ordinal <= ordinal]
    if not known:
        return None
    last = known[-1]
    today = last if last.ordinal == ordinal else None
    movements = today.movements if today is not None else [0] * FIGURES
    difference = today.difference if today is not None else 0
    return LedgerRow(  # by place, in the order of its columns: thirty names would cost more than all the rest
        "1.0",
        date.fromordinal(ordinal),
        region,
        ledger.sku,
        revision,
        status,
        last.closing_sellable - sum(movements[0::2]),
        last.closing_on_hand - sum(movements[1::2]),
        *movements,
        last.closing_sellable,
        last.closing_on_hand,
        sum([entry.reserved for entry in known]),
        sum([entry.promised for entry in known]),
        last.closing_sellable - difference,
        difference,
    )

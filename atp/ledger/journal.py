"""A day as double entry: for beancount and hledger, whose own checks are the proof that it balances.

Units of a SKU lie in Sellable or Held (everything else on hand); every class of movement has an account outside.
One transaction per class, and at the end an assertion of every closing. UNIT is the only commodity.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import msgspec

from atp.domain.ledger_book import CLASSES

OUTSIDE = {
    "opening": "Equity:Opening",
    "receipts": "Equity:Suppliers",
    "returns": "Equity:Customers",
    "shipments": "Equity:Customers",
    "damages": "Equity:Damages",
    "write_offs": "Equity:WriteOffs",
    "adjustments": "Equity:Adjustments",
    "moves": "Equity:Moves",
    "count_corrections": "Equity:CountCorrections",
    "reconciliation_corrections": "Equity:ReconciliationCorrections",
}
Posting = tuple[str, int]


class Transaction(msgspec.Struct):
    """Postings that sum to 0."""

    what: str
    postings: list[Posting]


def part(text: str) -> str:
    """A name as part of an account: letters and digits stay, all else is written as -hex-; it begins with N."""
    return "N" + "".join(c if c.isascii() and c.isalnum() else f"-{ord(c):x}-" for c in text)


def transactions(rows: list[dict[str, Any]], region: str) -> Iterator[Transaction]:
    """The opening, then one transaction per class, where something moved."""
    for name in ("opening", *CLASSES):
        account = OUTSIDE[name]
        postings = list(_postings(rows, region, name, account))
        if postings:
            yield Transaction(name, postings)


def _postings(rows: list[dict[str, Any]], region: str, name: str, outside: str) -> Iterator[Posting]:
    total = 0
    for row in rows:
        sellable, on_hand = row[f"{name}_sellable"], row[f"{name}_on_hand"]
        for account, units in _split(row["sku"], region, sellable, on_hand):
            if units:
                yield account, units
        total += on_hand
    if total:
        yield outside, -total


def _split(sku: str, region: str, sellable: int, on_hand: int) -> Iterator[Posting]:
    yield f"Assets:Stock:{part(region)}:Sellable:{part(sku)}", sellable
    yield f"Assets:Stock:{part(region)}:Held:{part(sku)}", on_hand - sellable


def _closings(rows: list[dict[str, Any]], region: str) -> Iterator[Posting]:
    for row in rows:
        yield from _split(row["sku"], region, row["closing_sellable"], row["closing_on_hand"])


def beancount(rows: list[dict[str, Any]], region: str, day: date, revision: int) -> str:
    """The day for beancount (`bean-check`)."""
    closings = list(_closings(rows, region))
    lines = [f"; daily ledger of {part(region)[1:]}, {day}, revision {revision}"]
    lines += [f"{day} open {name} UNIT" for name in dict.fromkeys(OUTSIDE.values())]
    lines += [f"{day} open {account} UNIT" for account, _ in closings]
    for found in transactions(rows, region):
        lines += ["", f'{day} * "{found.what}"', *(f"  {account}  {units} UNIT" for account, units in found.postings)]
    lines.append("")
    lines += [f"{day + timedelta(days=1)} balance {account}  {units} UNIT" for account, units in closings]
    return "\n".join(lines) + "\n"


def hledger(rows: list[dict[str, Any]], region: str, day: date, revision: int) -> str:
    """The day for hledger (`hledger check`); the closing asserts every balance."""
    lines = [f"; daily ledger of {part(region)[1:]}, {day}, revision {revision}"]
    for found in transactions(rows, region):
        lines += ["", f"{day} * {found.what}", *(f"    {account}  {units} UNIT" for account, units in found.postings)]
    lines += ["", f"{day} * closing"]
    lines += [f"    {account}  0 UNIT = {units} UNIT" for account, units in _closings(rows, region)]
    return "\n".join(lines) + "\n"

"""What the commands of the ledger share: errors in one line, revisions in one line, dates."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from atp.commands.errors import CommandError, WrongUseError
from atp.ledger.columns import BrokenLedgerError
from atp.ledger.store import LedgerStoreError, Manifest


@contextmanager
def told() -> Iterator[None]:
    """What is wrong with a ledger ends as one line."""
    try:
        yield
    except (BrokenLedgerError, LedgerStoreError) as error:
        raise CommandError(f"ledger: {error}") from None


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: it would walk millions of facts again and again, and no cycle is among them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def line_of(manifest: Manifest) -> str:
    """A revision in one line."""
    share = "no totals" if manifest.completeness is None else f"{manifest.completeness * 100:.3f} %"
    return (
        f"{manifest.business_date}  {manifest.region:<16}revision {manifest.revision:<3}{manifest.status:<12}"
        f"{manifest.rows:>9} rows  complete {share}"
    )


def shortfalls(manifest: Manifest) -> list[str]:
    """What is missing, by source, topic and hour."""
    return [
        f"{found.source}, {found.topic}, hour {found.hour}: {found.facts} of {found.expected_facts} records"
        for found in manifest.shortfalls
    ]


def business_date(text: str, option: str) -> str:
    """A date as it names folders."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise WrongUseError(f"{option} = {text!r}: a date is allowed, such as 2011-11-25") from None

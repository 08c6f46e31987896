"""A closed revision in the form that somebody else reads: Parquet and CSV with their manifest, journals, a page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any, Protocol

import msgspec

from atp.ledger import journal
from atp.ledger.encode import csv_bytes, read_parquet
from atp.ledger.store import LedgerStoreError, Manifest, Store, usable_region

FORMATS = ("parquet", "csv", "beancount", "hledger")


class Source(Protocol):
    """What revisions are read from: a target of files, or the worker's topics."""

    def folders(self) -> list[tuple[str, str]]: ...
    def manifest(self, date: str, region: str, revision: int | None = None) -> Manifest: ...
    def content(self, manifest: Manifest, name: str) -> bytes: ...
    def rows_of(self, manifest: Manifest) -> bytes: ...


def export(manifest: Manifest, source: Source, target: Store, forms: Iterable[str]) -> Manifest:
    """Write a revision to another target, byte for byte the same every time; the manifest comes last.

    What the target has of the revision already stays; if it is of another revision, it is refused.
    """
    if not usable_region(manifest.region):
        raise LedgerStoreError(f"region = {manifest.region!r}: a name without / and \\ is needed")
    copy, names = msgspec.structs.replace(manifest, files={}), _names(manifest, forms)
    if manifest.revision in target.revisions(manifest.business_date, manifest.region):
        known = target.manifest(manifest.business_date, manifest.region, manifest.revision)
        if msgspec.structs.replace(known, files={}) != copy:
            place = f"{manifest.business_date}, {manifest.region}, revision {manifest.revision}"
            raise LedgerStoreError(f"{place}: the target has another one; a closed revision never changes")
        copy.files = dict(known.files)
    missing = [name for name in names if name not in copy.files]
    if missing:
        target.publish(copy, [(name, _content(manifest, source, name)) for name in missing], again=True)
    return copy


def _names(manifest: Manifest, forms: Iterable[str]) -> list[str]:
    """The forms asked for, and what stands beside them: the worker's topics have no lines and no settlements."""
    number = manifest.revision
    beside = (f"lines-{number}.csv", f"settlement-{number}.csv")
    ends = {form: f"revision-{number}.{'journal' if form == 'hledger' else form}" for form in FORMATS}
    return [*(ends[form] for form in forms), *(name for name in beside if name in manifest.files)]


def _content(manifest: Manifest, source: Source, name: str) -> bytes:
    if name in manifest.files:
        return source.content(manifest, name)
    rows = source.rows_of(manifest)
    if name.endswith(".parquet"):
        return rows
    table = read_parquet(rows)
    if name.endswith(".csv"):
        return csv_bytes(table)
    return _journal(table.to_pylist(), manifest, name).encode()


def _journal(rows: list[dict[str, Any]], manifest: Manifest, name: str) -> str:
    write = journal.beancount if name.endswith(".beancount") else journal.hledger
    day = date.fromisoformat(manifest.business_date)
    return write(rows, manifest.region, day, manifest.revision)

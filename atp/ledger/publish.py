"""Rows of closed revisions on `atp.ledger.daily.v1`, each revision once.

A marker beside the manifest says that all of its rows are on the topic; a publication that was cut off is done again,
with the same keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from atp.commands.lines import Outgoing
from atp.ledger.encode import read_parquet
from atp.ledger.store import Manifest, Store
from atp.topics import LEDGER

ROWS_AT_ONCE = 50_000
_encode = msgspec.json.Encoder().encode


def unpublished(store: Store) -> Iterator[Manifest]:
    """Every revision without a marker, in the order of its date."""
    for date, region in store.folders():
        names = set(store.names(store.folder(date, region)))
        for revision in store.revisions(date, region):
            if f"published-{revision}.json" not in names:
                yield store.manifest(date, region, revision)


def rows_of(manifest: Manifest, store: Store) -> Iterator[list[Outgoing]]:
    """The rows of a revision as records, some at a time."""
    for batch in read_parquet(store.rows_of(manifest)).to_batches(ROWS_AT_ONCE):
        yield [_record(row, number) for number, row in enumerate(batch.to_pylist(), 1)]


def _record(row: dict[str, Any], number: int) -> Outgoing:
    key = f"{row['business_date']}|{row['region']}|{row['sku']}|{row['revision']}"
    return Outgoing(LEDGER.name, key, _encode({"schema_version": "1.0", **row}), None, number)


def mark(manifest: Manifest, store: Store) -> None:
    """Say that a revision is on the topic."""
    path = f"{store.folder(manifest.business_date, manifest.region)}/published-{manifest.revision}.json"
    store.write(path, _encode({"topic": LEDGER.name, "rows": manifest.rows}) + b"\n")

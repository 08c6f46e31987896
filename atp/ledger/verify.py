"""Proof of what was closed: every day is reckoned again from its facts and compared row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import compute

from atp.domain.times import iso_day, to_ms
from atp.ledger.columns import SUMMED
from atp.ledger.days import ledger_days
from atp.ledger.encode import columns_of
from atp.ledger.gather import LEDGER_TOPICS, gather
from atp.ledger.origins import Origin
from atp.ledger.store import LedgerStoreError, Manifest, Store

SHOWN = 10


class Verified(msgspec.Struct):
    """A revision and what is wrong with it; nothing, if it is what its facts say."""

    manifest: Manifest
    wrong: list[str]


def verify(store: Store, origin: Origin, manifests: Iterable[Manifest]) -> Iterator[Verified]:
    """Reckon each revision again, of the records and as of the instant it was closed at."""
    groups: dict[tuple[Any, ...], dict[tuple[str, str], Manifest]] = defaultdict(dict)
    for manifest in manifests:
        made_of = (manifest.closed_at, *sorted(manifest.inputs.items()))
        groups[made_of][manifest.business_date, manifest.region] = manifest
    for wanted in groups.values():
        yield from _group(store, origin, wanted)


def _group(store: Store, origin: Origin, wanted: dict[tuple[str, str], Manifest]) -> Iterator[Verified]:
    first = next(iter(wanted.values()))
    close_ms = to_ms(datetime.fromisoformat(first.closed_at))
    gathered = gather(origin.records(first.inputs), origin.world(first.inputs), close_ms)
    short = [
        f"{log}: ends at {gathered.inputs.get(log, 0)}, was closed of {following}"
        for log, following in first.inputs.items()
        if log.partition("/")[0] in LEDGER_TOPICS and gathered.inputs.get(log, 0) != following
    ]
    left = dict(wanted)
    if not short:
        for day in ledger_days(gathered, close_ms):
            manifest = left.pop((iso_day(day.day.ordinal), day.region), None)
            if manifest is not None:
                yield Verified(manifest, _compared(store, manifest, day.columns))
    for manifest in left.values():
        yield Verified(manifest, short or ["the facts have no such day"])


def _compared(store: Store, manifest: Manifest, expected: dict[str, Any]) -> list[str]:
    try:
        found = columns_of(store.rows_of(manifest))
        for name in manifest.files:
            store.content(manifest, name)
    except LedgerStoreError as error:
        return [str(error)]
    return list(islice(differing(found, expected), SHOWN))


def differing(found: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    """Every row and figure that is not what the facts say."""
    for sku in _only(found["sku"], expected["sku"]):
        yield f"sku {sku}: a row that the facts do not have"
    for sku in _only(expected["sku"], found["sku"]):
        yield f"sku {sku}: no row"
    both = compute.is_in(found["sku"], expected["sku"])
    skus = found["sku"].filter(both)
    here = np.flatnonzero(both.to_numpy(zero_copy_only=False))
    there = compute.index_in(skus, expected["sku"]).to_numpy(zero_copy_only=False).astype(np.int64)
    for name in SUMMED:
        one, other = found[name][here], expected[name][there]
        for row in np.flatnonzero(one != other):
            yield f"sku {skus[int(row)]}: {name} = {one[row]}, the facts say {other[row]}"


def _only(skus: pa.Array, among: pa.Array) -> list[str]:
    found: list[str] = skus.filter(compute.invert(compute.is_in(skus, among))).to_pylist()
    return found

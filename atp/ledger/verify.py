"""Proof of what was closed: every day is reckoned again from its facts and compared row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain, islice
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
from atp.ledger.topic_ledger import TopicLedger, problems

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


def verify_topics(ledger: TopicLedger, origin: Origin, manifests: Iterable[Manifest]) -> Iterator[Verified]:
    """Reckon each revision that the worker closed again, of all facts recorded before it was closed.

    Rows are reckoned one after the other, between the asking and the close; of a fact recorded meanwhile a row may
    know or not, and both are right.
    """
    groups: dict[str, list[Manifest]] = defaultdict(list)
    for manifest in manifests:
        groups[manifest.closed_at].append(manifest)
    for closed_at, group in groups.items():
        derived = _derived(origin, group, closed_at)
        for manifest in group:
            found, asked_at = ledger.columns(manifest), ledger.record(manifest).asked_at
            wrong = list(differing(found, derived(manifest)))
            if wrong and asked_at != closed_at:
                still = {sku for sku, _ in differing(found, _derived(origin, [manifest], asked_at)(manifest))}
                wrong = [(sku, text) for sku, text in wrong if sku in still]
            texts = (text for _, text in wrong)
            yield Verified(manifest, list(islice(chain(problems(manifest, found), texts), SHOWN)))


def _derived(origin: Origin, manifests: list[Manifest], at: str) -> Callable[[Manifest], dict[str, Any]]:
    """The rows of some dates by the facts recorded up to an instant; none where the facts have no such day."""
    at_ms = to_ms(datetime.fromisoformat(at))
    wanted = {(manifest.business_date, manifest.region) for manifest in manifests}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for day in ledger_days(gather(origin.records(), origin.world(), at_ms), at_ms):
        place = (iso_day(day.day.ordinal), day.region)
        if place in wanted:
            found[place] = day.columns
    none = {"sku": pa.array([], pa.string()), **{name: np.zeros(0, dtype=np.int64) for name in SUMMED}}
    return lambda manifest: found.get((manifest.business_date, manifest.region), none)


def _compared(store: Store, manifest: Manifest, expected: dict[str, Any]) -> list[str]:
    try:
        found = columns_of(store.rows_of(manifest))
        for name in manifest.files:
            store.content(manifest, name)
    except LedgerStoreError as error:
        return [str(error)]
    return [text for _, text in islice(differing(found, expected), SHOWN)]


def differing(found: dict[str, Any], expected: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every row and figure that is not what the facts say, with its SKU."""
    for sku in _only(found["sku"], expected["sku"]):
        yield sku, f"sku {sku}: a row that the facts do not have"
    for sku in _only(expected["sku"], found["sku"]):
        yield sku, f"sku {sku}: no row"
    both = compute.is_in(found["sku"], expected["sku"])
    skus = found["sku"].filter(both)
    here = np.flatnonzero(both.to_numpy(zero_copy_only=False))
    there = compute.index_in(skus, expected["sku"]).to_numpy(zero_copy_only=False).astype(np.int64)
    for name in SUMMED:
        one, other = found[name][here], expected[name][there]
        for row in np.flatnonzero(one != other):
            sku = skus[int(row)].as_py()
            yield sku, f"sku {sku}: {name} = {one[row]}, the facts say {other[row]}"


def _only(skus: pa.Array, among: pa.Array) -> list[str]:
    found: list[str] = skus.filter(compute.invert(compute.is_in(skus, among))).to_pylist()
    return found

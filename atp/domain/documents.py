"""Cumulative documents: each version states totals, its stock effect is what it adds to the version before.

A version's share is dated at the version's own time. When a lower version arrives late, the share of the next
higher one is split: the part that the lower version already stated moves to the lower version's time.

A document is never forgotten: its next version, however late, is understood only against the one before it.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec
from xxhash import xxh3_64_intdigest

from atp.domain.stock import StockEffect

_TAG_MASK = 2**62 - 1


class Totals(msgspec.Struct, array_like=True, gc=False):
    """The stock totals that one version of a document states for its node: flat (state index, quantity) pairs."""

    version: int
    time_ms: int
    node: str
    legs: tuple[int, ...]


class History(msgspec.Struct, array_like=True):
    """The known versions of a document line, ascending; `settled`: older ones were dropped."""

    versions: list[Totals] = []
    settled: bool = False


def insert(history: History, totals: Totals, cutoff_ms: int) -> int | None:
    """Put a version in its place. None: it is known, or lies before all that can still be re-dated."""
    versions = history.versions
    at = bisect_left(versions, totals.version, key=lambda known: known.version)
    if at < len(versions) and versions[at].version == totals.version:
        return None
    if at == 0 and history.settled:
        return None
    if at < len(versions) and versions[at].time_ms < cutoff_ms:
        return None
    versions.insert(at, totals)
    while len(versions) > 2 and at > 1 and versions[1].time_ms < cutoff_ms:
        del versions[0]
        history.settled = True
        at -= 1
    return at


def effects(history: History, at: int, sku: str, name: str, stream_ms: int) -> list[StockEffect]:
    """The stock effects of the version inserted at `at`, re-dating the share of the one above it."""
    versions = history.versions
    changed = _shares(sku, name, versions[at - 1] if at else None, versions[at], stream_ms)
    if at + 1 < len(versions):
        above = versions[at + 1]
        changed += _withdrawn(sku, name, versions[at - 1] if at else None, above, stream_ms)
        changed += _shares(sku, name, versions[at], above, stream_ms)
    return [effect for effect in changed if effect.legs or effect.replaces]


def _withdrawn(sku: str, name: str, below: Totals | None, above: Totals, stream_ms: int) -> list[StockEffect]:
    """Take back the share that `above` had while the late version was not known."""
    return [
        msgspec.structs.replace(effect, legs=(), replaces=True)
        for effect in _shares(sku, name, below, above, stream_ms)
        if effect.legs
    ]


def tag_of(name: str, version: int) -> int:
    """What marks the journal entries of a document version."""
    return int(xxh3_64_intdigest(f"{name}\x1f{version}".encode())) & _TAG_MASK


def _shares(sku: str, name: str, below: Totals | None, above: Totals, stream_ms: int) -> list[StockEffect]:
    """What `above` adds to `below`, per node (a line may be redirected to another node)."""
    tag = tag_of(name, above.version)

    def share(node: str, legs: tuple[int, ...]) -> StockEffect:
        return StockEffect(sku, node, above.time_ms, legs, stream_ms, tag)

    if below is None:
        return [share(above.node, _difference((), above.legs))]
    if below.node == above.node:
        return [share(above.node, _difference(below.legs, above.legs))]
    return [share(below.node, _difference(below.legs, ())), share(above.node, _difference((), above.legs))]


def _difference(below: tuple[int, ...], above: tuple[int, ...]) -> tuple[int, ...]:
    deltas: dict[int, int] = {}
    for legs, sign in ((above, 1), (below, -1)):
        for at in range(0, len(legs), 2):
            deltas[legs[at]] = deltas.get(legs[at], 0) + sign * legs[at + 1]
    return tuple(part for state in sorted(deltas) if deltas[state] for part in (state, deltas[state]))

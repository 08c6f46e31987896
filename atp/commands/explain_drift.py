"""What the systems of record last said of a SKU, beside what we had at that instant."""

from __future__ import annotations

from typing import Any

from atp.domain.audit import audit
from atp.domain.availability import Situation
from atp.domain.desk import Books, Desk
from atp.domain.fold import State, World
from atp.domain.intake import Horizons
from atp.domain.resolution import settle
from atp.domain.snapshots import STOCK, SnapshotRow
from atp.domain.times import rfc3339
from atp.domain.truth import SkuTruth, Truth, drifts_of


def hold_against(sku: str, truths: SkuTruth, desk: Desk) -> None:
    """Let the SKU's head know how far its state is from the truths in force, as the worker does."""
    desk.books.truths[sku,] = truths
    settle(sku, desk)


def truths_of(sku: str, rows: list[SnapshotRow], world: World, horizons: Horizons, now_ms: int) -> SkuTruth:
    """The truths in force by a SKU's own rows; of keys that a snapshot passes over they know nothing."""
    books = Books.in_memory()
    audit(rows, [], Desk(books, State.in_memory(), world, horizons, now_ms))
    return books.truths.get((sku,)) or SkuTruth()


def drifts(situation: Situation, truths: SkuTruth, state: State) -> list[dict[str, Any]]:
    """Every truth in force on the region, and what of it disagrees."""
    here = {node.node for node, _ in situation.nodes}
    return [
        _said(situation, truth, state)
        for _, truth in sorted(truths.known.items())
        if (truth.place in here if truth.kind == STOCK else truth.place == situation.region)
    ]


def _said(situation: Situation, truth: Truth, state: State) -> dict[str, Any]:
    found = drifts_of(situation.sku, truth, state.stock, state.reservations, situation.horizons)
    return {
        "kind": truth.kind,
        "place": truth.place,
        "source": truth.source,
        "snapshot_id": truth.snapshot_id,
        "as_of": rfc3339(truth.as_of_ms),
        "units": sum(drift.units for drift in found),
        "over_promised_units": sum(drift.over for drift in found),
        "keys": [
            {"line": drift.line.replace("\x1f", "/") or None, "ours": drift.ours, "theirs": drift.theirs}
            for drift in found
        ],
    }

"""Reconciliation of a partition: snapshots in, comparisons and reports out.

    take_row, take_marker    what arrives                        (nothing is compared yet)
    advance                  compare what has waited long enough, look for keys that no row named, report
    resolution.settle        compare a SKU anew: a late fact or a correction is dated before its latest snapshot
    resolution.decide        a person's word on a proposed correction

All act on the same `Desk`. The region's side, verdicts and modes, is `switching.py`.
"""

from __future__ import annotations

from atp.domain.desk import Desk, Outcome, Page, Passed
from atp.domain.resolution import compare_anew
from atp.domain.series import PartitionBook, Progress, Series, Waiting
from atp.domain.snapshots import STOCK, SnapshotClosed, SnapshotRow, units_of
from atp.domain.times import to_ms
from atp.domain.truth import Drift, SkuTruth, Truth, drifts_of, keys_of, name_of, nothing, truth_of

LOOKED_AT = 2  # keys that are looked up in a search while one is compared: their rows are rarely in memory
MOST_OPEN = 4  # snapshots of one source that may wait; a source without heartbeats must not fill the tables


def take_row(row: SnapshotRow, desk: Desk) -> Outcome:
    """Take a row of a snapshot: it waits. One that came before, or too late, changes nothing."""
    truth, books = truth_of(row), desk.books
    book = books.book
    series = book.of(truth)
    progress = series.find(truth.snapshot_id, truth.as_of_ms)
    known = books.truths.get((row.sku,)) or SkuTruth()
    name = name_of(truth.kind, truth.place)
    if progress is not None and not _came(known, name, truth):
        progress.rows += 1
        progress.units += units_of(row)
        if truth.kind == STOCK and truth.place not in series.places:
            series.places = sorted([*series.places, truth.place])
        known.waiting[f"{name}|{truth.snapshot_id}"] = truth
        books.truths[row.sku,] = known
        Waiting(books.waiting).add(progress, series, row.sku)
    books.keep(book)
    return Outcome()


def _came(known: SkuTruth, name: str, truth: Truth) -> bool:
    before = known.known.get(name)
    if before is not None and before.source == truth.source and before.snapshot_id == truth.snapshot_id:
        return True
    return f"{name}|{truth.snapshot_id}" in known.waiting


def take_marker(marker: SnapshotClosed, kind: str, desk: Desk) -> Outcome:
    """Take a closing marker: how many rows and units this partition was sent."""
    book = desk.books.book
    progress = book.named(marker.source, marker.region, kind).find(marker.snapshot_id, to_ms(marker.as_of))
    if progress is not None and not progress.closed:
        progress.expected_rows, progress.expected_units = marker.rows, marker.units
        progress.closed_ms = desk.now_ms
    desk.books.keep(book)
    return Outcome()


def advance(desk: Desk, passed: Passed, page: Page, limit: int) -> Outcome:
    """Go on with every snapshot whose source and whose reader have passed its as_of; at most about `limit` SKUs."""
    outcome, book, worked = Outcome(), desk.books.book, 0
    for series in book.series.values():
        passed_ms = passed(series.source, series.region)
        for progress in list(series.open):
            if worked >= limit:
                outcome.more = True
                break
            done = _advance(series, progress, passed_ms, page, limit - worked, desk, book, outcome)
            worked += done
    if worked:
        desk.books.keep(book)
    return outcome


def _advance(
    series: Series, progress: Progress, passed_ms: int, page: Page, limit: int, desk: Desk, book: PartitionBook,
    outcome: Outcome,
) -> int:  # fmt: skip
    """The next piece of work on one snapshot; answers how many SKUs it took."""
    crowded = len(series.open) > MOST_OPEN and progress is series.open[0]
    if crowded or progress.as_of_ms < desk.now_ms - desk.horizons.journal_ms:
        return _report(series, progress, desk, outcome)
    if passed_ms < progress.as_of_ms + desk.horizons.ambiguity_ms:
        return 0
    book.compared_ms = max(book.compared_ms, progress.as_of_ms + desk.horizons.ambiguity_ms)
    taken = 0
    while progress.waits and taken < limit:
        skus = Waiting(desk.books.waiting).pop(progress, series)
        for sku in skus:
            _compare(sku, series, progress, desk, book, outcome)
        taken += len(skus)
    if progress.waits:
        outcome.more = True
    elif progress.closed and progress.complete:
        taken += _search(series, progress, page, limit - taken, desk, book, outcome)
    elif _overdue(series, progress, desk):
        taken += _report(series, progress, desk, outcome)
    return taken


def _overdue(series: Series, progress: Progress, desk: Desk) -> bool:
    """Whether nothing more is to be waited for, although rows are missing."""
    if any(other.closed and other.as_of_ms > progress.as_of_ms for other in series.open):
        return True
    grace_ms = desk.world.policies.of_region(series.region).heartbeat_timeout_ms
    return progress.closed and desk.now_ms > progress.closed_ms + grace_ms


def _report(series: Series, progress: Progress, desk: Desk, outcome: Outcome) -> int:
    """Report a snapshot as it stands; rows that nobody compared are forgotten."""
    while progress.waits:
        for sku in Waiting(desk.books.waiting).pop(progress, series):
            _forget(sku, progress.snapshot_id, desk)
    outcome.partials.append(series.end(progress, desk.partition, desk.partitions, desk.now_ms))
    return 1


def _forget(sku: str, snapshot_id: str, desk: Desk) -> None:
    known = desk.books.truths.get((sku,))
    if known is not None:
        kept = {name: truth for name, truth in known.waiting.items() if truth.snapshot_id != snapshot_id}
        known.waiting = kept
        desk.books.truths[sku,] = known


def _compare(sku: str, series: Series, progress: Progress, desk: Desk, book: PartitionBook, outcome: Outcome) -> None:
    """Compare the rows of a SKU that wait for this snapshot; from now on they are the truth in force."""
    known = desk.books.truths.get((sku,)) or SkuTruth()
    waiting = [
        (name, truth)
        for name, truth in known.waiting.items()
        if truth.snapshot_id == progress.snapshot_id
        and truth.source == series.source
        and truth.region == series.region
    ]
    found = {}
    for name, truth in waiting:
        del known.waiting[name]
        drifts = _drifts(sku, truth, desk)
        if _enforce(sku, truth, drifts, known, progress, desk):
            found[name_of(truth.kind, truth.place)] = drifts
    if waiting:
        desk.books.truths[sku,] = known
        compare_anew(sku, known, found, desk, book, outcome)


def _drifts(sku: str, truth: Truth, desk: Desk) -> list[Drift]:
    return drifts_of(sku, truth, desk.state.stock, desk.state.reservations, desk.horizons)


def _enforce(sku: str, truth: Truth, drifts: list[Drift], known: SkuTruth, progress: Progress, desk: Desk) -> bool:
    """Count a comparison; whether its truth is in force from now on, because none is newer."""
    policy = desk.world.policies.resolve(sku, truth.region)
    progress.count(keys_of(sku, truth, desk.state.reservations), drifts, policy.drift_units_tolerance)
    name = name_of(truth.kind, truth.place)
    before = known.known.get(name)
    if before is not None and before.as_of_ms > truth.as_of_ms:
        return False
    known.known[name] = truth
    return True


def _search(
    series: Series, progress: Progress, page: Page, limit: int, desk: Desk, book: PartitionBook, outcome: Outcome
) -> int:
    """Look for keys that a complete snapshot does not name: of these there is nothing."""
    skus = page(progress.cursor, max(1, limit) * LOOKED_AT)
    for sku in skus:
        _enforce_nothing(sku, series, progress, desk, book, outcome)
    if skus:
        progress.cursor = skus[-1]
        outcome.more = True
        return 1 + len(skus) // LOOKED_AT
    series.said = (progress.snapshot_id, progress.as_of_ms)
    return _report(series, progress, desk, outcome)


def _enforce_nothing(
    sku: str, series: Series, progress: Progress, desk: Desk, book: PartitionBook, outcome: Outcome
) -> None:
    """The keys of the SKU that the snapshot passed over although we, or the snapshot before, knew them."""
    head = desk.state.heads.get((sku,))
    if head is None:
        return
    known = desk.books.truths.get((sku,)) or SkuTruth()
    found = {}
    for place in head.nodes if series.kind == STOCK else [series.region]:
        name = name_of(series.kind, place)
        before = known.known.get(name)
        if before is not None and before.snapshot_id == progress.snapshot_id:
            continue
        if series.kind == STOCK and place not in series.places:
            continue
        truth = nothing(series.kind, place, series.region, series.source, progress.snapshot_id, progress.as_of_ms)
        drifts = _drifts(sku, truth, desk)
        said = drifts or _says_something(sku, truth, before, desk)
        if said and _enforce(sku, truth, drifts, known, progress, desk):
            found[name] = drifts
    if found:
        desk.books.truths[sku,] = known
        compare_anew(sku, known, found, desk, book, outcome)


def _says_something(sku: str, truth: Truth, before: Truth | None, desk: Desk) -> bool:
    """Whether it matters that a key that does not drift is not named: it was before, or an exception waits for it."""
    if before is not None and (before.lines or any(before.quantities.values())):
        return True
    known = desk.books.exceptions.get((sku,))
    about = (truth.kind, truth.place)
    return known is not None and any((found.kind, found.place) == about for found in known.open.values())

"""The snapshots of one source, region and kind as one partition sees them: what came, what was compared.

    rows ──► wait ──► compared ──► marker: complete? ──► keys that it does not name ──► reported, once

A snapshot is reported incomplete when its marker did not fit its rows for as long as a source may be silent, when a
newer one was closed before it, or when it is older than the journal. A row or marker of a snapshot that was reported,
or of an older one, is late: it is counted and changes nothing.
"""

from __future__ import annotations

import msgspec

from atp.domain.partials import ExceptionsOpen, SnapshotCompared
from atp.domain.rows import Rows
from atp.domain.snapshots import RESERVATIONS
from atp.domain.times import FOREVER_MS, MINUTE_MS
from atp.domain.truth import Drift, Truth

BOOK = "\x1fsnapshots"  # record key of what a partition knows beside its SKUs: no SKU looks like it
UNKNOWN = -1
CHUNK_SKUS = 512


class Progress(msgspec.Struct, array_like=True):
    """One snapshot under way. Waiting SKUs lie in chunks of their own, `first_chunk` to `next_chunk`."""

    snapshot_id: str
    as_of_ms: int
    rows: int = 0
    units: int = 0
    expected_rows: int = UNKNOWN
    expected_units: int = UNKNOWN
    first_chunk: int = 0
    next_chunk: int = 0
    keys: int = 0
    drifting_keys: int = 0
    drifted_units: int = 0
    over_units: int = 0
    cursor: str = ""  # where the search for keys that it does not name goes on
    closed_ms: int = 0

    @property
    def waits(self) -> bool:
        """Whether some of its rows are still to be compared."""
        return self.first_chunk < self.next_chunk

    @property
    def closed(self) -> bool:
        """Whether the marker came."""
        return self.expected_rows != UNKNOWN

    @property
    def complete(self) -> bool:
        """Whether the marker came and fits what came before or after it."""
        return (self.rows, self.units) == (self.expected_rows, self.expected_units)

    def count(self, keys: int, drifts: list[Drift], tolerance: int) -> None:
        """Add the comparison of one SKU."""
        self.keys += keys
        for drift in drifts:
            if drift.units > tolerance:
                self.drifting_keys += 1
                self.drifted_units += drift.units
                self.over_units += drift.over


class Series(msgspec.Struct, array_like=True):
    """The snapshots of one source, region and kind. `reported_ms`: as_of of the latest that was reported."""

    source: str
    region: str
    kind: str
    places: list[str] = []  # nodes that its rows ever named: it speaks for them
    open: list[Progress] = []  # by as_of
    reported_ms: int = -FOREVER_MS
    late: int = 0  # rows and markers that came after their snapshot had ended
    said: tuple[str, int] = ("", -FOREVER_MS)  # id and as_of (ms) of the latest that was complete and searched

    def find(self, snapshot_id: str, as_of_ms: int) -> Progress | None:
        """The snapshot, under way from now on; None when its time is over."""
        for progress in self.open:
            if progress.snapshot_id == snapshot_id:
                return progress
        if as_of_ms <= self.reported_ms:
            self.late += 1
            return None
        self.open.append(Progress(snapshot_id, as_of_ms))
        self.open.sort(key=lambda progress: (progress.as_of_ms, progress.snapshot_id))
        return next(progress for progress in self.open if progress.snapshot_id == snapshot_id)

    def overtaken(self, progress: Progress) -> bool:
        """Whether a newer snapshot was closed, so that nothing more is to come for this one."""
        return any(other.closed and other.as_of_ms > progress.as_of_ms for other in self.open)

    def word_on(self, sku: str) -> tuple[str, int]:
        """Id and as_of (ms) of the latest snapshot that has said what it has to say of a SKU, if only by silence."""
        searched = [p for p in self.open if p.complete and not p.waits and p.cursor >= sku]
        return max([self.said, *((p.snapshot_id, p.as_of_ms) for p in searched)], key=lambda word: word[1])

    def speaks_of(self, kind: str, place: str) -> bool:
        """Whether a place is this source's to speak of."""
        return self.kind == kind and (place == self.region if kind == RESERVATIONS else place in self.places)

    def end(self, progress: Progress, partition: int, partitions: int, now_ms: int) -> SnapshotCompared:
        """The report on a snapshot; it is under way no more."""
        self.open.remove(progress)
        self.reported_ms = max(self.reported_ms, progress.as_of_ms)
        return SnapshotCompared(
            region=self.region,
            source=self.source,
            kind=self.kind,
            snapshot_id=progress.snapshot_id,
            as_of_ms=progress.as_of_ms,
            partition=partition,
            partitions=partitions,
            expected_rows=max(0, progress.expected_rows),
            expected_units=progress.expected_units if progress.closed else 0,
            rows=progress.rows,
            units=progress.units,
            keys=progress.keys,
            drifting_keys=progress.drifting_keys,
            drifted_units=progress.drifted_units,
            over_promised_units=progress.over_units,
            complete=progress.complete,
            compared_ms=now_ms,
        )


class Lying(msgspec.Struct, array_like=True):
    """Exceptions of a region that wait for somebody: how many, their units, and how many were opened by minute."""

    count: int = 0
    units: int = 0
    minutes: dict[int, int] = {}

    def add(self, sign: int, units: int, opened_ms: int) -> None:
        """One more, or with sign −1 one less."""
        minute = opened_ms // MINUTE_MS
        self.count += sign
        self.units += sign * units
        self.minutes[minute] = self.minutes.get(minute, 0) + sign
        if not self.minutes[minute]:
            del self.minutes[minute]

    def partial(self, region: str, partition: int) -> ExceptionsOpen:
        """What the region's task is told."""
        oldest_ms = min(self.minutes, default=0) * MINUTE_MS
        return ExceptionsOpen(
            region=region, partition=partition, open=self.count, units=self.units, oldest_ms=oldest_ms
        )


class PartitionBook(msgspec.Struct, array_like=True):
    """All that a partition knows beside its SKUs: the snapshots under way, and what lies about by region."""

    series: dict[str, Series] = {}
    lying: dict[str, Lying] = {}
    compared_ms: int = -FOREVER_MS  # up to here facts were held against snapshots: a later one has it done anew

    def of(self, truth: Truth) -> Series:
        """The series of a truth, known or new."""
        return self.named(truth.source, truth.region, truth.kind)

    def named(self, source: str, region: str, kind: str) -> Series:
        """The series of that name, known or new."""
        return self.series.setdefault(f"{source}|{region}|{kind}", Series(source, region, kind))

    def lie(self, region: str) -> Lying:
        """What lies about in a region."""
        return self.lying.setdefault(region, Lying())


class WaitingSkus(msgspec.Struct, array_like=True):
    """A chunk of the SKUs whose rows wait to be compared."""

    skus: list[str]


class Waiting:
    """SKUs that wait to be compared, in chunks: written as they fill, read once."""

    def __init__(self, chunks: Rows[WaitingSkus]) -> None:
        self._chunks = chunks

    def _key(self, progress: Progress, series: Series, number: int) -> tuple[str, ...]:
        name = f"{series.source}|{series.region}|{series.kind}|{progress.snapshot_id}"
        return (BOOK, name, f"{number:08x}")

    def add(self, progress: Progress, series: Series, sku: str) -> None:
        """Let a SKU wait."""
        if progress.waits:
            key = self._key(progress, series, progress.next_chunk - 1)
            chunk = self._chunks.get(key)
            if chunk is not None and len(chunk.skus) < CHUNK_SKUS:
                if chunk.skus[-1] != sku:  # its rows come side by side
                    chunk.skus.append(sku)
                    self._chunks[key] = chunk
                return
        self._chunks[self._key(progress, series, progress.next_chunk)] = WaitingSkus([sku])
        progress.next_chunk += 1

    def pop(self, progress: Progress, series: Series) -> list[str]:
        """The SKUs of the first chunk, which wait no more."""
        key = self._key(progress, series, progress.first_chunk)
        found = self._chunks.get(key)
        assert found is not None, f"chunk {key} of a snapshot is gone"
        del self._chunks[key]
        progress.first_chunk += 1
        return found.skus

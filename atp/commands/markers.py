"""Closing markers on their way to a broker: every partition is told how many of a snapshot's rows it was sent.

A file cannot know where its rows will lie. What its markers say in sum holds: where that differs from the rows of
the file, the partition with the most rows is told of the difference, so that rows that are lacking are missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from atp.commands.lines import Outgoing
from atp.domain.audit import total
from atp.domain.snapshots import KINDS, SNAPSHOT_TYPES, SnapshotClosed, SnapshotRow, StockRow, units_of
from atp.lane.keys import partition_of


class _Name(NamedTuple):
    topic: str
    source: str
    region: str
    snapshot_id: str


class _Snapshot:
    """One snapshot: rows and units by partition, as they will lie, and as its markers say."""

    def __init__(self, partitions: int) -> None:
        self.sent = [[0, 0] for _ in range(partitions)]
        self.said: Counter[tuple[int, int]] = Counter()
        self.marker: SnapshotClosed | None = None
        self.number = 0
        self._seen: set[tuple[str, str]] = set()

    def row(self, row: SnapshotRow, partition: int) -> None:
        """Count a row, once."""
        place = (row.sku, row.node if isinstance(row, StockRow) else row.region)
        if place not in self._seen:
            self._seen.add(place)
            self.sent[partition][0] += 1
            self.sent[partition][1] += units_of(row)

    def close(self, marker: SnapshotClosed, number: int) -> None:
        """Take a marker."""
        self.marker, self.number = marker, number
        self.said[marker.rows, marker.units] += 1

    def markers(self, topic: str) -> Iterator[Outgoing]:
        """A marker for every partition; none if the file closes the snapshot with none."""
        if self.marker is None:
            return
        rows, units = (sum(each) for each in zip(*self.sent, strict=True))
        said_rows, said_units = total(self.said, (rows, units))
        most = max(self.sent)
        most[0], most[1] = max(0, most[0] + said_rows - rows), most[1] + said_units - units
        for partition, (its_rows, its_units) in enumerate(self.sent):
            value = msgspec.json.encode(msgspec.structs.replace(self.marker, rows=its_rows, units=its_units))
            yield Outgoing(topic, self.marker.snapshot_id, value, None, self.number, partition)


def to_partitions(lines: list[Outgoing], partitions: int) -> list[Outgoing]:
    """The same lines, but with one marker to every partition after the others, where a snapshot has any."""
    kept: list[Outgoing] = []
    found: dict[_Name, _Snapshot] = {}
    for line in lines:
        if line.topic not in KINDS or line.value is None:
            kept.append(line)
            continue
        record: Any = msgspec.json.decode(line.value, type=SNAPSHOT_TYPES[line.topic])
        name = _Name(line.topic, record.source, record.region, record.snapshot_id)
        snapshot = found.setdefault(name, _Snapshot(partitions))
        if isinstance(record, SnapshotClosed):
            snapshot.close(record, line.number)
        else:
            snapshot.row(record, partition_of(record.sku, partitions))
            kept.append(line)
    return kept + [marker for name, snapshot in found.items() for marker in snapshot.markers(name.topic)]

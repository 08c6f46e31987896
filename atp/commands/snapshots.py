"""Snapshot lines of a file: decoded or refused, gathered for a comparison when all facts are in."""

from __future__ import annotations

import msgspec

from atp.commands.files import FactLine
from atp.domain.audit import Kinded
from atp.domain.exceptions import Decision, decode_decision
from atp.domain.intake import misplaced
from atp.domain.refusals import Refusal
from atp.domain.snapshots import KINDS, SnapshotClosed, SnapshotRow, decode_snapshot
from atp.topics import DECISIONS

TRUTH_TOPICS = frozenset({*KINDS, DECISIONS.name})


class Snapshots(msgspec.Struct):
    """The rows and markers of a file's snapshots, and what people decided."""

    rows: list[SnapshotRow] = []
    markers: list[Kinded] = []
    decisions: list[tuple[FactLine, Decision]] = []

    def take(self, line: FactLine, now_ms: int) -> Refusal | None:
        """Take a line of a snapshot or decisions topic, or answer why it is refused."""
        found = read(line, now_ms)
        if isinstance(found, Refusal):
            return found
        if isinstance(found, SnapshotClosed):
            self.markers.append((KINDS[line.topic], found))
        elif isinstance(found, Decision):
            self.decisions.append((line, found))
        else:
            self.rows.append(found)
        return None


def read(line: FactLine, now_ms: int) -> SnapshotRow | SnapshotClosed | Decision | Refusal:
    """The value of a line, valid and under the right key, or why not."""
    found: SnapshotRow | SnapshotClosed | Decision | Refusal
    if line.topic == DECISIONS.name:
        found = decode_decision(line.value_bytes)
    else:
        found = decode_snapshot(line.topic, line.value_bytes, now_ms)
    if line.key is None or isinstance(found, Refusal | SnapshotClosed):
        return found
    return misplaced(found, line.key) or found

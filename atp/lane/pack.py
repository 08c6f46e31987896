"""Record batches: as full as the broker allows, with the rows of one record key side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from atp.lane.errors import LaneError, RowTooLargeError
from atp.lane.keys import META_KEY
from atp.lane.ports import Out, OutBatch

if TYPE_CHECKING:
    from atp.lane.batch import Turn
    from atp.lane.world import World

RECORD_OVERHEAD = 40  # varints, timestamp delta, attributes: an upper bound without headers

Row = tuple[str, bytes, bytes | None]


def size_of(out: Out) -> int:
    """Upper bound of the encoded size of a record."""
    size = RECORD_OVERHEAD + len(out.key or b"") + len(out.value or b"")
    for name, value in out.headers:
        size += 12 + len(name) * 4 + len(value or b"")
    return size


def pack(topic: str, partition: int, outs: Iterable[Out], limit: int) -> list[OutBatch]:
    """Records in order, in batches of at most `limit` bytes."""
    batches: list[OutBatch] = []
    room = 0
    for out in outs:
        size = size_of(out)
        if size > limit:
            raise RowTooLargeError(f"{topic}: a record of {size} bytes; key {out.key!r}; allowed {limit}")
        if size > room:
            batches.append(OutBatch(topic, partition, []))
            room = limit
        room -= size
        batches[-1].records.append(out)
    return batches


def pack_rows(topic: str, partition: int, rows: list[Row], now_ms: int, limit: int) -> list[OutBatch]:
    """Changelog rows; those of one record key share a record batch unless they alone exceed one."""
    groups: dict[str, list[Out]] = {}
    for record_key, key, value in rows:
        groups.setdefault(record_key, []).append(Out(key, value, now_ms))
    batches: list[OutBatch] = []
    room = 0
    for group in groups.values():
        size = sum([size_of(out) for out in group])
        if size > limit:
            batches += pack(topic, partition, group, limit)
            room = 0
            continue
        if size > room:
            batches.append(OutBatch(topic, partition, []))
            room = limit
        room -= size
        batches[-1].records += group
    return batches


def turn_batches(turn: Turn, rows: list[Row], meta: bytes, world: World) -> tuple[list[OutBatch], list[OutBatch]]:
    """Changelog, with the metadata row in a batch of its own at the end, and outputs of a turn."""
    limit, changelog_topic = world.settings.batch_bytes, world.changelog_topic
    outputs: list[OutBatch] = []
    for (topic, partition), outs in turn.outputs.items():
        outputs += pack(topic, partition, outs, limit)
    if turn.dead_letters:
        letters = world.settings.dead_letter_topic
        if letters is None:
            raise LaneError("a record was refused, but no dead_letter_topic is set")
        outputs += pack(letters, turn.partition, turn.dead_letters, limit)
    changelog = pack_rows(changelog_topic, turn.partition, rows, turn.now_ms, limit)
    changelog += pack_rows(changelog_topic, turn.partition, [("", META_KEY, meta)], turn.now_ms, limit)
    return changelog, outputs

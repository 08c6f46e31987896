"""The materialised view: the latest record of every key, the mode of every channel, who is measured. Pure, no clock.

Which of two records of a key stands: the one later in the log. Read again (a lower offset), it changes nothing. While
following, a lower `version` at a higher offset is refused and counted: one product never goes back. While restoring
the log's last record stands whatever its version, as compaction would leave it, so a restart heals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from atp.client.answers import Answer, Doubt, Staleness, answer, nothing
from atp.client.records import Record, UnreadableRecordError, decode_measured, decode_record
from atp.domain.modes import ChannelMode, Mode, ModeError, parse_mode
from atp.domain.record import record_key


class Held(NamedTuple):
    """A record and where in the log it stands."""

    record: Record
    partition: int
    offset: int


class Change(NamedTuple):
    """What one message changed: a record (None: it was deleted) or a mode. `offset` in its topic's partition."""

    key: str
    record: Record | None
    mode: ChannelMode | None
    partition: int
    offset: int


class View:
    """Read by any thread while one thread writes: every entry is replaced whole."""

    def __init__(self, staleness: Staleness | None = None) -> None:
        self.staleness = staleness or Staleness()
        self.records: dict[str, Held] = {}
        self.modes: dict[tuple[str, str], ChannelMode] = {}
        self.measured_ms: dict[str, int] = {}  # by region: when its freshness was last measured
        self.complete_ms: list[int | None] = []  # by partition: when it was last known to be complete
        self.positions: list[int] = []  # by partition: next offset
        self.unreadable = 0
        self.regressed = 0
        self.restoring = True

    def size(self, partitions: int) -> None:
        """How many partitions the topic has."""
        self.complete_ms = [None] * partitions
        self.positions = [0] * partitions

    def forget(self, partition: int) -> None:
        """The partition began anew: nothing of it is known."""
        self.records = {key: held for key, held in self.records.items() if held.partition != partition}
        self.complete_ms[partition], self.positions[partition] = None, 0

    def put(self, key: bytes, value: bytes | None, partition: int, offset: int) -> Change | None:
        """Take a message of the canonical topic; what it changed."""
        if offset < self.positions[partition]:
            return None
        self.positions[partition] = offset + 1
        name = key.decode(errors="replace")
        if value is None:
            return Change(name, None, None, partition, offset) if self.records.pop(name, None) else None
        try:
            record = decode_record(value)
        except UnreadableRecordError:
            self.unreadable += 1
            self.records.pop(name, None)  # the one before is no longer true, and nothing else is known
            return Change(name, None, None, partition, offset)
        before = self.records.get(name)
        if before is not None and record.version < before.record.version and not self.restoring:
            self.regressed += 1
            return None
        self.records[name] = Held(record, partition, offset)
        return Change(name, record, None, partition, offset)

    def put_mode(self, key: bytes, value: bytes | None, offset: int) -> Change | None:
        """Take a message of the modes topic; an unreadable one leaves the mode before it."""
        name = key.decode(errors="replace")
        if value is None:
            region, _, channel = name.partition("|")
            gone = self.modes.pop((region, channel), None)
            return Change(name, None, gone, 0, offset) if gone else None
        try:
            mode = parse_mode(msgspec.json.decode(value))
        except (ModeError, msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable += 1
            return None
        self.modes[mode.region, mode.channel] = mode
        return Change(name, None, mode, 0, offset)

    def put_freshness(self, key: bytes, value: bytes | None, now_ms: int, wall_ms: int) -> None:
        """Take a message of the freshness topic; an unreadable one leaves the measurement before it.

        `as_of` is told by the wall clock (`wall_ms`), ages are reckoned by the view's (`now_ms`).
        """
        if value is None:
            self.measured_ms.pop(key.decode(errors="replace"), None)
            return
        try:
            measured = decode_measured(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.unreadable += 1
            return
        self.measured_ms[measured.region] = now_ms - max(0, wall_ms - int(measured.as_of.timestamp() * 1000))

    def age_ms(self, now_ms: int, partition: int | None = None) -> int | None:
        """How long ago a partition (None: the one furthest behind) was last known to be complete."""
        if self.restoring or not self.complete_ms:
            return None
        since_ms = self.complete_ms if partition is None else [self.complete_ms[partition]]
        known = [ms for ms in since_ms if ms is not None]
        return max(0, now_ms - min(known)) if len(known) == len(since_ms) else None

    def answer(self, sku: str, region: str, channel: str, now_ms: int) -> Answer:
        """What a channel may sell."""
        held = self.records.get(record_key(sku, region))
        if held is None or self.restoring:
            return self._nothing(sku, region, channel, now_ms)
        since_ms = self.complete_ms[held.partition]
        if since_ms is None:
            return nothing(sku, region, channel, Doubt.NOT_READY, None, refused=True)
        row = self.modes.get((region, channel))
        age_ms = now_ms - since_ms if now_ms > since_ms else 0
        unmeasured_ms = now_ms - self.measured_ms.get(region, now_ms)
        return answer(held.record, channel, row.mode if row else None, age_ms, self.staleness, unmeasured_ms)

    def _nothing(self, sku: str, region: str, channel: str, now_ms: int) -> Answer:
        age_ms = self.age_ms(now_ms)
        if age_ms is None:
            return nothing(sku, region, channel, Doubt.NOT_READY, None, refused=True)
        if age_ms > self.staleness.refuse_after_ms:
            return nothing(sku, region, channel, Doubt.STALE_VIEW, age_ms, refused=True)
        return nothing(sku, region, channel, Doubt.UNKNOWN_KEY, age_ms, refused=False)

    def since(self, positions: list[int]) -> Iterator[Held]:
        """The records that stand later in the log than a reader has got, in log order of each partition."""
        later = [held for held in list(self.records.values()) if held.offset >= positions[held.partition]]
        yield from sorted(later, key=lambda held: (held.partition, held.offset))

    def mode(self, region: str, channel: str) -> Mode:
        """The mode that the modes topic says; CONFIDENT where none was ever set."""
        row = self.modes.get((region, channel))
        return row.mode if row else Mode.CONFIDENT

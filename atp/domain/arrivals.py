"""What came from each source, as its region sees it: the partitions' counts added up, their numbers joined.

    hear        a partition's partial, in any order and however often
    gaps        numbers that never came, although a higher one has been here for longer than facts may be under way
    shortfalls  hours of which fewer facts or units came than the source says it recorded

The region's task keeps one `Arrivals` per source. A gap or a shortfall is what has not come yet: it is gone when
it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import msgspec

from atp.domain.freshness import Heartbeat
from atp.domain.ledger_close import Shortfall
from atp.domain.partials import SourceCounted, SourceNumbered
from atp.domain.times import HOUR_MS, MINUTE_MS, to_ms
from atp.domain.totals import BLOCK, KEPT_HOURS, bitmap

MOST_BLOCKS = 64  # from the lowest that lacks a number: what lies further back is given up, and counted as lost
FULL = (1 << BLOCK) - 1


class Gap(NamedTuple):
    """Numbers of a source that did not come, both ends included."""

    first_seq: int
    last_seq: int


class Arrivals(msgspec.Struct, array_like=True):
    """A source in a region. Numbers before `first_block`, and below the first one heard, are past: nobody asks."""

    counted: dict[int, dict[str, dict[int, tuple[int, int]]]] = {}  # hour (ms) → topic → partition → facts, units
    blocks: dict[int, bytes] = {}  # bitmaps of the blocks from the first that lacks a number
    first_block: int = -1  # −1: no number came yet
    lost: int = 0  # numbers that were given up
    heights: dict[int, int] = {}  # minute → the highest number known by then

    def hear(self, said: SourceCounted | SourceNumbered, now_ms: int) -> None:
        """Take what a partition says of this source."""
        if isinstance(said, SourceCounted):
            self._count(said)
        else:
            self._number(said, now_ms)

    def _count(self, said: SourceCounted) -> None:
        hour_ms = to_ms(datetime.fromisoformat(said.hour))
        topics = self.counted.setdefault(hour_ms, {})
        topics.setdefault(said.topic, {})[said.partition] = (said.facts, said.units)
        oldest_ms = max(self.counted) - (KEPT_HOURS - 1) * HOUR_MS
        for hour_ms in [known for known in self.counted if known < oldest_ms]:
            del self.counted[hour_ms]

    def _number(self, said: SourceNumbered, now_ms: int) -> None:
        block, bits = said.first_seq // BLOCK, int.from_bytes(said.seen, "little")
        highest = said.first_seq + bits.bit_length() - 1
        if self.first_block < 0:
            self.first_block, bits = block, bits | ((bits & -bits) - 1)
        if block < self.first_block or not bits:
            return
        self.blocks[block] = bitmap(bits | self._bits(block))
        self.heights[now_ms // MINUTE_MS] = max(highest, *self.heights.values(), 0)
        while self._bits(self.first_block) == FULL or len(self.blocks) > MOST_BLOCKS:
            self._pass(min(self.blocks))

    def _bits(self, block: int) -> int:
        return int.from_bytes(self.blocks.get(block, b""), "little")

    def _pass(self, block: int) -> None:
        """Let go of the lowest block, which is whole, or has waited long enough."""
        self.lost += (block - self.first_block) * BLOCK + (FULL & ~self._bits(block)).bit_count()
        del self.blocks[block]
        self.first_block = block + 1

    def gaps(self, now_ms: int, grace_ms: int) -> list[Gap]:
        """Numbers that lie below one that was known `grace_ms` ago, and have not come."""
        old = [minute for minute in self.heights if (minute + 1) * MINUTE_MS <= now_ms - grace_ms]
        if not old:
            return []
        latest = max(old)
        self.heights = {minute: height for minute, height in self.heights.items() if minute >= latest}
        return list(_joined(self._missing(), self.heights[latest]))

    def _missing(self) -> Iterator[Gap]:
        """The stretches of missing numbers, block by block."""
        following = self.first_block
        for block in sorted(self.blocks):
            if following < block:
                yield Gap(following * BLOCK, block * BLOCK - 1)
            yield from (Gap(block * BLOCK + at, block * BLOCK + end) for at, end in _runs(FULL & ~self._bits(block)))
            following = block + 1

    def shortfalls(self, beat: Heartbeat, passed_ms: int) -> list[Shortfall]:
        """Hours, over at `passed_ms`, of which not all came that a heartbeat names."""
        found = []
        for topic, hours in sorted(beat.totals.items()):
            for hour, (facts, units) in sorted(hours.items()):
                with suppress(ValueError):  # an hour that is none cannot be compared
                    hour_ms = to_ms(datetime.fromisoformat(hour))
                    came = self.came(topic, hour_ms)
                    if hour_ms + HOUR_MS <= passed_ms and came != (facts, units):
                        found.append(Shortfall(beat.source, topic, hour, facts, came[0], units, came[1]))
        return found

    def came(self, topic: str, hour_ms: int) -> tuple[int, int]:
        """Distinct facts and units of an hour that came, over all partitions."""
        parts = self.counted.get(hour_ms, {}).get(topic, {}).values()
        return sum(facts for facts, _ in parts), sum(units for _, units in parts)


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    """First and last position of each stretch of ones."""
    start = 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & (bits + 1)).bit_length() - 1
        bits >>= ones
        yield start + zeros, start + zeros + ones - 1
        start += zeros + ones


def _joined(gaps: Iterator[Gap], highest: int) -> Iterator[Gap]:
    """Gaps up to a number, neighbours made one."""
    run: Gap | None = None
    for gap in gaps:
        if gap.first_seq > highest:
            break
        if run is not None and gap.first_seq == run.last_seq + 1:
            run = Gap(run.first_seq, gap.last_seq)
            continue
        if run is not None:
            yield run
        run = gap
    if run is not None:
        yield Gap(run.first_seq, min(run.last_seq, highest))

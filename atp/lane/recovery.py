"""From the changelog to the local store, and from both to the offsets a task may start at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from atp.lane.deadline import within
from atp.lane.errors import RefusedError, TransientError
from atp.lane.keys import LOCAL_KEY, META_KEY
from atp.lane.meta import LAYOUT, Local, Meta, decode_local, decode_meta, encode_local
from atp.lane.ports import Bounds, CorruptError, Reader, Store, TopicIdentity
from atp.lane.settings import LaneSettings
from atp.lane.status import Restore

if TYPE_CHECKING:
    from atp.lane.world import World

READ_TIMEOUT_MS = 200
WRITTEN_AT_ONCE = 5_000


class Recovery:
    """Keeps the local store of one partition at or behind the changelog."""

    def __init__(self, partition: int, world: World) -> None:
        self._partition = partition
        self._world = world
        self.store: Store | None = None
        self.local: Local | None = None
        self.progress = Restore()
        self.wiped = 0

    async def run(self, end: int) -> Meta:
        """Bring the store up to the captured end; the metadata row found there."""
        world, topic, deadline_s = self._world, self._world.changelog_topic, self._world.settings.call_timeout_s
        identity = await within(deadline_s, world.log.identity(topic))
        if identity.partitions != world.settings.partitions:
            raise RefusedError(f"{topic} has {identity.partitions} partitions, not {world.settings.partitions}")
        start = (await within(deadline_s, world.log.bounds(topic, self._partition))).start
        await self._open(identity, Bounds(start, end))
        assert self.local is not None
        self.progress = Restore(started_s=self._now_s(), position=self.local.position, end=end)
        if self.local.position < end:
            await self._follow(topic, end)
        self.progress.ended_s = self._now_s()
        self._save([], self.local.position, caught_up=True)
        return self._meta()

    def write(self, rows: list[tuple[bytes, bytes | None]], position: int) -> None:
        """Rows of a confirmed commit; a position we did not learn (0) leaves the old one, which is safe."""
        assert self.local is not None
        self._save(rows, max(position, self.local.position), caught_up=True)

    async def close(self) -> None:
        """Flush and release the store."""
        store, self.store = self.store, None
        if store is not None:
            await self._world.spawn.thread(store.close)

    async def _open(self, identity: TopicIdentity, bounds: Bounds) -> None:
        if self.store is None:
            try:
                self.store = await self._world.spawn.thread(self._world.stores.open, self._partition)
            except CorruptError:
                await self._wipe()
        if not self._usable(identity, bounds):
            await self._wipe()
            self.local = Local(LAYOUT, identity.topic_id, identity.partitions, bounds.start, self._world.wall_ms())

    def _usable(self, identity: TopicIdentity, bounds: Bounds) -> bool:
        assert self.store is not None
        data = self.store.get(LOCAL_KEY)
        if data is None:
            return False
        self.local = local = decode_local(data)
        known = Local(LAYOUT, identity.topic_id, identity.partitions, local.position, local.caught_up_ms)
        # Tombstones vanish after delete.retention.ms: a store that missed them would keep dead rows.
        age_ms = self._world.wall_ms() - local.caught_up_ms
        fresh = age_ms < self._world.settings.delete_retention_ms // 2 or local.position == bounds.end
        return local == known and bounds.start <= local.position <= bounds.end and fresh

    async def _wipe(self) -> None:
        await self.close()
        await self._world.spawn.thread(self._world.stores.wipe, self._partition)
        self.store = await self._world.spawn.thread(self._world.stores.open, self._partition)
        self.wiped += 1

    async def _follow(self, topic: str, end: int) -> None:
        assert self.local is not None
        at = {(topic, self._partition): self.local.position}
        reader = await within(self._world.settings.call_timeout_s, self._world.log.open_reader(at))
        try:
            await self._read_to(reader, topic, end)
        finally:
            await reader.close()

    async def _read_to(self, reader: Reader, topic: str, end: int) -> None:
        silent_since_s = self._now_s()
        while self.progress.position < end:
            for chunk in await reader.read(READ_TIMEOUT_MS):
                rows = [(r.key, r.value) for r in chunk.records if r.key is not None]
                for at in range(0, len(rows), WRITTEN_AT_ONCE):
                    last = at + WRITTEN_AT_ONCE >= len(rows)
                    part = rows[at : at + WRITTEN_AT_ONCE]
                    # Until the last part is in, the position stays where it was: replaying is harmless.
                    self._save(part, chunk.next if last else self.progress.position, caught_up=False)
                    await asyncio.sleep(0)
                if not rows:
                    self._save([], chunk.next, caught_up=False)
                self.progress.records += len(rows)
                self.progress.position = chunk.next
                silent_since_s = self._now_s()
            if self._now_s() - silent_since_s > self._world.settings.call_timeout_s:
                raise TransientError(f"{topic} gave nothing beyond {self.progress.position}; its end is {end}")

    def _save(self, rows: Iterable[tuple[bytes, bytes | None]], position: int, *, caught_up: bool) -> None:
        assert self.store is not None
        assert self.local is not None
        self.local.position = position
        if caught_up:
            self.local.caught_up_ms = self._world.wall_ms()
        self.store.write([*rows, (LOCAL_KEY, encode_local(self.local))])

    def _meta(self) -> Meta:
        assert self.store is not None
        data = self.store.get(META_KEY)
        if data is None:
            return Meta(layout=0)
        meta = decode_meta(data)
        if meta.layout != LAYOUT:
            raise RefusedError(f"state has layout {meta.layout}, this program {LAYOUT}: migrate or start afresh")
        pinned = self._world.settings.pinned
        if pinned and meta.pinned and meta.pinned != pinned:
            raise RefusedError(f"the state was built with {meta.pinned}, the settings say {pinned}: not changeable")
        return meta

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def start_positions(
    meta: Meta,
    committed: Mapping[str, int | None],
    bounds: Mapping[str, Bounds],
    settings: LaneSettings,
    transactional: bool,
) -> dict[str, int]:
    """Where the input goes on; refuses whenever state and offsets cannot belong together."""
    fresh = meta.layout == 0
    positions: dict[str, int] = {}
    for topic, known in bounds.items():
        at, stands_for = committed.get(topic), None if fresh else meta.offsets.get(topic)
        if at is None and stands_for is None:
            positions[topic] = known.start
            continue
        if stands_for is None:
            raise RefusedError(f"{topic}: offset {at} is committed, but the changelog holds no state: it was lost")
        if not transactional and (at is None or at < stands_for):
            # The metadata row is written when outputs and rows are safe, the offsets only after it.
            at = stands_for
        if at is None:
            raise RefusedError(f"{topic}: no committed offset, but the state stands for {stands_for}")
        if at != stands_for:
            raise RefusedError(f"{topic}: offset {at} is committed, but the state stands for {stands_for}")
        # A broker without transactions may name an end that is too low: the embedded one names the beginning of
        # the last batch. There a topic that was recreated shows when its input is fetched.
        if at < known.start or (transactional and at > known.end):
            raise RefusedError(f"{topic}: offset {at} lies outside {known.start}..{known.end} (lost or recreated)")
        positions[topic] = at
    return positions

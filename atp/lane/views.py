"""Control views: compacted topics that every task reads as one, outside the group.

A view is loaded to the end that was captured before the tasks run and followed from then on. What a
task decided with a view it never decides again with an older one: its metadata row holds the positions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from atp.lane.deadline import within
from atp.lane.errors import RefusedError, TransientError
from atp.lane.ports import Chunk, Log

if TYPE_CHECKING:
    from atp.lane.world import World

FOLLOW_TIMEOUT_MS = 200


class View:
    """Latest value per key of a compacted topic."""

    def __init__(self, topic: str, *, sweeps: bool = True) -> None:
        self.topic = topic
        self.sweeps = sweeps  # whether a change has every key looked at again
        self.revision = 0  # grows with every record that arrives
        self.positions: list[int] = []
        self._values: dict[bytes, bytes] = {}
        self._listeners: list[Callable[[View], None]] = []

    def get(self, key: str | bytes) -> bytes | None:
        """Latest value of a key."""
        return self._values.get(key.encode() if isinstance(key, str) else key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value."""
        return iter(list(self._values.items()))

    def on_change(self, listener: Callable[[View], None]) -> Callable[[View], None]:
        """Call the listener after every change (once per read, not per record); usable as a decorator."""
        self._listeners.append(listener)
        return listener

    def apply(self, chunk: Chunk) -> bool:
        """Take records in; whether there were any."""
        for record in chunk.records:
            key = record.key or b""
            if record.value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = record.value
        self.revision += len(chunk.records)
        self.positions[chunk.partition] = chunk.next
        return bool(chunk.records)

    def reaches(self, positions: list[int]) -> bool:
        """Whether it stands at these positions or beyond."""
        return all(have >= need for need, have in zip(positions, self.positions, strict=False))

    def notify(self) -> None:
        """Tell the listeners."""
        for listener in self._listeners:
            listener(self)


class Views:
    """All control views of a lane, fed by one reader."""

    def __init__(self) -> None:
        self.views: dict[str, View] = {}
        self.ready = False
        self.error: str | None = None
        self._moved = asyncio.Condition()

    def add(self, topic: str, *, sweeps: bool = True) -> View:
        """Declare a view."""
        return self.views.setdefault(topic, View(topic, sweeps=sweeps))

    @property
    def revision(self) -> int:
        """Grows with every record of any view that sweeps."""
        return sum([view.revision for view in self.views.values() if view.sweeps])

    def positions(self) -> dict[str, list[int]]:
        """Where each view stands, per partition."""
        return {topic: list(view.positions) for topic, view in self.views.items()}

    async def wait_for(self, needed: Mapping[str, list[int]], world: World) -> None:
        """Return once the views are loaded and not older than `needed`; refuses if they never can be."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.ready)
        for topic, positions in needed.items():
            view = self.views.get(topic)
            if view is not None and not view.reaches(positions):
                await self._check_end(view, positions, world)
                async with self._moved:
                    await self._moved.wait_for(partial(view.reaches, positions))

    async def _check_end(self, view: View, positions: list[int], world: World) -> None:
        """Another worker may have read further than we have by now; further than the end nobody has."""
        deadline_s = world.settings.call_timeout_s
        ends = [(await within(deadline_s, world.log.bounds(view.topic, p))).end for p in range(len(view.positions))]
        if any(need > end for need, end in zip(positions, ends, strict=False)):
            raise RefusedError(
                f"control topic {view.topic} ends at {ends}, but this state was computed with {positions}: "
                "the topic was truncated or recreated"
            )

    async def follow(self, world: World) -> None:
        """Load, then follow for ever; after an error go on from where the views stand."""
        while True:
            try:
                await self._follow(world.log, world.settings.call_timeout_s)
            except TransientError as error:
                self.error = repr(error)
                await asyncio.sleep(world.settings.retry_pause_s)

    async def _follow(self, log: Log, deadline_s: float) -> None:
        ends = {}
        for topic, view in self.views.items():
            count = (await within(deadline_s, log.identity(topic))).partitions
            bounds = [await within(deadline_s, log.bounds(topic, p)) for p in range(count)]
            if not view.positions:
                view.positions = [b.start for b in bounds]
            ends.update({(topic, p): bounds[p].end for p in range(count)})
        if not ends:
            await self._announce()
            return await asyncio.Event().wait()  # type: ignore[return-value] # no views: nothing to follow
        at = {(topic, p): self.views[topic].positions[p] for topic, p in ends}
        reader = await within(deadline_s, log.open_reader(at))
        try:
            while True:
                if not self.ready and all(reader.position(*tp) >= end for tp, end in ends.items()):
                    await self._announce()
                await self._apply(await reader.read(FOLLOW_TIMEOUT_MS))
                self.error = None
        finally:
            await reader.close()

    async def _apply(self, chunks: list[Chunk]) -> None:
        changed = {chunk.topic for chunk in chunks if self.views[chunk.topic].apply(chunk)}
        for topic in sorted(changed):
            self.views[topic].notify()
        if chunks:
            async with self._moved:
                self._moved.notify_all()

    async def _announce(self) -> None:
        async with self._moved:
            self.ready = True
            self._moved.notify_all()

"""The client of a sales channel: everything in memory, kept up to date by one thread in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog

from atp.client.answers import Answer, Staleness
from atp.client.follower import Follower, Place, monotonic_ms
from atp.client.records import Record
from atp.client.subscriptions import Callback, Subscribers
from atp.client.view import Change, View
from atp.domain.record import record_key
from atp.topics import AVAILABILITY, FRESHNESS, MODES

logger = structlog.get_logger("atp.client")


class State(StrEnum):
    """RESTORING until all that was published at the start has been read; LAGGING beyond `degrade_after_ms`."""

    RESTORING = "RESTORING"
    FOLLOWING = "FOLLOWING"
    LAGGING = "LAGGING"


class ClientStatus(msgspec.Struct):
    """What a client says of itself. `age_ms`: of the partition furthest behind; `lag`: offsets not read yet."""

    state: State
    age_ms: int | None
    keys: int
    modes: int
    lag: int
    restored_share: float
    unreadable: int
    regressed: int
    failed_callbacks: int
    error: str | None


class Client:
    """What channels may sell, from memory.

        with Client("kafka:9092") as client:
            client.wait_ready(30)
            client.sellable("85123A", "uk", "web").sellable

    Works the same with `async with`. `config`: more settings in librdkafka's words (security). Answers never raise
    and never wait; `atp.client.answers` says when they degrade or refuse.
    """

    def __init__(
        self, bootstrap: str, staleness: Staleness | None = None, config: dict[str, Any] | None = None
    ) -> None:
        self.view = View(staleness)
        self._subscribers = Subscribers()
        self._modes_complete_ms: int | None = None
        self._records_complete_ms: dict[int, int] = {}
        self._follower = Follower(
            {"bootstrap.servers": bootstrap, **(config or {})},
            {AVAILABILITY.name: True, MODES.name: True, FRESHNESS.name: False},
            self,
            lambda error: logger.error("client_cannot_read", error=error),
        )

    def sellable(self, sku: str, region: str, channel: str) -> Answer:
        """How many units the channel may sell now."""
        return self.view.answer(sku, region, channel, monotonic_ms())

    def record(self, sku: str, region: str) -> Record | None:
        """The whole canonical record, if one was published."""
        held = self.view.records.get(record_key(sku, region))
        return held.record if held else None

    def on_change(self, callback: Callback) -> Callable[[], None]:
        """Be told of every change after the start, on the client's thread; answers what ends that."""
        return self._subscribers.add(callback)

    def changes(self) -> AbstractContextManager[AsyncIterator[Change]]:
        """`with client.changes() as found: async for change in found: …`; ChangesLostError if you are too slow."""
        return self._subscribers.queue()

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was published at the start is known; False when the time is over."""
        return self._follower.ready.wait(timeout_s)

    @property
    def ready(self) -> bool:
        """Whether answers come from a complete view."""
        return self._follower.ready.is_set() and not self.view.restoring

    def status(self) -> ClientStatus:
        """How it is doing."""
        age_ms, view, follower = self.view.age_ms(monotonic_ms()), self.view, self._follower
        if age_ms is None:
            state = State.RESTORING
        else:
            state = State.LAGGING if age_ms > view.staleness.degrade_after_ms else State.FOLLOWING
        total, lag = sum(follower.ends.values()), follower.lag()
        share = 1.0 if age_ms is not None else (total - lag) / total if total else 0.0
        return ClientStatus(
            state, age_ms, len(view.records), len(view.modes), lag, round(share, 3), view.unreadable, view.regressed,
            self._subscribers.failed, follower.error,
        )  # fmt: skip

    def start(self) -> Self:
        """Begin to read in the background."""
        self._follower.start()
        return self

    def stop(self) -> None:
        """Stop reading; answers grow old from here."""
        self._follower.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # what the follower calls, on its own thread

    def begin(self, places: Sequence[Place]) -> None:
        """Everything is read from the beginning."""
        self.view.restoring, self._modes_complete_ms = True, None
        self._records_complete_ms.clear()
        self.view.records, self.view.modes, self.view.measured_ms = {}, {}, {}
        self.view.size(sum(topic == AVAILABILITY.name for topic, _ in places))

    def take(self, message: Any) -> None:
        """A record, a mode or a measurement."""
        key, value, offset = message.key() or b"", message.value(), message.offset()
        if message.topic() == FRESHNESS.name:
            self.view.put_freshness(key, value, monotonic_ms(), time.time_ns() // 1_000_000)
            return
        if message.topic() == MODES.name:
            change = self.view.put_mode(key, value, offset)
        else:
            change = self.view.put(key, value, message.partition(), offset)
        if change is not None and not self.view.restoring:
            self._subscribers.tell(change)

    def complete(self, place: Place, at_ms: int) -> None:
        """An answer is as old as the older of its record's partition and the modes."""
        topic, partition = place
        if topic == FRESHNESS.name:
            return
        if topic == MODES.name:
            self._modes_complete_ms = at_ms
        else:
            self._records_complete_ms[partition] = at_ms
        if self._modes_complete_ms is None:
            return
        for number, ms in self._records_complete_ms.items():
            self.view.complete_ms[number] = min(ms, self._modes_complete_ms)
        if len(self._records_complete_ms) == len(self.view.complete_ms):
            self.view.restoring = False

    def forget(self, place: Place) -> None:
        """A partition began anew."""
        topic, partition = place
        if topic == FRESHNESS.name:  # who is measured is told again within seconds
            self.view.measured_ms = {}
            return
        self.view.restoring = True
        if topic == MODES.name:
            self.view.modes, self._modes_complete_ms = {}, None
            return
        self.view.forget(partition)
        self._records_complete_ms.pop(partition, None)

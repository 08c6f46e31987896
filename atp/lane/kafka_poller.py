"""One consumer's records, delivered to the tasks that asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.structs import TopicPartition

from atp.lane.errors import EvictedError, TransientError
from atp.lane.kafka_errors import translated
from atp.lane.kafka_reader import to_records
from atp.lane.kafka_writer import close_soon
from atp.lane.ports import Chunk, Sink
from atp.lane.settings import LaneSettings

POLL_TIMEOUT_MS = 200
ERRORS_IN_A_ROW = 150
# Asking for a partition nobody has returns nothing but still surfaces the errors of the consumer.
NOTHING = TopicPartition("", 0)


class _Feed:
    """Delivery of one topic-partition to one sink."""

    __slots__ = ("next", "paused", "polled_ms", "sink")

    def __init__(self, position: int, sink: Sink) -> None:
        self.next = position
        self.polled_ms: int | None = None  # when the broker last answered a fetch
        self.sink = sink
        self.paused = False


class Poller:
    """Polls a started consumer for every topic-partition that a task wants. `most`: records of one poll."""

    def __init__(
        self, consumer: AIOKafkaConsumer, settings: LaneSettings, most: int, on_fatal: Callable[[Exception], None]
    ) -> None:
        self.consumer = consumer
        self._settings = settings
        self._most = most
        self._on_fatal = on_fatal
        self._feeds: dict[TopicPartition, _Feed] = {}
        self._running: asyncio.Task[None] | None = None
        self._attached = asyncio.Event()

    def start(self) -> None:
        """Begin to poll."""
        self._running = asyncio.get_running_loop().create_task(self._poll_always(), name="lane-poller")

    async def stop(self) -> None:
        """Stop polling and close the consumer."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        await close_soon(self.consumer, self._settings.call_timeout_s)

    def attach(self, positions: Mapping[TopicPartition, int], sink: Sink) -> None:
        """Deliver from these positions on."""
        with translated("seek"):
            for tp, at in positions.items():
                self.consumer.seek(tp, at)
                self.consumer.resume(tp)
                self._feeds[tp] = _Feed(at, sink)
        self._attached.set()

    def detach(self, partition: int | None = None) -> None:
        """Deliver nothing more of this partition, or of any."""
        self._feeds = {tp: feed for tp, feed in self._feeds.items() if partition not in (None, tp.partition)}

    async def _poll_always(self) -> None:
        failures = 0
        while True:
            try:
                await self._poll()
                failures = 0
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 # handed to every task it concerns, or ends the process
                failures += 1
                if "FencedInstance" in repr(error) or failures > ERRORS_IN_A_ROW:
                    self._on_fatal(EvictedError(f"the group cannot be used: {error!r}"))
                    return
                self._report(error)
                await asyncio.sleep(self._settings.retry_pause_s)

    async def _poll(self) -> None:
        feeds = self._wanted()
        if not feeds:
            await self.consumer.getmany(NOTHING, timeout_ms=0)
            await self._await_feeds()
            return
        starts = {tp: await self.consumer.position(tp) for tp in feeds}
        got = await self.consumer.getmany(*feeds, timeout_ms=POLL_TIMEOUT_MS, max_records=self._most)
        cut = sum(map(len, got.values())) >= self._most  # of every topic-partition more may wait for the next poll
        for tp, feed in feeds.items():
            if self._feeds.get(tp) is not feed:
                self._put_back(tp, got)
                continue
            position = await self.consumer.position(tp)
            chunk = self._chunk(tp, starts[tp], position, got.get(tp, []), not cut)
            if chunk is not None:
                feed.sink.deliver(chunk)
        # Collect for a moment: fewer, larger polls cost less.
        await asyncio.sleep(self._settings.poll_interval_ms / 1000)

    def _chunk(self, tp: TopicPartition, start: int, position: int, found: list[Any], whole: bool) -> Chunk | None:
        """What a poll has told of a topic-partition; None when the broker did not answer for it.

        What brought records may hold more, whatever end the broker named (the embedded one names it too low, and a
        paused topic's is old): only an answer without records says that there are none.
        """
        feed, polled_ms = self._feeds[tp], self.consumer.last_poll_timestamp(tp)
        if position == start and (not whole or polled_ms == feed.polled_ms):
            return None
        feed.polled_ms = polled_ms
        end = self.consumer.last_stable_offset(tp) or 0
        least = position if position == start else position + 1
        return Chunk(tp.topic, tp.partition, start, position, max(end, least), to_records(found))

    async def _await_feeds(self) -> None:
        self._attached.clear()
        try:
            async with asyncio.timeout(POLL_TIMEOUT_MS / 1000):
                await self._attached.wait()
        except TimeoutError:
            return

    def _wanted(self) -> dict[TopicPartition, _Feed]:
        wanted = {}
        for tp, feed in self._feeds.items():
            full = feed.sink.full(tp.topic)
            if full != feed.paused:
                (self.consumer.pause if full else self.consumer.resume)(tp)
                feed.paused = full
            if not full:
                wanted[tp] = feed
        return wanted

    def _put_back(self, tp: TopicPartition, got: dict[TopicPartition, Any]) -> None:
        """Records polled for a feed that was replaced meanwhile: the new one must still get them."""
        feed = self._feeds.get(tp)
        if feed is not None and got.get(tp):
            self.consumer.seek(tp, feed.next)

    def _report(self, error: Exception) -> None:
        concerned = _concerned(error)
        for tp in list(self._feeds):
            if not concerned or tp in concerned:
                self._feeds.pop(tp).sink.fail(TransientError(f"input {tp.topic}/{tp.partition}: {error!r}"))


def _concerned(error: Exception) -> set[TopicPartition]:
    if isinstance(error, errors.OffsetOutOfRangeError) and error.args and isinstance(error.args[0], dict):
        return set(error.args[0])
    if isinstance(error, errors.NoOffsetForPartitionError) and error.args:
        return {error.args[0]}
    return set()

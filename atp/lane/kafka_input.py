"""The group side of the real log: membership, and one poller that feeds every task.

Rebalance callbacks only take note: no heartbeat is sent while one runs, and what it raises is swallowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import ConsumerRebalanceListener, errors
from aiokafka.structs import TopicPartition

from atp.lane.assignor import LaneAssignor
from atp.lane.errors import EvictedError, TransientError
from atp.lane.kafka_errors import translated
from atp.lane.kafka_reader import make_consumer, to_records
from atp.lane.kafka_writer import close_soon
from atp.lane.ports import Chunk, Sink
from atp.lane.settings import LaneSettings

POLL_TIMEOUT_MS = 200
POLLED_AT_ONCE = 8_000
PACED_AT_ONCE = 2_000  # of topics that can wait: turning more into records would hold up the others
ERRORS_IN_A_ROW = 150
FETCH_MIN_BYTES, FETCH_WAIT_MS = 32_768, 30
Records = dict[TopicPartition, list[Any]]
# Asking for a partition nobody has returns nothing but still surfaces the errors of the group.
NOTHING = TopicPartition("", 0)


class _Feed:
    """Delivery of one topic-partition to one sink."""

    __slots__ = ("next", "paced", "paused", "polled_ms", "sink")

    def __init__(self, position: int, sink: Sink, topic: str) -> None:
        self.next = position
        self.paced = sink.paced(topic)
        self.polled_ms: int | None = None  # when the broker last answered a fetch
        self.sink = sink
        self.paused = False


class KafkaInput(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """One group member that fetches all its input partitions in one go."""

    def __init__(
        self,
        settings: LaneSettings,
        topics: list[str],
        group_id: str,
        stored: Callable[[], list[int]],
        on_revoked: Callable[[], None],
        on_assigned: Callable[[set[int]], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned
        self._on_fatal = on_fatal
        self._feeds: dict[TopicPartition, _Feed] = {}
        self._was_member = False
        self._poller: asyncio.Task[None] | None = None
        self._attached = asyncio.Event()
        instance = settings.instance_id or f"member-{id(self):x}"
        self.consumer = make_consumer(
            settings,
            group_id=group_id,
            group_instance_id=settings.instance_id,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            max_poll_interval_ms=86_400_000,  # the poller below always polls; a busy loop is no reason to leave
            # An answer names every topic-partition: one for every few records would cost more than the records.
            fetch_min_bytes=FETCH_MIN_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            partition_assignment_strategy=(LaneAssignor(instance, stored),),
        )

    async def start(self) -> None:
        """Join the group and begin to poll."""
        self.consumer.subscribe(self._topics, listener=self)
        await self.consumer.start()
        self._poller = asyncio.get_running_loop().create_task(self._poll_always(), name="lane-poller")

    async def stop(self) -> None:
        """Stop polling and close the consumer; a static member does not leave its group."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])
        await close_soon(self.consumer, self._settings.call_timeout_s)

    # -- rebalance callbacks: take note, never wait

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Deliver nothing more; the tasks will attach again."""
        self._feeds.clear()
        # A static member only ever loses its member id when the group gave its identity away or let its
        # session expire. Rejoining would take the identity back from a rightful successor, for ever.
        if self._was_member and self._settings.instance_id and not self.consumer._coordinator.member_id:
            self._on_fatal(EvictedError(f"the group no longer knows member {self._settings.instance_id!r}"))
            return
        self._on_revoked()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pass on the partition numbers."""
        self._was_member = True
        self._on_assigned({tp.partition for tp in assigned})

    # -- delivery

    def attach(self, partition: int, positions: Mapping[str, int], sink: Sink) -> None:
        """Deliver from these positions on."""
        with translated("seek"):
            for topic, at in positions.items():
                tp = TopicPartition(topic, partition)
                self.consumer.seek(tp, at)
                self.consumer.resume(tp)
                self._feeds[tp] = _Feed(at, sink, topic)
        self._attached.set()

    def detach(self, partition: int) -> None:
        """Deliver nothing more of this partition."""
        for topic in self._topics:
            self._feeds.pop(TopicPartition(topic, partition), None)

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
        got, cut = await self._fetched(feeds)
        for tp, feed in feeds.items():
            if self._feeds.get(tp) is not feed:
                self._put_back(tp, got)
                continue
            position = await self.consumer.position(tp)
            chunk = self._chunk(tp, starts[tp], position, got.get(tp, []), tp not in cut)
            if chunk is not None:
                feed.sink.deliver(chunk)
        # Collect for a moment: fewer, larger polls cost less.
        await asyncio.sleep(self._settings.poll_interval_ms / 1000)

    async def _fetched(self, feeds: dict[TopicPartition, _Feed]) -> tuple[Records, set[TopicPartition]]:
        """What the client has fetched, and of which topic-partitions more may wait in it for the next poll.

        The client answers in the order in which its fetches ended: records of a burst would go before the few that
        are urgent. So paced topics are asked apart, and for less.
        """
        paced = [tp for tp, feed in feeds.items() if feed.paced]
        urgent = [tp for tp, feed in feeds.items() if not feed.paced]
        if paced and urgent:
            got, cut = await self._ask(urgent, POLLED_AT_ONCE)
            more, more_cut = await self._ask(paced, PACED_AT_ONCE)
            if got or more:
                return got | more, cut | more_cut
        return await self._ask(list(feeds), PACED_AT_ONCE if paced else POLLED_AT_ONCE, POLL_TIMEOUT_MS)

    async def _ask(
        self, tps: list[TopicPartition], most: int, timeout_ms: int = 0
    ) -> tuple[Records, set[TopicPartition]]:
        got = await self.consumer.getmany(*tps, timeout_ms=timeout_ms, max_records=most)
        return got, set(tps) if sum(map(len, got.values())) >= most else set()

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
        concerned = self._concerned(error)
        for tp in list(self._feeds):
            if not concerned or tp in concerned:
                self._feeds.pop(tp).sink.fail(TransientError(f"input {tp.topic}/{tp.partition}: {error!r}"))

    def _concerned(self, error: Exception) -> set[TopicPartition]:
        if isinstance(error, errors.OffsetOutOfRangeError) and error.args and isinstance(error.args[0], dict):
            return set(error.args[0])
        if isinstance(error, errors.NoOffsetForPartitionError) and error.args:
            return {error.args[0]}
        return set()

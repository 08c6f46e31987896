"""The group side of the real log: membership, and the pollers that feed every task.

Rebalance callbacks only take note: no heartbeat is sent while one runs, and what it raises is swallowed.

Topics that can wait are fetched by a consumer of their own. A client has one fetch under way, and begins no other
while records of the last one wait in it: facts would wait for the rows of a burst.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

from atp.lane.assignor import LaneAssignor
from atp.lane.errors import EvictedError
from atp.lane.kafka_poller import Poller
from atp.lane.kafka_reader import make_consumer
from atp.lane.ports import Sink
from atp.lane.settings import LaneSettings

POLLED_AT_ONCE = 8_000
PACED_AT_ONCE = 2_000  # of topics that can wait: turning more into records would hold up the others
FETCH_MIN_BYTES, FETCH_WAIT_MS, PACED_WAIT_MS = 32_768, 30, 100


class KafkaInput(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """A group member that fetches its input, but for `paced` topics, in one go; those apart."""

    def __init__(
        self,
        settings: LaneSettings,
        topics: list[str],
        paced: Collection[str],
        group_id: str,
        stored: Callable[[], list[int]],
        on_revoked: Callable[[], None],
        on_assigned: Callable[[set[int]], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._paced = paced
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned
        self._on_fatal = on_fatal
        self._was_member = False
        instance = settings.instance_id or f"member-{id(self):x}"
        self.consumer = make_consumer(
            settings,
            group_id=group_id,
            group_instance_id=settings.instance_id,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            max_poll_interval_ms=86_400_000,  # the poller always polls; a busy loop is no reason to leave
            # An answer names every topic-partition: one for every few records would cost more than the records.
            fetch_min_bytes=FETCH_MIN_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            partition_assignment_strategy=(LaneAssignor(instance, stored),),
        )
        self._urgent = Poller(self.consumer, settings, POLLED_AT_ONCE, on_fatal)
        self._patient: Poller | None = None
        if paced:
            consumer = make_consumer(settings, fetch_min_bytes=FETCH_MIN_BYTES, fetch_max_wait_ms=PACED_WAIT_MS)
            self._patient = Poller(consumer, settings, PACED_AT_ONCE, on_fatal)

    async def start(self) -> None:
        """Join the group and begin to poll."""
        if self._patient is not None:
            await self._patient.consumer.start()
            everything = {TopicPartition(t, p) for t in self._paced for p in range(self._settings.partitions)}
            self._patient.consumer.assign(everything)
            _leave(self._patient.consumer, everything)
            self._patient.start()
        self.consumer.subscribe(self._topics, listener=self)
        await self.consumer.start()
        self._urgent.start()

    async def stop(self) -> None:
        """Stop polling and close the consumers; a static member does not leave its group."""
        await self._urgent.stop()
        if self._patient is not None:
            await self._patient.stop()

    # -- rebalance callbacks: take note, never wait

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Deliver nothing more; the tasks will attach again."""
        self.detach()
        # A static member only ever loses its member id when the group gave its identity away or let its
        # session expire. Rejoining would take the identity back from a rightful successor, for ever.
        if self._was_member and self._settings.instance_id and not self.consumer._coordinator.member_id:
            self._on_fatal(EvictedError(f"the group no longer knows member {self._settings.instance_id!r}"))
            return
        self._on_revoked()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pass on the partition numbers."""
        self._was_member = True
        _leave(self.consumer, {tp for tp in assigned if tp.topic in self._paced})
        self._on_assigned({tp.partition for tp in assigned})

    # -- delivery

    def attach(self, partition: int, positions: Mapping[str, int], sink: Sink) -> None:
        """Deliver from these positions on."""
        wanted = {TopicPartition(topic, partition): at for topic, at in positions.items()}
        self._urgent.attach({tp: at for tp, at in wanted.items() if tp.topic not in self._paced}, sink)
        if self._patient is not None:
            self._patient.attach({tp: at for tp, at in wanted.items() if tp.topic in self._paced}, sink)

    def detach(self, partition: int | None = None) -> None:
        """Deliver nothing more of this partition, or of any."""
        self._urgent.detach(partition)
        if self._patient is not None:
            self._patient.detach(partition)


def _leave(consumer: AIOKafkaConsumer, tps: Collection[TopicPartition]) -> None:
    """Have a consumer fetch nothing of these. Of one that is paused it would still look for a position."""
    for tp in tps:
        consumer.seek(tp, 0)
        consumer.pause(tp)

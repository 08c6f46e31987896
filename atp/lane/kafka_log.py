"""The real Log: Kafka through aiokafka; topic ids through librdkafka's admin client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiokafka.structs import TopicPartition

from atp.lane import ports
from atp.lane.errors import TransientError
from atp.lane.kafka_errors import translated
from atp.lane.kafka_input import KafkaInput
from atp.lane.kafka_reader import KafkaReader, make_consumer, open_reader
from atp.lane.kafka_writer import KafkaWriter, close_soon, open_producer, supports_transactions, wait_closed
from atp.lane.ports import Bounds, Sink, TopicIdentity
from atp.lane.settings import LaneSettings


class KafkaLog:
    """One broker connection set of one lane."""

    def __init__(
        self,
        settings: LaneSettings,
        name: str,
        inputs: list[str],
        paced: Collection[str],
        stored: Callable[[], list[int]],
        on_revoked: Callable[[], None],
        on_assigned: Callable[[set[int]], None],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._settings = settings
        self._name = name
        self._inputs, self._paced = inputs, paced
        self._group_id = settings.group_id or name
        self.transactional = settings.guarantee == "exactly_once"
        self._callbacks = (stored, on_revoked, on_assigned, on_fatal)
        self._input: KafkaInput | None = None
        self._meta: Any = None
        self._admin: Any = None

    # -- life

    async def start(self) -> None:
        """Find out what the broker can do; connect."""
        if self._settings.guarantee == "auto":
            self.transactional = await supports_transactions(self._settings, f"{self._name}-probe")
        self._meta = make_consumer(self._settings)
        with translated("connect"):
            await self._meta.start()

    async def join(self) -> None:
        """Join the group: assignments begin to arrive."""
        self._input = KafkaInput(self._settings, self._inputs, self._paced, self._group_id, *self._callbacks)
        with translated("join"):
            await self._input.start()

    async def stop(self) -> None:
        """Leave and close every connection."""
        if self._input is not None:
            await self._input.stop()
        if self._meta is not None:
            close_soon(self._meta, self._settings.call_timeout_s)
        await wait_closed()

    # -- what a task asks for

    async def open_writer(self, partition: int) -> KafkaWriter:
        """The only producer of the partition from now on."""
        if not self.transactional:
            producer = await open_producer(self._settings, None)
            return KafkaWriter(producer, self._settings, self._group_id, partition, self._commit_offsets)
        producer = await open_producer(self._settings, f"{self._name}-{partition}")
        return KafkaWriter(producer, self._settings, self._group_id, partition, None)

    async def _commit_offsets(self, offsets: dict[TopicPartition, int]) -> None:
        await self._member.consumer.commit(offsets)

    async def committed(self, partition: int) -> dict[str, int | None]:
        """Committed offsets of our group."""
        with translated("committed offsets"):
            consumer = self._member.consumer
            return {topic: await consumer.committed(TopicPartition(topic, partition)) for topic in self._inputs}

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """First offset and last stable offset."""
        tp = TopicPartition(topic, partition)
        with translated(f"offsets of {topic}/{partition}"):
            start = await self._meta.beginning_offsets([tp])
            end = await self._meta.end_offsets([tp])
        return Bounds(start[tp], end[tp])

    async def identity(self, topic: str) -> TopicIdentity:
        """Topic id and partition count."""
        described = await asyncio.to_thread(self._describe, topic)
        if described is not None:
            return described
        with translated(f"metadata of {topic}"):
            partitions = (await self._meta._client.fetch_all_metadata()).partitions_for_topic(topic)
        if not partitions:
            raise TransientError(f"topic {topic} does not exist")
        return TopicIdentity("", len(partitions))

    def _describe(self, topic: str) -> TopicIdentity | None:
        """None where the broker cannot describe topics."""
        from confluent_kafka import KafkaException, TopicCollection
        from confluent_kafka.admin import AdminClient

        if self._admin is None:
            config = {"bootstrap.servers": self._settings.bootstrap_servers, **self._settings.admin}
            self._admin = AdminClient(config)
        timeout_s = self._settings.call_timeout_s
        future = self._admin.describe_topics(TopicCollection([topic]), request_timeout=timeout_s)[topic]
        try:
            found = future.result(timeout_s + 1)
        except KafkaException:
            return None
        return TopicIdentity(str(found.topic_id), len(found.partitions))

    async def attach(self, partition: int, positions: Mapping[str, int], sink: Sink) -> None:
        """Deliver the input of a partition."""
        self._member.attach(partition, positions, sink)

    def detach(self, partition: int) -> None:
        """Deliver nothing more."""
        if self._input is not None:
            self._input.detach(partition)

    async def open_reader(self, positions: Mapping[ports.TopicPartition, int]) -> KafkaReader:
        """Read outside the group."""
        return await open_reader(self._settings, positions)

    @property
    def _member(self) -> KafkaInput:
        if self._input is None:
            raise TransientError("not joined")
        return self._input

"""The real Reader: an aiokafka consumer outside any group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from atp.lane import ports
from atp.lane.kafka_errors import translated
from atp.lane.kafka_writer import close_soon
from atp.lane.ports import Chunk, Record
from atp.lane.settings import LaneSettings

READ_AT_ONCE = 10_000


def make_consumer(settings: LaneSettings, *topics: str, **options: Any) -> AIOKafkaConsumer:
    """A consumer that never commits, never resets and reads committed records only."""
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=settings.bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        request_timeout_ms=int(settings.call_timeout_s * 1000),
        max_partition_fetch_bytes=settings.max_message_bytes,
        retry_backoff_ms=50,
        **options,
        **settings.security,
    )


def to_records(records: list[Any]) -> list[Record]:
    """The client's records as ours."""
    return [Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in records]


class KafkaReader:
    """Reads some topic-partitions from given positions on."""

    def __init__(
        self, consumer: AIOKafkaConsumer, positions: Mapping[ports.TopicPartition, int], close_s: float
    ) -> None:
        self._consumer = consumer
        self._positions = {TopicPartition(*tp): at for tp, at in positions.items()}
        self._close_s = close_s

    async def read(self, timeout_ms: int) -> list[Chunk]:
        """Next chunks; one without records tells that only markers or gaps were passed."""
        with translated("read"):
            got = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=READ_AT_ONCE)
            chunks = []
            for tp, start in self._positions.items():
                position = await self._consumer.position(tp)
                if position != start:
                    end = self._consumer.last_stable_offset(tp) or position
                    records = to_records(got.get(tp, []))
                    chunks.append(Chunk(tp.topic, tp.partition, start, position, end, records))
                    self._positions[tp] = position
        return chunks

    def position(self, topic: str, partition: int) -> int:
        """Next offset that will be read."""
        return self._positions[TopicPartition(topic, partition)]

    async def close(self) -> None:
        """Stop the consumer in the background."""
        close_soon(self._consumer, self._close_s)


async def open_reader(settings: LaneSettings, positions: Mapping[ports.TopicPartition, int]) -> KafkaReader:
    """A started reader standing at the given positions."""
    consumer = make_consumer(settings, fetch_max_wait_ms=100)
    try:
        with translated("open reader"):
            await consumer.start()
            consumer.assign([TopicPartition(*tp) for tp in positions])
            for tp, at in positions.items():
                consumer.seek(TopicPartition(*tp), at)
    except BaseException:
        close_soon(consumer, settings.call_timeout_s)
        raise
    return KafkaReader(consumer, positions, settings.call_timeout_s)

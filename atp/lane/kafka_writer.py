"""The real Writer: one aiokafka producer per task, thrown away after any error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, errors
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from atp.lane import ports
from atp.lane.errors import RowTooLargeError, TransientError
from atp.lane.kafka_errors import translated
from atp.lane.ports import OutBatch
from atp.lane.settings import LaneSettings

CommitOffsets = Callable[[dict[TopicPartition, int]], Awaitable[None]]


async def open_producer(settings: LaneSettings, transactional_id: str | None) -> AIOKafkaProducer:
    """A started producer; with a transactional id, every earlier one of that id is fenced by now."""
    transactional: dict[str, Any] = {}  # the embedded broker knows no idempotent producers either
    if transactional_id is not None:
        timeout_ms = settings.transaction_timeout_ms
        transactional = {"transactional_id": transactional_id, "transaction_timeout_ms": timeout_ms}
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        acks="all",
        max_batch_size=settings.max_message_bytes,
        request_timeout_ms=int(settings.call_timeout_s * 1000),
        retry_backoff_ms=10,  # offset-only commits take 14 ms with it, 105 ms with the default
        **transactional,
        **settings.security,
    )
    try:
        with translated("start producer"):
            await producer.start()
    except BaseException:
        close_soon(producer, settings.call_timeout_s)
        raise
    return producer


_closing: set[asyncio.Task[None]] = set()


def close_soon(client: Any, deadline_s: float) -> asyncio.Task[None]:
    """Stop a client beside everything else: stopping one that has failed may take its whole deadline."""
    task = asyncio.get_running_loop().create_task(_close(client, deadline_s))
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    return task


async def _close(client: Any, deadline_s: float) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            await client.stop()
    except Exception:  # noqa: BLE001 # it is being thrown away; what matters is that its sockets close
        inner = client.client if hasattr(client, "client") else client._client
        await inner.close()


async def wait_closed() -> None:
    """Return when every client that was let go of is closed."""
    while _closing:
        await asyncio.wait(set(_closing))


class KafkaWriter:
    """One transaction at a time; without a transactional id begin and commit mean nothing."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        settings: LaneSettings,
        group_id: str,
        partition: int,
        commit_offsets: CommitOffsets | None,
    ) -> None:
        self._producer = producer
        self._settings = settings
        self._group_id = group_id
        self._partition = partition
        self._commit_offsets = commit_offsets  # set: no transactions
        self.transactional = commit_offsets is None

    async def begin(self) -> None:
        """Open a transaction."""
        with translated("begin transaction"):
            await self._producer.begin_transaction()

    async def send(self, batches: Sequence[OutBatch]) -> dict[ports.TopicPartition, int]:
        """Return once every record batch is acknowledged.

        A failed batch followed by a successful commit would lose it: nobody else checks these futures.
        """
        by_target: dict[ports.TopicPartition, list[OutBatch]] = {}
        for batch in batches:
            by_target.setdefault((batch.topic, batch.partition), []).append(batch)
        with translated("send"):
            sends = [self._send_to(*target, parts) for target, parts in by_target.items()]
            results = await asyncio.gather(*sends, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        return dict(zip(by_target, results, strict=True))  # type: ignore[arg-type]

    async def _send_to(self, topic: str, partition: int, batches: list[OutBatch]) -> int:
        sent: list[tuple[Any, int]] = []
        for batch in batches:
            builder = self._build(batch)
            future = await self._producer.send_batch(builder, topic, partition=partition)
            sent.append((future, len(batch.records)))
        await asyncio.wait([future for future, _ in sent])
        ends = [(future.result().offset, count) for future, count in sent]
        # A broker that saw the batch before answers without its offset (-1): then we do not know.
        return max(offset + count if offset >= 0 else 0 for offset, count in ends)

    def _build(self, batch: OutBatch) -> Any:
        builder = self._producer.create_batch()
        append = builder.append
        for out in batch.records:
            if append(timestamp=out.timestamp_ms, key=out.key, value=out.value, headers=list(out.headers)) is None:
                raise RowTooLargeError(
                    f"{batch.topic}: a record batch exceeds {self._settings.max_message_bytes} bytes"
                )
        builder.close()
        return builder

    async def send_offsets(self, offsets: Mapping[str, int]) -> None:
        """Commit input offsets: with the transaction, or at once where there is none."""
        with translated("send offsets"):
            if self._commit_offsets is not None:
                await self._commit_offsets({TopicPartition(t, self._partition): at for t, at in offsets.items()})
                return
            await self._producer.send_offsets_to_transaction(
                {TopicPartition(t, self._partition): OffsetAndMetadata(at, "") for t, at in offsets.items()},
                self._group_id,
            )

    async def commit(self) -> None:
        """Commit the transaction."""
        with translated("commit transaction"):
            await self._producer.commit_transaction()

    async def close(self) -> None:
        """Stop the producer in the background; it was either idle or is fenced by the next one."""
        task = close_soon(self._producer, self._settings.call_timeout_s)
        await asyncio.wait([task], timeout=1.0)


# What a broker answers that has no transactions; silence is no answer, and never means "no".
NO_TRANSACTIONS = (errors.UnknownError, errors.UnsupportedVersionError, errors.IncompatibleBrokerVersion)


async def supports_transactions(settings: LaneSettings, transactional_id: str) -> bool:
    """Ask the broker by asking for a transactional producer."""
    try:
        async with asyncio.timeout(settings.call_timeout_s):
            producer = await open_producer(settings, transactional_id)
    except TransientError as error:
        if isinstance(error.__cause__, NO_TRANSACTIONS):
            return False
        raise
    close_soon(producer, settings.call_timeout_s)
    return True

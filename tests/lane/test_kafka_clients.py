"""What our use of aiokafka must not forget, on scripted clients: no broker is needed to get these wrong."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.structs import TopicPartition

from atp.lane import kafka_log
from atp.lane.assignor import LaneAssignor
from atp.lane.buffer import Buffer
from atp.lane.errors import EvictedError, FencedError, TransientError
from atp.lane.kafka_input import KafkaInput
from atp.lane.kafka_log import KafkaLog
from atp.lane.kafka_reader import make_consumer
from atp.lane.kafka_writer import KafkaWriter
from atp.lane.ports import Out, OutBatch
from atp.lane.settings import LaneSettings

SETTINGS = LaneSettings(bootstrap_servers="nowhere:1", data_dir="")


class ScriptedProducer:
    """Accepts every batch at once; what became of it is told later, as aiokafka does."""

    def __init__(self, outcomes: list[Any]) -> None:
        self._outcomes = outcomes

    def create_batch(self) -> Any:
        """A batch that takes everything."""
        return SimpleNamespace(append=lambda **record: True, close=lambda: None)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Accepted; the future is the acknowledgement."""
        loop = asyncio.get_running_loop()
        future, outcome = loop.create_future(), self._outcomes.pop(0)
        settle = future.set_exception if isinstance(outcome, Exception) else future.set_result
        loop.call_later(0.001, settle, outcome)
        return future


def writer(outcomes: list[Any]) -> KafkaWriter:
    """A writer on a scripted producer."""
    return KafkaWriter(ScriptedProducer(outcomes), SETTINGS, "group", 0, None)


def batches(topics: list[str]) -> list[OutBatch]:
    """One batch of two records per topic."""
    return [OutBatch(topic, 0, [Out(b"k", b"1", 1), Out(b"k", b"2", 1)]) for topic in topics]


async def test_a_send_tells_where_the_log_stands_once_it_is_acknowledged() -> None:
    """The next offset is that of the acknowledgement, not a guess."""
    sent = await writer([SimpleNamespace(offset=40)]).send(batches(["changelog"]))
    assert sent == {("changelog", 0): 42}


@pytest.mark.parametrize(
    ("error", "raised"),
    [(errors.NotLeaderForPartitionError(), TransientError), (errors.ProducerFenced(), FencedError)],
)
@pytest.mark.parametrize("failing", [0, 1])
async def test_a_batch_that_failed_after_it_was_accepted_is_an_error(
    failing: int, error: Exception, raised: type[Exception]
) -> None:
    """A commit after it would succeed and lose the batch: nobody else looks at its future."""
    outcomes: list[Any] = [SimpleNamespace(offset=1), SimpleNamespace(offset=2)]
    outcomes[failing] = error
    with pytest.raises(raised):
        await writer(outcomes).send(batches(["changelog", "out"]))


async def test_every_worker_uses_the_same_transactional_id_for_a_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what fences the one before; another id per worker would fence nobody."""
    opened: list[str | None] = []

    async def open_producer(settings: LaneSettings, transactional_id: str | None) -> Any:
        opened.append(transactional_id)

    monkeypatch.setattr(kafka_log, "open_producer", open_producer)
    for _ in range(2):
        log = KafkaLog(SETTINGS, "atp-sku", ["a"], [], list, lambda: None, lambda owned: None, lambda error: None)
        log.transactional = True
        await log.open_writer(3)
    assert opened == ["atp-sku-3", "atp-sku-3"]


async def test_consumers_see_committed_records_only_and_never_reset() -> None:
    """An aborted record is no fact, and a lost position is not the end of the topic."""
    consumer = make_consumer(SETTINGS)
    assert (consumer._isolation_level, consumer._auto_offset_reset) == ("read_committed", "none")
    assert consumer._enable_auto_commit is False


def member(instance_id: str | None, told: list[Any]) -> KafkaInput:
    """A member of a group that notes what it is told."""
    settings = LaneSettings(bootstrap_servers="nowhere:1", data_dir="", instance_id=instance_id)
    return KafkaInput(
        settings, ["a", "b"], ["a"], "g", list, lambda: told.append("revoked"), told.append, told.append
    )


async def test_a_member_is_static_and_assigned_by_our_assignor_alone() -> None:
    """A restart under the same name is no rebalance, and nobody else's assignor tears the topics apart."""
    consumer = member("worker-1", []).consumer
    assert (consumer._group_instance_id, consumer._session_timeout_ms) == ("worker-1", 10_000)
    assert [type(assignor) for assignor in consumer._partition_assignment_strategy] == [LaneAssignor]


async def test_a_static_member_that_lost_its_identity_ends() -> None:
    """The group gave its name to a successor: joining again would take it back, for ever."""
    told: list[Any] = []
    evicted = member("worker-1", told)
    evicted._paced = []
    evicted.consumer._coordinator = SimpleNamespace(member_id="m-1")
    evicted.on_partitions_assigned([TopicPartition("a", 3), TopicPartition("b", 3)])
    evicted.on_partitions_revoked([])
    evicted.consumer._coordinator = SimpleNamespace(member_id="")
    evicted.on_partitions_revoked([])
    assert told[:2] == [{3}, "revoked"]
    assert [type(fatal) for fatal in told[2:]] == [EvictedError]


class ScriptedConsumer:
    """Notes what it is to fetch."""

    def __init__(self) -> None:
        self.wanted: dict[TopicPartition, int] = {}

    def seek(self, tp: TopicPartition, at: int) -> None:
        """From here on."""
        self.wanted[tp] = at

    def pause(self, tp: TopicPartition) -> None:
        """Not now."""
        del self.wanted[tp]

    def resume(self, tp: TopicPartition) -> None:
        """Again."""
        assert tp in self.wanted


async def test_topics_that_can_wait_are_fetched_apart() -> None:
    """A client fetches nothing while records of its last fetch wait: rows of a burst would hold up facts."""
    rows, facts = TopicPartition("a", 3), TopicPartition("b", 3)
    input_, buffer = member(None, []), Buffer({"a": 7, "b": 8}, {"a": 10_000, "b": 9}, 50_000, 3_600_000, {"a": 400})
    assert input_._patient is not None
    assert input_._patient.consumer is not input_.consumer
    urgent, patient = ScriptedConsumer(), ScriptedConsumer()
    input_.consumer = input_._urgent.consumer = urgent
    input_._patient.consumer = patient
    input_.on_partitions_assigned([rows, facts])
    assert urgent.wanted == {}
    input_.attach(3, {"a": 7, "b": 8}, buffer)
    assert (urgent.wanted, patient.wanted) == ({facts: 8}, {rows: 7})

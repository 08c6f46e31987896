"""The client on running brokers: to the captured end, then every change; committed records only."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from atp import admin
from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.kafka import KafkaCluster
from atp.client import Change, ChangesLostError, Client, Staleness, State
from atp.commands.clients import make_producer
from atp.topics import AVAILABILITY, FRESHNESS, MODES
from tests.client.records import encoded, measured, mode
from tests.conftest import require_kafka_tools

PARTITIONS = 8
WAIT_S = 120.0


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.broker("embedded")),
        pytest.param("kafka", marks=[pytest.mark.broker("kafka"), pytest.mark.kafka]),
    ]
)
def fresh(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh broker of each kind with the product's topics."""
    if request.param == "kafka":
        require_kafka_tools()
    with KafkaCluster() if request.param == "kafka" else EmbeddedBroker() as broker:
        admin.ensure({"bootstrap.servers": broker.bootstrap}, PARTITIONS, keep_forever=True)
        yield broker.bootstrap


def producer(bootstrap: str, **more: str) -> Producer:
    """A producer that places keys as the product does."""
    return make_producer({"bootstrap.servers": bootstrap}, **more)


def publish(bootstrap: str, *records: tuple[str, bytes]) -> None:
    """Put canonical records on the topic and wait for the broker."""
    sender = producer(bootstrap)
    for sku, value in records:
        sender.produce(AVAILABILITY.name, value, f"{sku}|uk")
    assert sender.flush(20) == 0


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ready_means_that_everything_published_before_is_known(fresh: str) -> None:
    """At the ready signal not one of many keys is missing, and each shows its last version."""
    publish(fresh, *[(f"S{n}", encoded(f"S{n}", version, n)) for version in (1, 2) for n in range(2_000)])
    with Client(fresh) as client:
        assert client.wait_ready(WAIT_S)
        answers = [client.sellable(f"S{n}", "uk", "web") for n in range(2_000)]
        assert [(a.sellable, a.version) for a in answers] == [(n, 2) for n in range(2_000)]
        status = client.status()
        assert (status.state, status.keys, status.regressed, status.error) == (State.FOLLOWING, 2_000, 0, None)


def test_changes_and_switches_are_seen_and_told(fresh: str) -> None:
    """A new version and a switch of mode both change the answer and reach the callback, in order."""
    publish(fresh, ("S", encoded("S", 1, 10)))
    told: list[Change] = []
    with Client(fresh) as client:
        end = client.on_change(told.append)
        client.on_change(lambda _change: 1 / 0)  # a callback that fails ends alone
        assert client.wait_ready(WAIT_S)
        publish(fresh, ("S", encoded("S", 2, 20)))
        eventually(lambda: client.sellable("S", "uk", "web").sellable == 20)
        sender = producer(fresh)
        sender.produce(MODES.name, mode("SUSPENDED"), "uk|web")
        assert sender.flush(20) == 0
        eventually(lambda: client.sellable("S", "uk", "web").sellable == 0)
        end()
        assert [(c.record.version if c.record else None, c.mode is not None) for c in told] == [
            (2, False),
            (None, True),
        ]
        assert client.status().failed_callbacks == 1


def test_where_nobody_measures_any_more_it_sells_carefully(fresh: str) -> None:
    """All workers are gone for a while: the last measurement is old, and a mode of before is not believed."""
    publish(fresh, ("S", encoded("S", 1, 10)))
    sender = producer(fresh)
    sender.produce(FRESHNESS.name, measured("uk"), "uk")
    assert sender.flush(20) == 0
    with Client(fresh) as client:
        assert client.wait_ready(WAIT_S)
        answer = client.sellable("S", "uk", "web")
        assert (answer.sellable, answer.reasons) == (4, ("UNMEASURED",))


async def test_asyncio_code_follows_with_an_iterator(fresh: str) -> None:
    """The same client in a coroutine: ready without blocking the loop, changes as an async iterator."""
    async with Client(fresh) as client:
        assert await asyncio.to_thread(client.wait_ready, WAIT_S)
        with client.changes() as changes:
            publish(fresh, ("S", encoded("S", 1, 5)))
            change = await asyncio.wait_for(anext(changes), WAIT_S)
        assert change.record is not None
        assert change.record.atp == 5


@pytest.mark.broker("kafka")
@pytest.mark.kafka
def test_what_is_not_committed_is_never_answered() -> None:
    """An open transaction does not stand in the way of the ready signal; an aborted one leaves nothing."""
    require_kafka_tools()
    with KafkaCluster() as kafka:
        admin.ensure({"bootstrap.servers": kafka.bootstrap}, PARTITIONS, keep_forever=True)
        publish(kafka.bootstrap, ("S", encoded("S", 1, 10)))
        writer = producer(kafka.bootstrap, **{"transactional.id": "t"})
        writer.init_transactions(WAIT_S)
        writer.begin_transaction()
        writer.produce(AVAILABILITY.name, encoded("S", 2, 99), "S|uk")
        assert writer.flush(20) == 0
        with Client(kafka.bootstrap) as client:
            assert client.wait_ready(WAIT_S)
            assert client.sellable("S", "uk", "web").sellable == 10
            writer.abort_transaction(WAIT_S)
            writer.begin_transaction()
            writer.produce(AVAILABILITY.name, encoded("S", 2, 20), "S|uk")
            writer.commit_transaction(WAIT_S)
            eventually(lambda: client.sellable("S", "uk", "web").sellable == 20)
            # the markers of the transactions are no records, and yet the view stays complete
            before_ms = client.status().age_ms
            assert before_ms is not None
            eventually(lambda: (client.status().age_ms or 0) < before_ms or before_ms == 0)


def test_without_a_broker_the_view_grows_old_and_recovers_when_it_is_back() -> None:
    """A broker that is gone: degraded, then refused; a new one that knows nothing of before is read anew."""
    broker = EmbeddedBroker()
    try:
        admin.ensure({"bootstrap.servers": broker.start().bootstrap}, PARTITIONS, keep_forever=True)
        publish(broker.bootstrap, ("S", encoded("S", 7, 10)), ("S", encoded("S", 8, 10)))
        with Client(broker.bootstrap, Staleness(2_500, 4_000)) as client:
            assert client.wait_ready(WAIT_S)
            broker.stop()
            eventually(lambda: client.sellable("S", "uk", "web").refused)
            assert client.status().state is State.LAGGING
            broker.start()
            admin.ensure({"bootstrap.servers": broker.bootstrap}, PARTITIONS, keep_forever=True)
            publish(broker.bootstrap, ("S", encoded("S", 1, 3)))
            eventually(lambda: client.sellable("S", "uk", "web").sellable == 3)
    finally:
        broker.stop()


async def test_a_reader_that_is_too_slow_is_told() -> None:
    """Changes are never dropped in silence."""
    from atp.client.subscriptions import Subscribers

    subscribers = Subscribers()
    with subscribers.queue(2) as changes:
        thread = threading.Thread(target=lambda: [subscribers.tell(Change("k", None, None, 0, n)) for n in range(5)])
        thread.start()
        await asyncio.to_thread(thread.join)
        assert [(await anext(changes)).offset, (await anext(changes)).offset] == [0, 1]
        with pytest.raises(ChangesLostError):
            await anext(changes)

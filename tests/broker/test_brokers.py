"""The brokers themselves: they start, carry records, and can do what their flags say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.kafka import KafkaCluster
from tests.conftest import Broker, require_kafka_tools


async def _create_topic(bootstrap: str) -> str:
    topic = f"smoke-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    await admin.close()
    return topic


async def _read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_record_sent_is_a_record_read(broker: Broker) -> None:
    """Both brokers create a topic and carry a record."""
    topic = await _create_topic(broker.bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    await producer.send_and_wait(topic, b"hello", key=b"k")
    await producer.stop()
    assert await _read(broker.bootstrap, topic, 1) == [b"hello"]


@pytest.mark.kafka
async def test_kafka_hides_an_aborted_transaction(kafka_broker: Broker) -> None:
    """Real Kafka has transactions: what was aborted is never read."""
    assert kafka_broker.transactions
    topic = await _create_topic(kafka_broker.bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap, transactional_id=topic)
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"aborted", partition=0)
    await producer.abort_transaction()
    async with producer.transaction():
        await producer.send_and_wait(topic, b"kept", partition=0)
    await producer.stop()
    assert await _read(kafka_broker.bootstrap, topic, 1) == [b"kept"]


async def test_the_embedded_broker_admits_it_has_no_transactions(embedded_broker: Broker) -> None:
    """The embedded broker's flags promise nothing it cannot do."""
    assert not embedded_broker.transactions
    assert not embedded_broker.compaction


async def test_the_embedded_broker_goes_away_when_left() -> None:
    """Leaving the context ends the process."""
    async with EmbeddedBroker() as embedded:
        pid = embedded.pid
        assert pid is not None
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_a_broker_dies_with_its_parent(tmp_path: Path) -> None:
    """Not even kill -9 of the program that started it leaves a broker behind."""
    program = (
        "import time; from atp.brokers.embedded import EmbeddedBroker\n"
        "broker = EmbeddedBroker().start(); print(broker.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


@pytest.mark.kafka
@pytest.mark.slow
async def test_a_three_node_cluster_survives_the_loss_of_one_node() -> None:
    """With three nodes, one killed node does not stop acknowledged writes, and it comes back."""
    require_kafka_tools()
    async with KafkaCluster(nodes=3) as kafka:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("replicated", num_partitions=1, replication_factor=3)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
        await producer.start()
        await producer.send_and_wait("replicated", b"before")
        kafka.nodes[0].kill()
        await producer.send_and_wait("replicated", b"after")
        await producer.stop()
        kafka.nodes[0].start()
        assert await _read(kafka.bootstrap, "replicated", 2) == [b"before", b"after"]

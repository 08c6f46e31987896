"""Puts the inputs on the broker: topics, facts, and the reference and policy our worker needs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

from aiokafka.partitioner import murmur2
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from atp.domain.facts import DAMAGES_TOPIC, RECEIPTS_TOPIC, RESERVATIONS_TOPIC, STOCK_TOPIC
from bench.workload import NODES, REGIONS, Record, Workload

PARTITIONS = 8
FACT_TOPICS = (STOCK_TOPIC, RESERVATIONS_TOPIC, RECEIPTS_TOPIC, DAMAGES_TOPIC)
NODES_TOPIC, POLICIES_TOPIC, AVAILABILITY_TOPIC = "reference.nodes.v1", "atp.policies.v1", "atp.availability.v1"
WARM_UP_TOPIC = "bench.warmup.v1"


def partition_of(key: bytes) -> int:
    """The partition every default Java and aiokafka producer gives this key."""
    return int((murmur2(key) & 0x7FFFFFFF) % PARTITIONS)


def create_topics(
    bootstrap: str, names: Iterable[str], partitions: int = PARTITIONS, compacted: bool = False
) -> None:
    """Create topics that keep records for ever, whatever their (simulated) time."""
    config = {"retention.ms": "-1", "cleanup.policy": "compact" if compacted else "delete"}
    topics = [NewTopic(name, partitions, 1, config=config) for name in names]
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    for future in admin.create_topics(topics).values():
        future.result()


class Sender:
    """Sends facts to the partition of their SKU; keeps the order within a partition."""

    def __init__(self, bootstrap: str, skus: list[bytes], linger_ms: int = 20) -> None:
        self._skus, self._partitions = skus, [partition_of(sku) for sku in skus]
        self.producer = Producer({
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "log_level": 3,
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 512 << 10,
        })  # fmt: skip

    def send(self, record: Record, topic: str | None = None, on_delivery: object = None) -> None:
        """Queue one fact; waits when the queue is full."""
        place = self._partitions[record.sku]
        key = self._skus[record.sku]
        while True:
            try:
                self.producer.produce(
                    topic or record.topic, record.value, key, place, on_delivery, record.recorded_ms
                )
                return
            except BufferError:
                self.producer.poll(0.05)


def load_facts(bootstrap: str, workload: Workload, count: int, topic: str | None = None) -> None:
    """Send the next `count` facts of a workload, all to one topic if one is given."""
    sender = Sender(bootstrap, workload.skus)
    for number, record in enumerate(itertools.islice(workload, count)):
        sender.send(record, topic)
        if number % 5000 == 0:
            sender.producer.poll(0)
    sender.producer.flush()


def load_reference(bootstrap: str) -> None:
    """Send the nodes with their regions, and a default policy."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for region, nodes in zip(REGIONS, NODES, strict=True):
        for node in nodes:
            value = {"node": node.decode(), "region": region.decode(), "kind": "dc", "trusted": True}
            producer.produce(NODES_TOPIC, json.dumps(value).encode(), node)
    policy = {"scope": "default", "version": 1, "safety_stock": 2}
    producer.produce(POLICIES_TOPIC, json.dumps(policy).encode(), b"default")
    producer.flush()


def prepare(bootstrap: str, workload: Workload, count: int) -> None:
    """Everything a run reads, on an empty broker."""
    create_topics(bootstrap, FACT_TOPICS)
    create_topics(bootstrap, [NODES_TOPIC, POLICIES_TOPIC], partitions=1, compacted=True)
    create_topics(bootstrap, [AVAILABILITY_TOPIC], compacted=True)
    load_reference(bootstrap)
    load_facts(bootstrap, workload, count)


def partitions_of(topics: Iterable[str]) -> list[TopicPartition]:
    """All partitions of topics created here."""
    return [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]

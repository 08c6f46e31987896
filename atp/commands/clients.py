"""Kafka clients of the commands: quiet, with deadlines, and errors as one clear line."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from atp.admin import silent_logger
from atp.commands.errors import CommandError

TIMEOUT_S = 10.0
SKU_GROUP, REGION_GROUP = "atp-sku", "atp-region"  # of the worker's two lanes
READ_AT_ONCE = 5_000
YOUNG = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)
Place = tuple[str, int]


def make_producer(config: dict[str, Any], **more: Any) -> Producer:
    """A producer that puts a key where the worker expects it, and loses or repeats nothing."""
    options = {
        "partitioner": "murmur2_random",
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 10,
        "batch.size": 500_000,
        "message.timeout.ms": 30_000,
        "log_level": 0,
    }
    return Producer({**config, **options, **more}, logger=silent_logger())


@contextmanager
def consumer(
    config: dict[str, Any], group: str = "atp-reader", more: dict[str, Any] | None = None
) -> Iterator[Consumer]:
    """A consumer outside every group (it commits nothing); `group` names whose commits it can look up."""
    options = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
        "log_level": 0,
    }
    found = Consumer({**config, **options, **(more or {})}, logger=silent_logger())
    try:
        yield found
    finally:
        found.close()


@contextmanager
def one_line(bootstrap: str) -> Iterator[None]:
    """Whatever the client library raises ends as one line."""
    try:
        yield
    except KafkaException as error:
        raise CommandError(f"broker {bootstrap}: {error.args[0].str()}") from None


def bounds(reader: Consumer, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
    """First and next offset of each partition."""
    return {place: _bounds(reader, TopicPartition(*place)) for place in places}


def _bounds(reader: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """A partition just created has no leader for a moment."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            first, following = reader.get_watermark_offsets(partition, timeout=TIMEOUT_S)
        except KafkaException as error:
            if time.monotonic() > deadline or (not error.args[0].retriable() and error.args[0].code() not in YOUNG):
                raise
            time.sleep(0.1)
        else:
            return first, following


def ends(reader: Consumer, places: Iterable[Place]) -> dict[Place, int]:
    """Next offset of each partition, by reading up to it.

    The embedded broker's answer to the question is one after its last batch's first record.
    """
    known = bounds(reader, places)
    found = {place: end for place, (_, end) in known.items()}
    begin = {place: end - 1 for place, (first, end) in known.items() if end > first}
    for message in _to_the_end(reader, begin):
        if message.error() is not None:
            found[message.topic(), message.partition()] = message.offset()
    return found


def committed(reader: Consumer, places: Iterable[Place]) -> dict[Place, int]:
    """What the consumer's group has committed, by partition; -1 where nothing is."""
    found = reader.committed([TopicPartition(*place) for place in places], timeout=TIMEOUT_S)
    return {(tp.topic, tp.partition): max(-1, tp.offset) for tp in found}


def read_whole(reader: Consumer, places: Iterable[Place], since: Mapping[Place, int] | None = None) -> Iterator[Any]:
    """Every message of some partitions, up to the end that they have now; `since`: from these offsets on."""
    begin = since or {}
    left = {place for place, (start, end) in bounds(reader, places).items() if end > max(start, begin.get(place, 0))}
    for message in _to_the_end(reader, {place: begin.get(place, OFFSET_BEGINNING) for place in left}):
        if message.error() is None:
            yield message


def _to_the_end(reader: Consumer, begin: dict[Place, int]) -> Iterator[Any]:
    """Every message of some partitions from these offsets on, and the word of each that its end was reached."""
    left = set(begin)
    if not left:
        return
    reader.assign([TopicPartition(*place, offset) for place, offset in begin.items()])
    while left:
        for message in reader.consume(READ_AT_ONCE, timeout=0.2):
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None:
                left.discard((message.topic(), message.partition()))
            yield message
    reader.unassign()


def documents(config: dict[str, Any], topic: str) -> dict[str, Any]:
    """The latest document of every key of a compacted topic with one partition, in order of the keys."""
    found: dict[str, bytes] = {}
    with one_line(config["bootstrap.servers"]), consumer(config) as reader:
        for message in read_whole(reader, [(topic, 0)]):
            key = message.key().decode(errors="replace")
            found.pop(key, None)
            if message.value() is not None:
                found[key] = message.value()
    return {key: msgspec.json.decode(found[key]) for key in sorted(found)}

"""A fresh broker for every test: topics and groups have fixed names, and no test may find another's.

Real Kafka is always one of our own here, never the one at KAFKA_BOOTSTRAP: the tests write to topics of the
product's real names.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.kafka import KafkaCluster
from tests.conftest import require_kafka_tools
from tests.stream.system import System

# Histories lie years before and after today; Kafka would refuse the ones and delete the others.
ANY_TIME = {
    "log.message.timestamp.after.max.ms": str(2**62),
    "log.message.timestamp.before.max.ms": str(2**62),
    "log.initial.task.delay.ms": "3600000",  # retention is not looked at before that
}


def running(name: str) -> EmbeddedBroker | KafkaCluster:
    """A broker by its name, not started yet."""
    if name == "embedded":
        return EmbeddedBroker()
    require_kafka_tools()
    return KafkaCluster(properties=ANY_TIME)


def systems(name: str, folder: Path) -> Iterator[System]:
    """A system on a fresh broker; its folder goes with it."""
    with running(name) as broker, System(broker, folder) as system:
        yield system
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.broker("embedded")),
        pytest.param("kafka", marks=[pytest.mark.broker("kafka"), pytest.mark.kafka]),
    ]
)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """The product on each broker in turn; ask `exactly_once` before you rely on it."""
    yield from systems(request.param, tmp_path)

"""Brokers for the tests: the embedded one and real Apache Kafka behind the same fixture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.kafka import KafkaCluster

# A loaded machine must fail no property.
settings.register_profile("product", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("product")


@dataclass(frozen=True)
class Broker:
    """A running broker and what it can do."""

    bootstrap: str
    name: str
    transactions: bool
    compaction: bool


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    """The embedded broker, one per session (and per xdist worker)."""
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap, "embedded", embedded.transactions, embedded.compaction)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """Apache Kafka: the one at KAFKA_BOOTSTRAP, or a node of our own per session (and per xdist worker)."""
    if bootstrap := os.environ.get("KAFKA_BOOTSTRAP"):
        yield Broker(bootstrap, "kafka", transactions=True, compaction=True)
        return
    require_kafka_tools()
    with KafkaCluster() as kafka:
        yield Broker(kafka.bootstrap, "kafka", kafka.transactions, kafka.compaction)


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.broker("embedded")),
        pytest.param("kafka", marks=[pytest.mark.broker("kafka"), pytest.mark.kafka]),
    ]
)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Every broker in turn; ask its flags before you use transactions or compaction."""
    found: Broker = request.getfixturevalue(f"{request.param}_broker")
    return found


def require_kafka_tools() -> None:
    """Skip when Kafka cannot be started here; fail instead under ATP_REQUIRE_KAFKA=1."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if not missing:
        return
    reason = f"real Kafka needs {' and '.join(missing)} on the PATH, or KAFKA_BOOTSTRAP"
    if os.environ.get("ATP_REQUIRE_KAFKA") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require_promtool() -> None:
    """Skip when promtool is not installed; fail instead under ATP_REQUIRE_PROMTOOL=1."""
    if shutil.which("promtool") is not None:
        return
    reason = "promtool checks alert rules and configuration (Debian: prometheus)"
    if os.environ.get("ATP_REQUIRE_PROMTOOL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)

"""Topics on a broker: created as the catalogue says, and checked against it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from atp.settings import Settings
from atp.topics import CATALOGUE, Topic

TIMEOUT_S, ATTEMPT_S = 10.0, 2.0
REFUSALS = {
    KafkaError._AUTHENTICATION: "the broker does not accept user and password: see ATP_SASL_USERNAME, "
    "ATP_SASL_PASSWORD, ATP_SASL_MECHANISM",
    KafkaError._SSL: "no secure connection: see ATP_SSL_CAFILE, ATP_SSL_CERTFILE, ATP_SECURITY_PROTOCOL",
}


class BrokerError(Exception):
    """The broker cannot be reached, or its topics are not as the catalogue says."""


class Admin(AdminClient):  # type: ignore[misc] # confluent_kafka is untyped
    """An admin client that says nothing by itself, but knows why a connection was refused."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.refusal = ""
        options = {"log_level": 0, "socket.timeout.ms": 5000, "error_cb": self._on_error}
        super().__init__({**config, **options}, logger=silent_logger())

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            self.refusal = REFUSALS[error.code()]


def client(config: dict[str, Any]) -> Admin:
    """An admin client; BrokerError when the connection settings cannot be used."""
    try:
        return Admin(config)
    except KafkaException as error:
        raise BrokerError(f"connection settings cannot be used: {error.args[0].str()}") from None


def silent_logger() -> Any:
    """A logger that keeps the client library from writing to standard error."""
    logger = logging.getLogger("atp.librdkafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def partition_counts(admin: Admin, bootstrap: str) -> dict[str, int]:
    """Partitions by topic; BrokerError tells why there is no answer, at once when the connection was refused."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            metadata = admin.list_topics(timeout=ATTEMPT_S)
        except KafkaException as error:
            admin.poll(0)  # lets the client tell its errors
            if admin.refusal:
                raise BrokerError(f"{bootstrap}: {admin.refusal}") from None
            if time.monotonic() > deadline:
                raise BrokerError(f"no broker answers at {bootstrap}: {error.args[0].str()}") from None
        else:
            return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def partitions_of(topic: Topic, partitions: int) -> int:
    """How many partitions a topic has."""
    return partitions if topic.co_partitioned else 1


def ensure(config: dict[str, Any], partitions: int, replication: int = 1, *, keep_forever: bool = False) -> list[str]:
    """Create the missing topics of the catalogue; answer their names.

    `keep_forever`: without retention by time, for records whose timestamps lie years back.
    """
    admin = client(config)
    known = partition_counts(admin, config["bootstrap.servers"])
    missing = [topic for topic in CATALOGUE if topic.name not in known]
    wanted = [
        NewTopic(t.name, partitions_of(t, partitions), replication, config=_settings_of(t, keep_forever))
        for t in missing
    ]
    if not wanted:
        return []
    for name, future in admin.create_topics(wanted, operation_timeout=TIMEOUT_S).items():
        try:
            future.result(TIMEOUT_S)
        except KafkaException as error:
            if "exists" not in error.args[0].str().lower():
                raise BrokerError(f"topic {name} cannot be created: {error.args[0].str()}") from None
    return [topic.name for topic in missing]


def _settings_of(topic: Topic, keep_forever: bool) -> dict[str, str]:
    found = dict(topic.settings)
    if keep_forever and "retention.ms" in found:
        found["retention.ms"] = "-1"
    return found


def prepare(settings: Settings) -> None:
    """Before a worker starts: create what is missing if the settings allow it; BrokerError if anything is wrong."""
    if settings.create_topics:
        ensure(settings.admin(), settings.partitions, settings.replication)
    wrong = problems(settings.admin(), settings.partitions)
    if wrong:
        raise BrokerError("; ".join(wrong))


def problems(config: dict[str, Any], partitions: int) -> list[str]:
    """What is wrong with the topics of a broker, a line each."""
    admin = client(config)
    known = partition_counts(admin, config["bootstrap.servers"])
    found = []
    for topic in CATALOGUE:
        wanted = partitions_of(topic, partitions)
        if topic.name not in known:
            found.append(f"topic {topic.name} is missing: create it with {wanted} partitions, {_words(topic)}")
        elif known[topic.name] != wanted:
            found.append(f"topic {topic.name} has {known[topic.name]} partitions: {wanted} are needed")
    return found + _settings_problems(admin, [topic for topic in CATALOGUE if topic.name in known])


def _words(topic: Topic) -> str:
    return ", ".join(f"{name}={value}" for name, value in topic.settings.items())


def _settings_problems(admin: AdminClient, present: list[Topic]) -> list[str]:
    """Wrong cleanup policies: the one setting that loses data, or never forgets it."""
    found = []
    for topic, config in zip(present, _configs(admin, present), strict=True):
        policy, wanted = config.get("cleanup.policy", "delete"), topic.settings["cleanup.policy"]
        if policy != wanted:
            found.append(f"topic {topic.name} has cleanup.policy={policy}: {wanted} is needed")
    return found


def forgetful(config: dict[str, Any], wanted: Sequence[Topic]) -> list[str]:
    """Which topics delete records by time: what is replayed from long ago would be gone at once."""
    found = []
    for topic, settings in zip(wanted, _configs(client(config), wanted), strict=True):
        kept_ms = settings.get("retention.ms", "-1")
        if kept_ms != "-1":
            found.append(f"topic {topic.name} has retention.ms={kept_ms}: a replay of the past needs -1")
    return found


def _configs(admin: AdminClient, wanted: Sequence[Topic]) -> list[dict[str, str]]:
    """The settings of some topics, in order; the embedded broker tells those that were set only."""
    if not wanted:
        return []
    futures = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic.name) for topic in wanted])
    try:
        return [{k: v.value for k, v in future.result(TIMEOUT_S).items()} for future in futures.values()]
    except KafkaException as error:
        raise BrokerError(f"topic settings cannot be read: {error.args[0].str()}") from None

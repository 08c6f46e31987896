"""Security of the wire, on real Kafka: TLS, SCRAM, client certificates, and the rights of every role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from confluent_kafka import KafkaError, KafkaException, Producer
from cryptography.hazmat.primitives import serialization

from atp import access, admin
from atp.access import Party
from atp.brokers.kafka import KafkaCluster, Security
from atp.brokers.process import Child
from atp.client import Client
from atp.commands import clients
from atp.topics import AVAILABILITY, CATALOGUE, DEAD_LETTERS, FACT_TOPICS, MODES, STOCK, Role
from tests.broker.test_cli_on_brokers import await_record, checks, create_topics
from tests.cli import atp, count, is_one_line, node, placed, policy, write_lines
from tests.conftest import require_kafka_tools

pytestmark = [pytest.mark.broker("kafka"), pytest.mark.kafka]
PASSWORDS = {party.value: f"s3cret-{party}-{index:04}" for index, party in enumerate(Party)}
TESTED = "test-"  # groups that everybody may use here, so that the right on a topic is what is judged
STRANGER = "stranger"  # known to the broker, without a right


class SecureBroker(NamedTuple):
    """A broker that grants what ACLs grant, with the topics of the catalogue."""

    kafka: KafkaCluster
    folder: Path
    ca: trustme.CA

    def user(self, name: str, **more: str) -> dict[str, str]:
        """The environment of a user on the SASL_SSL listener; the password lies in a file."""
        secret = self.folder / f"{name}.password"
        secret.write_text(f"{PASSWORDS[name]}\n")
        return {
            "ATP_BOOTSTRAP": self.kafka.sasl_bootstrap, "ATP_SECURITY_PROTOCOL": "SASL_SSL",
            "ATP_SASL_USERNAME": name, "ATP_SASL_PASSWORD_FILE": str(secret),
            "ATP_SSL_CAFILE": str(self.folder / "ca.pem"), "ATP_DATA_DIR": str(self.folder / name), **more,
        }  # fmt: skip

    def config(self, name: str) -> dict[str, Any]:
        """The same for librdkafka."""
        return {
            "bootstrap.servers": self.kafka.sasl_bootstrap, "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": name, "sasl.password": PASSWORDS[name],
            "ssl.ca.location": str(self.folder / "ca.pem"),
        }  # fmt: skip


def server_pem(ca: trustme.CA) -> str:
    """A server's key, as Kafka reads it, and its certificates."""
    cert = ca.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(cert.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (pkcs8 + b"".join(blob.bytes() for blob in cert.cert_chain_pems)).decode()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """One secured broker for all tests here; every role has been given its rights by `atp acls --apply`."""
    require_kafka_tools()
    folder, ca = tmp_path_factory.mktemp("secure"), trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    PASSWORDS[STRANGER] = "s3cret-stranger"
    security = Security(server_pem(ca), ca.cert_pem.bytes().decode(), PASSWORDS)
    with KafkaCluster(security=security) as kafka:
        create_topics(kafka.bootstrap)
        for party in Party:
            run = atp("acls", party, "--apply", "--bootstrap", kafka.bootstrap)
            assert run.returncode == 0, run.stderr
        everybody = access.bindings("User:*", [access.Grant("group", TESTED, "Read", prefixed=True)])
        for future in admin.client({"bootstrap.servers": kafka.bootstrap}).create_acls(everybody).values():
            future.result(admin.TIMEOUT_S)
        inputs = [topic.name for topic in CATALOGUE if topic.role not in (Role.PUBLISHED, Role.INTERNAL)]
        assert all(
            may_write({"bootstrap.servers": kafka.bootstrap}, name) for name in inputs
        )  # nothing to read: no No
        yield SecureBroker(kafka, folder, ca)


# A topic that a user may not even see has no partitions for it; the fixture made them all.
HIDDEN = (KafkaError._UNKNOWN_PARTITION, KafkaError.TOPIC_AUTHORIZATION_FAILED)


def may_read(config: dict[str, Any], topic: str) -> bool:
    """Whether a user can read a topic to its end; any trouble but a missing right is an error."""
    with clients.consumer({**config, "socket.timeout.ms": 5000}, group=f"{TESTED}reader") as reader:
        try:
            list(clients.read_whole(reader, [(topic, 0)]))
        except KafkaException as error:
            if error.args[0].code() not in HIDDEN:
                raise
            return False
    return True


def may_write(config: dict[str, Any], topic: str) -> bool:
    """Whether the broker takes a record of a user."""
    answers: list[Any] = []
    producer = Producer(
        {**config, "acks": "all", "log_level": 0},
        logger=admin.silent_logger(), on_delivery=lambda error, _message: answers.append(error),
    )  # fmt: skip
    producer.produce(topic, None, b"rights-test", partition=0)
    producer.flush(20)
    (answer,) = answers
    assert answer is None or "authorization" in answer.str().lower(), answer
    return answer is None


@pytest.mark.parametrize("party", [Party.CHANNEL, Party.FINANCE, Party.OPS, Party.OMS])
def test_a_role_may_do_exactly_what_the_catalogue_says(secure: SecureBroker, party: Party) -> None:
    """On every topic of the catalogue the broker lets a role read and write what `atp/access.py` says, no more."""
    config = secure.config(party)
    for topic in CATALOGUE:
        assert may_write(config, topic.name) == access.may_write(party, topic), f"{party} writes {topic.name}"
        assert may_read(config, topic.name) == access.may_read(party, topic), f"{party} reads {topic.name}"


def test_a_stranger_may_do_nothing(secure: SecureBroker) -> None:
    """A user without a role reads and writes nothing, however good the password."""
    config = secure.config(STRANGER)
    for topic in (STOCK, AVAILABILITY, MODES, DEAD_LETTERS):
        assert not may_read(config, topic.name)
        assert not may_write(config, topic.name)


def test_the_product_runs_over_tls_and_scram(secure: SecureBroker, tmp_path: Path) -> None:
    """Publish, worker, a channel's client, doctor, explain: each as its own role; no secret in any output."""
    ops, worker = secure.user("ops"), secure.user("worker", ATP_SESSION_TIMEOUT_MS="3000")
    sent = {
        "reference": node(), "ops": policy(), "inventory": count("c", "10:00:00.000", 300),
        "oms": placed("order", "11:00:00.000", 5),
    }  # fmt: skip
    for user, line in sent.items():
        published = atp("publish", str(write_lines(tmp_path / "f.jsonl", [line])), **secure.user(user))
        assert published.returncode == 0, published.stderr
    log = tmp_path / "worker.log"
    child = Child([sys.executable, "-m", "atp.cli", "worker", "--log-level", "debug"], log, clean(worker))
    try:
        await_record(secure.config("ops"), "S|uk")
        config = secure.config("channel")
        with Client(config["bootstrap.servers"], config=config) as client:
            client.wait_ready(30)
            assert client.sellable("S", "uk", "web").atp == 295
        doctor, explained = atp("doctor", "--json", **ops), atp("explain", "S", "uk", "--json", **ops)
    finally:
        child.stop()
    assert "exactly once" in checks(doctor)["transactions"][1], doctor.stdout
    assert checks(doctor)["lag"][0]
    assert json.loads(explained.stdout)["figures"]["atp"] == 295
    said = [
        log.read_text(errors="replace"),
        *(text for run in (published, doctor, explained) for text in said_by(run)),
    ]
    assert len(said[0]) > 1000, "the debug log of the worker is there to be searched"
    assert not [word for word in PASSWORDS.values() for text in said if word in text]


def clean(environment: dict[str, str]) -> dict[str, str]:
    """An environment for a child, without settings of the person who runs the test."""
    return {**{name: "" for name in os.environ if name.startswith("ATP_")}, **environment}


def said_by(run: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Both outputs of a command."""
    return run.stdout, run.stderr


def test_the_channel_user_sees_what_was_published(secure: SecureBroker) -> None:
    """What channels live on: the canonical records and the modes, but not the facts behind them."""
    config = secure.config("channel")
    assert may_read(config, AVAILABILITY.name)
    assert may_read(config, MODES.name)
    assert not any(may_read(config, topic.name) for topic in FACT_TOPICS)


def test_plain_works_too(secure: SecureBroker) -> None:
    """SASL PLAIN inside TLS, by one setting."""
    run = atp("doctor", "--json", **secure.user("ops", ATP_SASL_MECHANISM="PLAIN"))
    assert checks(run)["broker"][0], run.stdout


@pytest.mark.parametrize(
    ("command", "mechanism"),
    [(("worker",), "SCRAM-SHA-512"), (("publish", "FACTS"), "SCRAM-SHA-512"), (("worker",), "PLAIN"),
     (("explain", "S", "uk"), "SCRAM-SHA-512"), (("acls", "worker", "--apply"), "SCRAM-SHA-512")],
)  # fmt: skip
def test_a_wrong_password_is_one_clear_line(
    secure: SecureBroker, command: tuple[str, ...], mechanism: str, tmp_path: Path
) -> None:
    """A refused password is named as such in one line that does not show it."""
    given = secure.user("ops", ATP_SASL_MECHANISM=mechanism, ATP_SASL_PASSWORD="not-the-passw0rd")
    del given["ATP_SASL_PASSWORD_FILE"]
    facts = str(write_lines(tmp_path / "f.jsonl", [node()]))
    run = atp(*(facts if word == "FACTS" else word for word in command), **given)
    assert run.returncode == 1
    assert is_one_line(run), run.stderr
    assert "does not accept user and password" in run.stderr
    assert "not-the-passw0rd" not in run.stderr + run.stdout


def test_a_broker_of_another_authority_is_not_trusted(secure: SecureBroker, tmp_path: Path) -> None:
    """A server certificate that the trusted authorities did not sign: one line, no connection."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    run = atp("worker", **secure.user("worker", ATP_SSL_CAFILE=str(tmp_path / "other.pem")))
    assert run.returncode == 1
    assert is_one_line(run), run.stderr
    assert "no secure connection" in run.stderr


def test_client_certificates(secure: SecureBroker) -> None:
    """mTLS: the certificate's common name is the user with its role; without one there is no connection."""
    files = {}
    cert = secure.ca.issue_cert("ops.example.org", common_name="ops")
    for name, content in (
        ("cert", b"".join(c.bytes() for c in cert.cert_chain_pems)),
        ("key", cert.private_key_pem.bytes()),
    ):
        files[name] = secure.folder / f"ops-{name}.pem"
        files[name].write_bytes(content)
    given = {
        "ATP_BOOTSTRAP": secure.kafka.ssl_bootstrap, "ATP_SECURITY_PROTOCOL": "SSL",
        "ATP_SSL_CAFILE": str(secure.folder / "ca.pem"), "ATP_DATA_DIR": str(secure.folder / "mtls"),
    }  # fmt: skip
    shown = {"ATP_SSL_CERTFILE": str(files["cert"]), "ATP_SSL_KEYFILE": str(files["key"])}
    found = checks(atp("doctor", "--json", **given, **shown))
    assert found["topics"][0], found
    assert "exactly once" in found["transactions"][1]
    refused = atp("worker", **given)
    assert refused.returncode == 1
    assert is_one_line(refused), refused.stderr


def test_rights_are_created_once(secure: SecureBroker) -> None:
    """Creating the rights of a role again changes nothing, and a role's user cannot hand out rights."""
    again = atp("acls", "channel", "--apply", "--bootstrap", secure.kafka.bootstrap)
    assert again.returncode == 0
    denied = atp("acls", "channel", "--principal", "User:thief", "--apply", **secure.user("channel"))
    assert denied.returncode == 1
    assert is_one_line(denied), denied.stderr
    assert "rights cannot be created" in denied.stderr

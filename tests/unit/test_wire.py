"""Security settings: what belongs together, secrets by environment or file, and no secret in anything printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from atp import access, settings, wire
from atp.access import Party
from atp.topics import AVAILABILITY, BY_NAME, CATALOGUE, CHANGELOG, MODES, Role

SECRET = "hunter2-is-secret"


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user on a SASL listener, without a password."""
    monkeypatch.setenv("ATP_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("ATP_SASL_USERNAME", "worker")


def test_every_client_gets_the_same_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password from a file, without its line end, reaches librdkafka, aiokafka and Faust."""
    (tmp_path / "password").write_text(SECRET + "\n")
    monkeypatch.setenv("ATP_SASL_PASSWORD_FILE", str(tmp_path / "password"))
    config = settings.load()
    assert config.admin()["sasl.password"] == SECRET
    assert config.client()["sasl_plain_password"] == SECRET
    assert wire.faust(config).password == SECRET


def test_nothing_that_can_be_printed_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, lane settings and Faust's credentials hide the password in repr and str."""
    monkeypatch.setenv("ATP_SASL_PASSWORD", SECRET)
    config = settings.load()
    for shown in (config, config.lane(), wire.faust(config)):
        assert SECRET not in f"{shown!r} {shown!s}"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "ATP_SECURITY_PROTOCOL = SASL_PLAINTEXT: ATP_SASL_PASSWORD is needed"),
        ({"ATP_SASL_USERNAME": ""}, "ATP_SASL_USERNAME is needed"),
        ({"ATP_SASL_PASSWORD": SECRET, "ATP_SASL_PASSWORD_FILE": "/f"}, "one of the two is allowed"),
        ({"ATP_SASL_PASSWORD_FILE": "/no/such/file"}, "ATP_SASL_PASSWORD_FILE = /no/such/file: cannot be read"),
        ({"ATP_SASL_PASSWORD": SECRET, "ATP_SSL_CAFILE": "/no/ca"}, "ATP_SSL_CAFILE = /no/ca: no such file"),
        ({"ATP_SASL_PASSWORD": SECRET, "ATP_SSL_KEYFILE": __file__}, "ATP_SSL_CERTFILE is needed"),
        ({"ATP_SASL_PASSWORD": SECRET, "ATP_PARTITIONS": "0"}, "ATP_PARTITIONS = '0'"),
    ],
)
def test_what_does_not_belong_together_is_one_line(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: str
) -> None:
    """Each wrong combination names its setting, and never shows the password."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(settings.SettingsError) as error:
        settings.load()
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)


def test_every_party_of_the_catalogue_is_known() -> None:
    """A topic whose writer or reader has no role would silently get no rights."""
    for topic in CATALOGUE:
        for words in (topic.writer, topic.readers):
            access.parties(words)
    with pytest.raises(ValueError, match="somebody"):
        access.parties("worker, somebody")


def test_channels_read_the_product_and_nothing_else() -> None:
    """A channel's rights: two topics to read, its own groups, no writing."""
    grants = access.grants(Party.CHANNEL)
    assert {grant.name for grant in grants if grant.resource == "topic"} == {AVAILABILITY.name, MODES.name}
    assert {grant.operation for grant in grants} == {"Read", "Describe"}


@pytest.mark.parametrize("party", [party for party in Party if party not in (Party.WORKER, Party.OPS)])
def test_only_worker_and_operators_come_near_the_inside(party: Party) -> None:
    """Nobody else touches internal topics or transactional ids, and every write has its owner in the catalogue."""
    for grant in access.grants(party):
        assert grant.resource != "transactional-id"
        assert grant.name != CHANGELOG.name or grant.operation.startswith("Describe")
        if grant.operation == "Write":
            topic = BY_NAME[grant.name]
            owns = topic.role is Role.PUBLISHED and party in access.parties(topic.writer)  # finance: its ledger
            assert owns or topic.role not in (Role.PUBLISHED, Role.INTERNAL)


def test_the_commands_say_the_same_as_the_bindings() -> None:
    """Every right appears once as a kafka-acls operation and once as an ACL binding."""
    for party in Party:
        grants = access.grants(party)
        lines = access.kafka_acls("User:x", grants)
        assert sum(line.count("--operation") for line in lines) == len(set(grants)) == len(grants)
        assert len(access.bindings("User:x", grants)) == len(grants)

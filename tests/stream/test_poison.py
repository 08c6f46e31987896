"""Poison among good facts: it lands in the dead letters, named by place and reason, and holds nothing up."""

from __future__ import annotations

import base64
import hashlib
import json
from random import Random

from atp.lane.keys import partition_of
from atp.topics import DAMAGES, FACT_TOPICS, RECEIPTS, RESERVATIONS, STOCK
from tests.oracle.histories import random_history
from tests.stream.facts import T0, counted, damaged, reserved
from tests.stream.system import PARTITIONS, Line, System

HUGE = 900_000  # bytes: near what a broker takes, far beyond what a dead letter quotes


def value_of(line: Line, **changes: object) -> bytes:
    """A fact's bytes, with some fields changed."""
    return json.dumps({**line["value"], **changes}).encode()


def test_poison_among_good_facts(system: System) -> None:
    """Every spoilt record becomes one dead letter with its place and reason; every good fact is applied."""
    history = random_history(Random(7), skus=12)
    half = len(history) // 2
    system.publish(history[:half])
    sku, key = "POISON", b"POISON"
    home = partition_of(sku, PARTITIONS)
    fact, line, damage = counted(sku, "east-1", 5, T0), reserved(sku, "east", 1, T0), damaged(sku, "east-1", 1, T0)
    poison: list[tuple[str, bytes | None, bytes | None, int, str]] = [
        (STOCK.name, key, b"\xff\xfe no json", home, "UNDECODABLE"),
        (DAMAGES.name, key, b"[" * 5_000, home, "UNDECODABLE"),
        (RECEIPTS.name, key, b"", home, "UNDECODABLE"),
        (STOCK.name, key, None, home, "UNDECODABLE"),
        (RESERVATIONS.name, key, b'"a string"', home, "SCHEMA_INVALID"),
        (STOCK.name, key, value_of(fact, quantities={"lost": 1}), home, "SCHEMA_INVALID"),
        (RESERVATIONS.name, key, value_of(line, version=0), home, "SCHEMA_INVALID"),
        (STOCK.name, key, value_of(fact, schema_version="2.0"), home, "UNKNOWN_VERSION"),
        (RESERVATIONS.name, key, value_of(line, requested=7), home, "QUANTITY_MISMATCH"),
        (STOCK.name, None, value_of(fact), home, "KEY_MISMATCH"),
        (STOCK.name, b"\xff\xff", value_of(fact), home, "KEY_MISMATCH"),
        (STOCK.name, b"OTHER", value_of(fact), home, "KEY_MISMATCH"),
        (DAMAGES.name, key, value_of(damage), (home + 1) % PARTITIONS, "WRONG_PARTITION"),
        (STOCK.name, key, b"{" + b" " * HUGE, home, "UNDECODABLE"),
        (STOCK.name, key, value_of(fact, quantities={"sellable": 1}, reason="x" * HUGE)[:-1], home, "UNDECODABLE"),
    ]
    for topic, raw_key, raw, partition, _ in poison:
        system.send(topic, raw_key, raw, partition=partition)
        system.flush()
    system.start()
    system.publish(history[half:])
    system.await_fold()
    system.assert_versions_rise()
    assert not any(key.startswith("POISON") for key in system.records)

    system.await_true(lambda: len(system.letters()) == len(poison), why=system.letters)
    found = {(letter["value_sha256"], letter["key"], letter["reason"]): letter for letter in system.letters()}
    for topic, raw_key, raw, partition, reason in poison:
        sha = None if raw is None else hashlib.sha256(raw).hexdigest()
        letter = found[sha, None if raw_key is None else base64.b64encode(raw_key).decode(), reason]
        assert (letter["topic"], letter["partition"]) == (topic, partition)
        assert letter["message"]
        assert letter["value_bytes"] == len(raw or b"")
        assert raw is None or base64.b64decode(letter["value"]) == raw[:65_536]
    places = {(letter["topic"], letter["partition"], letter["offset"]) for letter in system.letters()}
    assert places == system.raw_places
    assert {topic.name for topic in FACT_TOPICS} == {topic for topic, *_ in places}

"""What comes with time and from people: expiry, midnight, silence, late nodes, changed policies and modes."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from atp.topics import HEARTBEATS, MODES, NODES
from tests.oracle.histories import random_history
from tests.stream.facts import (
    T0,
    at,
    counted,
    damaged,
    expected_receipt,
    node,
    policy,
    reserved,
    shipped,
    stamp,
)
from tests.stream.system import Line, System


def beat(source: str, region: str, minutes: float) -> Line:
    """A heartbeat of a source."""
    value = {"type": "source.alive", "source": source, "region": region, "watermark": stamp(at(minutes))}
    return {"topic": HEARTBEATS.name, "key": f"{source}|{region}", "value": value}


def test_nodes_arrive_after_the_facts(system: System) -> None:
    """Facts of nodes that nobody knows yet count as soon as the node reference comes, or comes differently."""
    history = random_history(Random(8), skus=12)
    reference = [line for line in history if line["topic"] == NODES.name]
    system.start()
    system.publish(line for line in history if line["topic"] != NODES.name)
    system.await_fold()
    before = system.found()
    system.publish(reference)
    system.await_fold()
    assert system.found() != before
    moved = {**reference[0], "value": {**reference[0]["value"], "region": "north"}}
    system.publish([moved, {**reference[1], "value": None}])
    system.await_fold()
    assert any(key.endswith("|north") for key in system.records)
    system.assert_versions_rise()


def test_a_policy_changed_midway_reaches_every_record(system: System) -> None:
    """A new policy is swept over every record, touched by facts or not; so are a mode and a withdrawn policy."""
    skus = [f"S-{number}" for number in range(200)]
    system.publish([node("n1", "uk"), *(counted(sku, "n1", 50, at(0)) for sku in skus)])
    system.start()
    system.await_fold()
    assert {record["channels"]["web"]["sellable"] for record in system.records.values()} == {50}

    system.publish([policy("default", 7, safety_stock=20), policy("sku:S-1", 8, safety_stock=45)])
    system.publish(shipped(sku, "n1", 1, at(1)) for sku in skus[:10])
    system.await_fold()
    assert {record["policy_version"] for record in system.records.values()} == {7, 8}

    mode = {"region": "uk", "channel": "web", "mode": "SUSPENDED", "cause": "OPERATOR"}
    system.publish([{"topic": MODES.name, "key": "uk|web", "value": mode}])
    system.await_fold()
    assert {record["channels"]["web"]["sellable"] for record in system.records.values()} == {0}

    system.publish([{"topic": "atp.policies.v1", "key": "default", "value": None}])
    system.await_fold()
    assert {record["policy_version"] for record in system.records.values()} == {0, 8}
    system.assert_versions_rise()


def test_time_alone_changes_records(system: System) -> None:
    """Soft demand expires, supply falls due and overdue, days begin and sources fall silent without any fact."""
    system.publish([
        node("n1", "uk"), node("n2", "jp"),
        policy("default", 1, time_zone="Australia/Sydney"),
        policy("region:uk", 2, time_zone="Europe/London", required_sources=["wms"], heartbeat_timeout_s=600),
        policy("region:jp", 3, time_zone="Asia/Tokyo"),
        policy("sku:ZONED", 4, time_zone="America/New_York"),
        beat("wms", "uk", 0),
    ])  # fmt: skip
    for sku in ("A", "B", "C", "D", "ZONED"):
        system.publish([
            counted(sku, "n1", 40, at(0)), counted(sku, "n2", 20, at(0)),
            reserved(sku, "uk", 3, at(1), expires=at(16)), reserved(sku, "jp", 4, at(1), expires=at(31)),
            expected_receipt(sku, "n1", 10, T0 + timedelta(days=1), at(2)),
            damaged(sku, "n2", 1, at(2)),
        ])  # fmt: skip
    # neither a node of this region nor a record of stock is known: time passes for it as well
    system.publish([reserved("A", "nowhere", 2, at(2)), reserved("LONELY", "void", 2, at(2))])
    system.start()
    system.await_fold()
    assert system.records["A|uk"]["reserved"]["soft"] == 3

    midnights = [4 * 60, 6 * 60, 15 * 60, 19 * 60]  # in Sydney, Tokyo, London, New York
    moments = [15.99, 16, 31, *midnights, 2 * 24 * 60, 5 * 24 * 60]
    for minutes in moments:
        system.advance_to(at(minutes))
        system.await_fold()
    assert system.records["A|uk"]["reserved"]["soft"] == 0
    assert system.records["A|uk"]["channels"]["web"]["reasons"] == ["STALE_SOURCE"]

    system.publish([beat("wms", "uk", moments[-1])])
    system.await_fold()
    assert system.records["A|uk"]["channels"]["web"]["reasons"] == []
    system.assert_versions_rise()

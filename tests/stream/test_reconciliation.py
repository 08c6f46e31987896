"""Snapshots through the whole product: drift at once on the record, exceptions, corrections, modes, verification."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from atp.domain.facts import CORRECTIONS_TOPIC
from atp.domain.snapshots import OMS_SNAPSHOTS_TOPIC, WMS_SNAPSHOTS_TOPIC
from atp.lane.keys import partition_of
from atp.topics import CORRECTIONS, DECISIONS, EXCEPTIONS, RESULTS
from tests.stream.facts import at, counted, node, policy, reserved, returned, stamp
from tests.stream.system import PARTITIONS, Line, Reader, System
from tests.stream.test_time_and_people import beat

SKUS = [f"S-{number}" for number in range(40)]
Truth = dict[str, int]


class Reports:
    """What reconciliation tells: the latest of every exception, all corrections, all verdicts."""

    def __init__(self, system: System) -> None:
        self._readers = {
            topic.name: Reader(system.broker.bootstrap, topic.name, PARTITIONS)
            for topic in (EXCEPTIONS, CORRECTIONS, RESULTS)
        }
        self.exceptions: dict[str, dict[str, Any]] = {}
        self.corrections: list[Line] = []
        self.verdicts: list[dict[str, Any]] = []

    def read(self) -> Reports:
        """Take in what has come."""
        for message in self._readers[EXCEPTIONS.name].more(0.01):
            self.exceptions[message.key().decode()] = json.loads(message.value())
        for message in self._readers[CORRECTIONS.name].more(0.01):
            value = json.loads(message.value())
            self.corrections.append({"topic": CORRECTIONS_TOPIC, "key": message.key().decode(), "value": value})
        self.verdicts += [json.loads(message.value()) for message in self._readers[RESULTS.name].more(0.01)]
        return self

    def states(self) -> list[str]:
        """Where the exceptions stand."""
        return sorted(found["state"] for found in self.read().exceptions.values())

    def close(self) -> None:
        """Let go of the connections."""
        for reader in self._readers.values():
            reader.close()


def snapshot(system: System, topic: str, source: str, moment: datetime, rows: dict[str, Line], units: Truth) -> None:
    """Send a snapshot of region uk: a row per SKU, then a marker to every partition."""
    head = {"snapshot_id": f"{source}-{stamp(moment)}", "source": source, "as_of": stamp(moment), "region": "uk"}
    sums = {partition: [0, 0] for partition in range(PARTITIONS)}
    for sku, row in rows.items():
        value = {**head, "type": "snapshot.row", "sku": sku, **row}
        sums[partition_of(sku, PARTITIONS)][0] += 1
        sums[partition_of(sku, PARTITIONS)][1] += units[sku]
        system.send(topic, sku.encode(), json.dumps(value).encode(), partition_of(sku, PARTITIONS))
    for partition, (count, total) in sums.items():
        value = {**head, "type": "snapshot.closed", "rows": count, "units": total}
        system.send(topic, head["snapshot_id"].encode(), json.dumps(value).encode(), partition)
    system.flush()


def stock_snapshot(system: System, moment: datetime, truth: Truth) -> None:
    """What the warehouse holds, by SKU."""
    rows = {sku: {"node": "n1", "quantities": {"sellable": units}} for sku, units in truth.items()}
    snapshot(system, WMS_SNAPSHOTS_TOPIC, "wms", moment, rows, truth)


LINE = ("reservation_id", "line", "version", "channel", "state", "requested", "open", "consumed", "released")


def lines_snapshot(system: System, moment: datetime, held: list[Line]) -> None:
    """The open lines that OMS has, given as the facts that placed them."""
    rows = {line["key"]: {"lines": [{name: line["value"][name] for name in LINE}]} for line in held}
    units = {line["key"]: line["value"]["open"] for line in held}
    snapshot(system, OMS_SNAPSHOTS_TOPIC, "oms", moment, rows, units)


def pass_time(system: System, minutes: float) -> None:
    """The sources have sent everything up to here."""
    system.publish([beat("wms", "uk", minutes), beat("oms", "uk", minutes)])


def begin(system: System, **fields: Any) -> Reports:
    """Forty SKUs of fifty units each in one warehouse, counted at the beginning."""
    rules = {"region_drift_keys_share": 0.2, "region_drift_units_share": 0.2, **fields}
    system.publish([node("n1", "uk"), policy("default", 1, **rules)])
    system.publish(counted(sku, "n1", 50, at(0)) for sku in SKUS)
    pass_time(system, 1)
    system.start()
    return Reports(system)


def until(system: System, holds: Callable[[], bool], told: Reports) -> None:
    """Wait for something, or fail with what reconciliation has told."""
    system.await_true(holds, why=lambda: f"{told.states()} {told.verdicts[-3:]}")


def test_small_drifts_are_corrected_by_rule_and_verified(system: System) -> None:
    """Lost units and a release that never came: corrected by facts, over a restart, verified by the next snapshot."""
    told = begin(system)
    try:
        held = {sku: reserved(sku, "uk", 2, at(2)) for sku in SKUS}
        system.publish(held.values())
        truth = {sku: 47 if sku in SKUS[5:8] else 50 for sku in SKUS}
        pass_time(system, 5)
        stock_snapshot(system, at(5), truth)
        lines_snapshot(system, at(5), [held[sku] for sku in SKUS[3:]])
        pass_time(system, 6)
        until(system, lambda: told.states() == ["APPLIED"] * 6, told)
        assert len(told.corrections) == 6
        until(system, lambda: len(told.read().verdicts) == 2, told)
        assert {(v["source"], v["outcome"]) for v in told.verdicts} == {("wms", "CLEAN"), ("oms", "CLEAN")}
        assert sum(v["drifting_keys"] for v in told.verdicts) == 6

        system.stop()
        system.start()
        pass_time(system, 35)
        stock_snapshot(system, at(35), truth)
        lines_snapshot(system, at(35), [held[sku] for sku in SKUS[3:]])
        pass_time(system, 36)
        until(system, lambda: told.states() == ["VERIFIED"] * 6, told)
        assert len(told.corrections) == 6
        system.found()
        assert {record["on_hand"]["sellable"] for record in system.records.values()} == {47, 50}
        assert sum(record["reserved"]["firm"] for record in system.records.values()) == 2 * len(SKUS[3:])
        assert not any(record["flags"] for record in system.records.values())
    finally:
        told.close()


def test_a_large_drift_sells_carefully_until_a_person_approves(system: System) -> None:
    """The record says DRIFT and LOW at once; the approval corrects it; the same approval again does nothing."""
    told = begin(system)
    try:
        pass_time(system, 5)
        stock_snapshot(system, at(5), {sku: 20 if sku == "S-7" else 50 for sku in SKUS})
        pass_time(system, 6)
        until(system, lambda: told.states() == ["PROPOSED"], told)
        [found] = told.exceptions.values()

        def web() -> dict[str, Any]:
            system.found()
            channel: dict[str, Any] = system.records["S-7|uk"]["channels"]["web"]
            return channel

        until(system, lambda: web()["reasons"] == ["DRIFT"], told)
        assert web()["confidence"] == "LOW"
        decision = {
            "type": "exception.approved",
            "exception_id": found["exception_id"],
            "sku": "S-7",
            "by": "ops",
            "reason": "counted",
            "decided_at": stamp(at(7)),
        }
        for _ in range(2):
            system.send(DECISIONS.name, b"S-7", json.dumps(decision).encode(), partition_of("S-7", PARTITIONS))
        system.flush()
        until(system, lambda: told.states() == ["APPLIED"], told)
        until(system, lambda: web()["reasons"] == [], told)
        assert system.records["S-7|uk"]["on_hand"]["sellable"] == 20
        assert len(told.read().corrections) == 1
        assert not system.letters()
    finally:
        told.close()


def test_a_region_that_drifts_is_switched_once_and_restored_after_clean_cycles(system: System) -> None:
    """Most keys disagree: the region sells carefully; two clean snapshots later it sells confidently again."""
    told = begin(system, auto_correct_units=100, clean_cycles_to_restore=2, region_drift_keys_share=0.05)
    try:
        truth = dict.fromkeys(SKUS, 30)
        pass_time(system, 5)
        stock_snapshot(system, at(5), truth)
        pass_time(system, 6)
        until(system, lambda: told.states() == ["APPLIED"] * len(SKUS), told)
        system.await_true(lambda: bool(system.found()) and bool(system.modes), why=lambda: told.verdicts)
        assert {line["value"]["mode"] for line in system.modes.values()} == {"CONSERVATIVE"}
        assert {tuple(line["value"]["causes"]) for line in system.modes.values()} == {("DRIFT",)}
        for judged, minute in ((2, 35), (3, 65)):
            pass_time(system, minute)
            stock_snapshot(system, at(minute), truth)
            pass_time(system, minute + 1)
            until(system, lambda judged=judged: len(told.read().verdicts) == judged, told)  # type: ignore[misc]

        def restored() -> bool:
            system.found()
            return {line["value"]["mode"] for line in system.modes.values()} == {"CONFIDENT"}

        until(system, restored, told)
        switches = [change for change in system.mode_changes if change["channel"] == "web"]
        assert [change["to"] for change in switches if change["type"] == "mode.switched"] == [
            "CONSERVATIVE",
            "CONFIDENT",
        ]
    finally:
        told.close()


def test_a_fact_days_late_is_in_the_state_and_an_exception_until_a_snapshot_agrees(system: System) -> None:
    """Two days late: taken, told with cause and owner; six days late: refused, and told too."""
    told = begin(system)
    try:
        days = 24 * 60
        in_time = returned("S-1", "n1", 3, at(2 - days), at(2))
        late, too_old = (returned("S-1", "n1", 4, at(2 - age * days), at(2)) for age in (2, 6))
        system.publish([in_time, late, too_old, late])
        until(system, lambda: [one["facts"] for one in told.read().exceptions.values()] == [2], told)
        [found] = told.exceptions.values()
        assert (found["cause"], found["state"], found["owner"]) == ("LATE_FACT", "OPEN", "story")
        assert (found["units"], found["refused"], found["node"]) == (8, 1, "n1")
        system.found()
        assert system.records["S-1|uk"]["on_hand"]["return_hold"] == 7
        assert [letter["reason"] for letter in system.letters()] == ["TOO_OLD"]

        pass_time(system, 5)
        rows = {sku: {"node": "n1", "quantities": {"sellable": 50, "return_hold": 7}} for sku in SKUS[1:2]}
        others = {sku: {"node": "n1", "quantities": {"sellable": 50}} for sku in SKUS if sku not in rows}
        units = {sku: sum(row["quantities"].values()) for sku, row in {**rows, **others}.items()}
        snapshot(system, WMS_SNAPSHOTS_TOPIC, "wms", at(5), {**rows, **others}, units)
        pass_time(system, 6)
        until(system, lambda: told.states() == ["VERIFIED"], told)
    finally:
        told.close()

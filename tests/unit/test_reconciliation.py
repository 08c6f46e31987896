"""Snapshots against our state at their as_of: drift, exceptions, corrections, and what a late fact makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from atp.domain.facts import CORRECTIONS_TOPIC
from atp.domain.freshness import Sightings
from atp.domain.intake import Duplicate
from atp.domain.snapshots import OMS_SNAPSHOTS_TOPIC, WMS_SNAPSHOTS_TOPIC
from tests.unit.builders import Wire
from tests.unit.reconciling import Reconciled, line, line_row, stock_row

NOON = datetime(2024, 3, 12, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def product(**options: bool) -> tuple[Reconciled, Wire]:
    """A warehouse with 20 sellable units at 09:00, heartbeats up to 13:00, now 13:00."""
    found, wire = Reconciled(NOON + 60 * MINUTE, **options), Wire()
    found.node("N1", "uk")
    for source in ("wms", "oms"):
        found.alive(source, "uk", found.now)
    found.take_all([wire.stock("counted", NOON - 180 * MINUTE, node="N1", quantities={"sellable": 20})])
    return found, wire


def sold(wire: Wire, at: datetime, units: int) -> tuple[str, dict[str, object]]:
    """Units that left the warehouse."""
    return wire.stock("shipped", at, node="N1", quantity=units)


def test_a_snapshot_is_compared_with_the_state_of_its_own_instant() -> None:
    """What happened after the as_of is no drift, however much it was."""
    atp, wire = product()
    atp.take_all([sold(wire, NOON - 10 * MINUTE, 3), sold(wire, NOON + 10 * MINUTE, 9)])
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=17)], NOON)
    [report] = atp.reports
    assert (report.complete, report.keys, report.drifting_keys) == (True, 1, 0)
    assert not atp.exceptions
    assert atp.records()["uk"]["flags"] == []


def test_promising_more_than_the_truth_sells_carefully_at_once() -> None:
    """A drift above what is corrected by rule turns the record itself, and waits for a person."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=10)], NOON)
    [report] = atp.reports
    assert (report.drifting_keys, report.drifted_units, report.over_promised_units) == (1, 10, 10)
    record = atp.records()["uk"]
    assert record["flags"] == ["DRIFT"]
    web = record["channels"]["web"]
    assert (web["confidence"], web["reasons"], web["sellable"]) == ("LOW", ["DRIFT"], web["conservative"])
    [found] = atp.exceptions.values()
    assert (found.state, found.units, found.owner) == ("PROPOSED", 10, "inventory management")
    assert atp.lying[-1].open == 1


def test_promising_less_than_the_truth_is_only_flagged() -> None:
    """Nobody is sold what is not there: the flag alone tells of it."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=30)], NOON)
    record = atp.records()["uk"]
    assert record["flags"] == ["DRIFT"]
    assert record["channels"]["web"]["confidence"] == "HIGH"


def test_a_small_drift_is_corrected_by_rule_and_verified_by_the_next_snapshot() -> None:
    """OPEN, PROPOSED, APPROVED, APPLIED with the correction, VERIFIED with the next complete snapshot."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=17)], NOON)
    [found] = atp.exceptions.values()
    assert [step.state for step in found.history] == ["OPEN", "PROPOSED", "APPROVED", "APPLIED"]
    assert atp.records()["uk"]["on_hand"]["sellable"] == 17
    assert atp.records()["uk"]["flags"] == []
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=17)], NOON + 30 * MINUTE)
    [found] = atp.exceptions.values()
    assert found.state == "VERIFIED"
    assert atp.lying[-1].open == 0


def test_a_large_drift_waits_for_a_person_and_is_corrected_once() -> None:
    """An approval posts one correction; the same approval again posts none, and a rejection comes too late."""
    atp, _ = product(corrects=False)
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=2)], NOON)
    [found] = atp.exceptions.values()
    assert not atp.corrections
    assert atp.decide(found.exception_id, "approved") is None
    assert atp.decide(found.exception_id, "approved") is None
    assert len(atp.corrections) == 1
    refusal = atp.decide(found.exception_id, "rejected")
    assert refusal is not None
    assert "is APPROVED; PROPOSED is needed" in refusal.message
    again = list(atp.corrections)
    atp.post()
    assert atp.exceptions[found.exception_id].state == "APPLIED"
    assert isinstance(atp.take(CORRECTIONS_TOPIC, again[0]), Duplicate)
    assert atp.records()["uk"]["on_hand"]["sellable"] == 2


def test_a_rejected_correction_is_not_posted_and_not_asked_for_again() -> None:
    """The operator's word stands while the drift stays what it was."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=2)], NOON)
    [found] = atp.exceptions.values()
    atp.decide(found.exception_id, "rejected", "counted by hand")
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=2)], NOON + 30 * MINUTE)
    assert atp.exceptions[found.exception_id].state == "REJECTED"
    assert atp.records()["uk"]["on_hand"]["sellable"] == 20
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=1)], NOON + 45 * MINUTE)
    assert atp.exceptions[found.exception_id].state == "PROPOSED"


def test_a_late_fact_explains_a_drift_before_anybody_acts() -> None:
    """The shipment that the snapshot had seen comes late: the record is clean, the exception is verified."""
    atp, wire = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=10)], NOON)
    atp.take_all([wire.stock("shipped", NOON - MINUTE, recorded=NOON + 40 * MINUTE, node="N1", quantity=10)])
    [found] = atp.exceptions.values()
    assert (found.state, found.history[-1].by) == ("VERIFIED", "late facts")
    assert atp.records()["uk"]["flags"] == []


def test_a_late_original_after_the_correction_changes_nothing() -> None:
    """The correction is a count at the as_of: what it had seen already is superseded."""
    atp, wire = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=16)], NOON)
    atp.take_all([wire.stock("shipped", NOON - MINUTE, recorded=NOON + 40 * MINUTE, node="N1", quantity=4)])
    assert atp.records()["uk"]["on_hand"]["sellable"] == 16


def test_a_release_that_never_came_is_corrected_and_its_original_is_a_duplicate() -> None:
    """A line absent from a complete snapshot is closed, a version above ours; the original changes nothing."""
    atp, wire = product()
    atp.take_all([wire.reservation("R1/1", 1, "FIRM", NOON - 60 * MINUTE, open=4)])
    assert atp.records()["uk"]["reserved"]["firm"] == 4
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [], NOON, source="oms")
    [found] = atp.exceptions.values()
    assert (found.cause, found.state, found.reservation_id, found.line) == ("MISSING_RELEASE", "APPLIED", "R1", 1)
    assert atp.records()["uk"]["reserved"]["firm"] == 0
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [], NOON + 30 * MINUTE, source="oms")
    assert atp.exceptions[found.exception_id].state == "VERIFIED"
    late = wire.reservation("R1/1", 2, "CLOSED", NOON - 20 * MINUTE, recorded=NOON + 50 * MINUTE, released=4)
    assert atp.take(*late) == Duplicate(is_original=True), "its source has sent it, and counts it"
    assert atp.take(*late) == Duplicate()
    assert atp.records()["uk"]["reserved"]["firm"] == 0


def test_a_reservation_that_never_came_is_set_at_the_version_that_the_snapshot_names() -> None:
    """Demand that we did not know of makes us promise too much until the correction has set it."""
    atp, wire = product()
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [line_row(line("R7/1", 3, "FIRM", 5))], NOON, source="oms")
    [found] = atp.exceptions.values()
    assert (found.cause, found.state, found.over_promised_units) == ("MISSING_RESERVATION", "APPLIED", 5)
    assert atp.records()["uk"]["atp"] == 15
    late = wire.reservation("R7/1", 2, "FIRM", NOON - 20 * MINUTE, recorded=NOON + 50 * MINUTE, open=9)
    atp.take_all([late])
    assert atp.records()["uk"]["atp"] == 15


def test_a_line_that_ended_after_the_snapshot_is_no_drift() -> None:
    """The snapshot names the version it has seen; ours is a later one."""
    atp, wire = product()
    atp.take_all([
        wire.reservation("R1/1", 1, "FIRM", NOON - 60 * MINUTE, open=4),
        wire.reservation("R1/1", 2, "CLOSED", NOON + 5 * MINUTE, released=4),
    ])  # fmt: skip
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [line_row(line("R1/1", 1, "FIRM", 4))], NOON, source="oms")
    [report] = atp.reports
    assert (report.keys, report.drifting_keys) == (1, 0)


def test_a_line_that_ends_after_the_snapshot_drifts_no_more() -> None:
    """The snapshot knew it ended; ours says so later, and is dated later: it is the same as if it had come before."""
    atp, wire = product(corrects=False)
    atp.take_all([wire.reservation("R1/1", 1, "FIRM", NOON - 60 * MINUTE, open=4)])
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [], NOON, source="oms")
    assert "DRIFT" in atp.records()["uk"]["flags"]
    atp.take_all([wire.reservation("R1/1", 2, "CLOSED", NOON + 5 * MINUTE, released=4)])
    assert atp.records()["uk"]["flags"] == []


def test_an_incomplete_snapshot_is_reported_as_one_and_nothing_counts_as_absent() -> None:
    """A row is missing: what came is compared, what did not come is not taken for 0."""
    atp, wire = product()
    atp.take_all([wire.stock("counted", NOON - 170 * MINUTE, node="N2", quantities={"sellable": 5})])
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=20)], NOON, closed={"rows": 2, "units": 25})
    assert not atp.reports
    atp.now += 10 * MINUTE
    atp.advance()
    [report] = atp.reports
    assert (report.complete, report.rows, report.expected_rows) == (False, 1, 2)
    assert not atp.exceptions


def test_a_key_that_a_complete_snapshot_does_not_name_is_nothing() -> None:
    """A row that vanished: the node was named before, now it is not."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=20)], NOON)
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [], NOON + 30 * MINUTE)
    [found] = atp.exceptions.values()
    assert (found.state, found.units, found.theirs["sellable"]) == ("PROPOSED", 20, 0)
    assert atp.reports[-1].drifting_keys == 1


def test_a_late_fact_of_a_key_that_no_snapshot_named_drifts_at_once() -> None:
    """A complete snapshot said by its silence that there is nothing; nobody waits for the next one."""
    atp, wire = product()
    other = Wire("OTHER")
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=20)], NOON)
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [], NOON, source="oms")
    atp.take_all([other.stock("adjusted", NOON + 2 * MINUTE, node="N1", state="sellable", delta=4, reason="found")])
    assert atp.exceptions == {}
    late = other.stock("adjusted", NOON - 30 * MINUTE, node="N1", state="sellable", delta=9, reason="found")
    order = wire.reservation("R-1/1", 1, "FIRM", NOON - 20 * MINUTE, open=2)
    atp.take_all([late, order])
    told = {(found.sku, found.kind): (found.units, found.cause) for found in atp.exceptions.values()}
    assert told == {("OTHER", "stock"): (9, "LOST_UNITS"), (wire.sku, "reservations"): (2, "MISSING_RELEASE")}


def test_a_repeated_snapshot_changes_nothing() -> None:
    """The same rows and the same marker again: one report, no row counted twice."""
    atp, _ = product()
    for _ in range(2):
        atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=20)], NOON)
    assert len(atp.reports) == 1


def test_a_snapshot_that_was_never_closed_is_reported_when_the_next_one_is() -> None:
    """Its rows were true; that it is incomplete is known once a newer one is closed."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=20)], NOON, closed={})
    assert not atp.reports
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=20)], NOON + 30 * MINUTE)
    assert [(report.complete, report.as_of_ms) for report in atp.reports] == [
        (False, atp.reports[0].as_of_ms),
        (True, atp.reports[0].as_of_ms + 1_800_000),
    ]


def test_rows_after_their_marker_complete_the_snapshot() -> None:
    """Out of order within the grace: the marker first, then the row."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [], NOON, name="s1", closed={"rows": 1, "units": 20})
    assert not atp.reports
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=20)], NOON, name="s1", closed={})
    [report] = atp.reports
    assert (report.complete, report.rows) == (True, 1)


def test_an_older_snapshot_after_a_newer_one_changes_nothing() -> None:
    """It comes too late to say anything."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=20)], NOON)
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=3)], NOON - 30 * MINUTE)
    assert len(atp.reports) == 1
    assert not atp.exceptions


def test_nothing_is_compared_before_the_source_has_passed_the_as_of() -> None:
    """Facts may still be under way: the rows wait for the source's watermark."""
    atp, wire = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=12)], NOON + 60 * MINUTE)
    assert not atp.reports
    atp.now += 2 * MINUTE
    atp.take_all([sold(wire, NOON + 59 * MINUTE, 8)])
    atp.alive("wms", "uk", atp.now)
    atp.advance()
    [report] = atp.reports
    assert report.drifting_keys == 0


def test_an_effect_too_close_to_the_as_of_may_lie_on_either_side() -> None:
    """Both outcomes of what cannot be placed are ours: neither is a drift."""
    for truth in (20, 15):
        atp, wire = product()
        atp.take_all([sold(wire, NOON + timedelta(milliseconds=400), 5)])
        atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=truth)], NOON)
        assert atp.reports[0].drifting_keys == 0


def test_a_line_version_too_close_to_the_as_of_may_lie_on_either_side() -> None:
    """An order placed, or released, within the ambiguity: a snapshot with it and one without it both agree."""
    near = timedelta(milliseconds=400)
    placed, named = (1, "FIRM"), line_row(line("R1/1", 1, "FIRM", 4))
    for rows in ([], [named]):
        for at in (NOON - near, NOON + near):
            atp, wire = product()
            atp.take_all([wire.reservation("R1/1", *placed, at, open=4)])
            atp.snapshot(OMS_SNAPSHOTS_TOPIC, rows, NOON, source="oms")
            assert atp.reports[0].drifting_keys == 0
    atp, wire = product()
    atp.take_all([wire.reservation("R1/1", *placed, NOON - 3 * near, open=4)])
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [], NOON, source="oms")
    assert atp.reports[0].drifting_keys == 1


def test_places_that_a_snapshot_does_not_speak_of_keep_their_drifts() -> None:
    """The warehouse drifts beyond what is corrected by rule; OMS's clean snapshot does not hide that."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=5)], NOON)
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [], NOON + MINUTE, source="oms")
    assert "DRIFT" in atp.records()["uk"]["flags"]
    [found] = atp.exceptions.values()
    assert found.state == "PROPOSED"


def test_a_count_after_the_snapshot_does_not_hide_what_was_before_it() -> None:
    """Sellable at the as_of is what the later count should have found, less what lay between."""
    atp, wire = product()
    atp.take_all([
        sold(wire, NOON - 5 * MINUTE, 2),
        sold(wire, NOON + 5 * MINUTE, 3),
        wire.stock("counted", NOON + 10 * MINUTE, node="N1", quantities={"sellable": 40}),
    ])  # fmt: skip
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=18)], NOON)
    assert atp.reports[0].drifting_keys == 0


def test_a_row_of_a_sku_that_no_fact_named_is_an_exception() -> None:
    """Stock that nobody told us of: found units, corrected by rule where they are few."""
    atp = Reconciled(NOON + 60 * MINUTE)
    atp.node("N1", "uk")
    atp.alive("wms", "uk", atp.now)
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=4)], NOON)
    [found] = atp.exceptions.values()
    assert (found.cause, found.state) == ("FOUND_UNITS", "APPLIED")
    assert atp.records()["uk"]["on_hand"]["sellable"] == 4


def test_causes_are_told_by_what_is_known_of_the_key() -> None:
    """Damage, returns, shipments and back-fills leave their own traces."""
    stories = {
        "DAMAGE_BURST": stock_row("N1", sellable=12, damaged=8),
        "LATE_RETURN": stock_row("N1", sellable=20, return_hold=8),
        "LATE_RECEIPT": stock_row("N1", sellable=20, receiving=8),
        "LOST_UNITS": stock_row("N1", sellable=9),
    }
    for cause, row in stories.items():
        atp, _ = product()
        atp.snapshot(WMS_SNAPSHOTS_TOPIC, [row], NOON)
        assert [found.cause for found in atp.exceptions.values()] == [cause]
    atp, wire = product()
    atp.take_all([wire.reservation("R1/1", 1, "CLOSED", NOON - 5 * MINUTE, consumed=9, node="N1")])
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=11)], NOON)
    assert [found.cause for found in atp.exceptions.values()] == ["UNMATCHED_SHIPMENT"]


def test_a_watermark_counts_once_everything_sent_before_it_was_read() -> None:
    """Heartbeats come apart from facts: one that overtakes the facts it vouches for must not count yet."""
    seen, beat = Sightings(), {("wms", "uk"): 500}
    seen.look(beat, consumed_ms=1_000, now_ms=1_000)
    assert seen.passed_ms("wms", "uk") == 0
    seen.look(beat, consumed_ms=900, now_ms=2_000)
    assert seen.passed_ms("wms", "uk") == 0
    seen.look({("wms", "uk"): 700}, consumed_ms=1_500, now_ms=3_000)
    assert seen.passed_ms("wms", "uk") == 500


def test_a_line_counts_in_the_region_in_which_it_was_at_the_as_of() -> None:
    """A line that moves to another region later is not missing from that region's earlier snapshot."""
    atp, wire = product()
    atp.alive("oms", "de", atp.now)
    atp.take_all([
        wire.reservation("R1/1", 1, "FIRM", NOON - 60 * MINUTE, open=4),
        wire.reservation("R1/1", 2, "FIRM", NOON + 5 * MINUTE, region="de", open=4),
    ])  # fmt: skip
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [], NOON, source="oms", region="de")
    atp.snapshot(OMS_SNAPSHOTS_TOPIC, [line_row(line("R1/1", 1, "FIRM", 4))], NOON, source="oms", name="uk")
    assert [(report.keys, report.drifting_keys) for report in atp.reports] == [(0, 0), (1, 0)]


def returned(wire: Wire, occurred: datetime, recorded: datetime, units: int = 4) -> tuple[str, dict[str, object]]:
    """A return that was told later than it happened."""
    return wire.stock("returned", occurred, recorded, node="N1", quantity=units)


def test_a_fact_after_the_correction_window_of_its_day_is_an_exception() -> None:
    """The state takes it, no closed day does: LATE_FACT, owned by its source, one per place however many come."""
    atp, wire = product()
    day, told = NOON - timedelta(days=2), NOON + 30 * MINUTE
    atp.take_all([returned(wire, day, told), returned(wire, day + MINUTE, told + MINUTE, 6)])
    [found] = atp.exceptions.values()
    assert (found.cause, found.state, found.owner, found.node) == ("LATE_FACT", "OPEN", "ims", "N1")
    assert (found.facts, found.units, found.refused) == (2, 10, 0)
    assert atp.records()["uk"]["on_hand"]["return_hold"] == 10
    assert (atp.lying[-1].open, atp.lying[-1].units) == (1, 10)


def test_the_window_of_a_day_ends_with_its_last_hour_by_policy() -> None:
    """Recorded at the last instant of the window: back-applied, no exception; a millisecond later: an exception."""
    atp, wire = product()
    midnight = datetime(2024, 3, 11, tzinfo=UTC)
    end = midnight + timedelta(hours=12)
    atp.policy(correction_hours=12)
    atp.take_all([returned(wire, midnight - 20 * MINUTE, end)])
    assert atp.exceptions == {}
    atp.take_all([returned(wire, midnight - 20 * MINUTE, end + timedelta(milliseconds=1))])
    assert [found.cause for found in atp.exceptions.values()] == ["LATE_FACT"]


def test_a_fact_too_old_for_the_state_is_an_exception_too() -> None:
    """It is refused and never guessed, and somebody has to look at it."""
    atp, wire = product()
    refused = atp.take(*returned(wire, NOON - timedelta(days=5), NOON))
    assert refused.reason == "TOO_OLD"
    [found] = atp.exceptions.values()
    assert (found.cause, found.facts, found.refused, found.units) == ("LATE_FACT", 1, 1, 4)


def test_a_late_fact_is_settled_by_a_snapshot_after_it_that_agrees() -> None:
    """An older snapshot says nothing of it; one that drifts leaves it open beside the drift."""
    atp, wire = product(corrects=False)
    atp.take_all([returned(wire, NOON - timedelta(days=2), NOON + 10 * MINUTE)])
    agrees = stock_row("N1", sellable=20, return_hold=4)
    states = [agrees, stock_row("N1", sellable=20, return_hold=0), agrees]
    told = []
    for minutes, row in zip((0, 20, 40), states, strict=True):
        atp.snapshot(WMS_SNAPSHOTS_TOPIC, [row], NOON + minutes * MINUTE)
        told.append(sorted((found.cause, found.state) for found in atp.exceptions.values()))
    assert told[0] == [("LATE_FACT", "OPEN")]
    assert len(told[1]) == 2
    assert ("LATE_FACT", "OPEN") in told[1]
    assert ("LATE_FACT", "VERIFIED") in told[2]


def test_a_correction_is_never_a_late_fact() -> None:
    """It is dated at the snapshot's as_of, however long a person took: nobody is to look at it again."""
    atp, _ = product()
    atp.snapshot(WMS_SNAPSHOTS_TOPIC, [stock_row("N1", sellable=2)], NOON)
    [name] = atp.exceptions
    atp.now += timedelta(days=2, hours=12)
    assert atp.decide(name, "approved") is None
    assert [found.state for found in atp.exceptions.values()] == ["APPLIED"]

"""The client's rules without a broker: what is held, and what is answered."""

from __future__ import annotations

import pytest

from atp.client import Doubt, Staleness, View
from atp.domain.modes import Mode
from tests.client.records import AS_OF_MS, encoded, measured, mode

KEY = b"S|uk"


def view(*values: bytes, following: bool = True) -> View:
    """A complete view of one partition that holds these records of one key."""
    found = View(Staleness(degrade_after_ms=1_000, refuse_after_ms=5_000))
    found.size(1)
    found.restoring = not following
    found.complete_ms = [0]
    for offset, value in enumerate(values):
        found.put(KEY, value, 0, offset)
    return found


def test_a_fresh_confident_record_sells_what_is_confident() -> None:
    """The plain case: the confident quantity, HIGH, with version and age."""
    answer = view(encoded(units=10)).answer("S", "uk", "web", 7)
    assert (answer.sellable, answer.confidence, answer.version, answer.age_ms) == (10, "HIGH", 1, 7)


@pytest.mark.parametrize(
    ("age_ms", "units", "reasons", "refused"),
    [(1_000, 10, (), False), (1_001, 4, ("STALE_VIEW",), False), (5_001, 0, ("STALE_VIEW",), True)],
)
def test_an_old_view_degrades_and_then_refuses(
    age_ms: int, units: int, reasons: tuple[str, ...], refused: bool
) -> None:
    """Beyond the first limit the conservative quantity, beyond the second nothing; the limits themselves are good."""
    answer = view(encoded(units=10)).answer("S", "uk", "web", age_ms)
    assert (answer.sellable, answer.reasons, answer.refused) == (units, reasons, refused)


def test_a_region_that_nobody_measures_sells_carefully() -> None:
    """Its last measurement is too old: who would switch its modes is not there. One never measured is not doubted."""
    found = view(encoded(units=10))
    assert found.answer("S", "uk", "web", 0).sellable == 10
    found.put_freshness(b"uk", measured("uk"), 0, AS_OF_MS + 59_000)
    assert found.answer("S", "uk", "web", 1_000).sellable == 10
    assert found.answer("S", "uk", "web", 1_001).reasons == ("STALE_VIEW", "UNMEASURED")
    found.complete_ms = [1_001]
    late = found.answer("S", "uk", "web", 1_001)
    assert (late.sellable, late.confidence, late.reasons) == (4, "LOW", ("UNMEASURED",))
    found.put_freshness(b"uk", measured("uk"), 1_001, AS_OF_MS)
    assert found.answer("S", "uk", "web", 1_001).sellable == 10


def test_an_unreadable_measurement_leaves_the_one_before() -> None:
    """It is counted; a deletion takes the doubt away with the measurement."""
    found = view(encoded(units=10))
    found.put_freshness(b"uk", measured("uk"), 0, AS_OF_MS + 100_000)
    found.put_freshness(b"uk", b"{}", 0, AS_OF_MS)
    assert (found.answer("S", "uk", "web", 0).sellable, found.unreadable) == (4, 1)
    found.put_freshness(b"uk", None, 0, AS_OF_MS)
    assert found.answer("S", "uk", "web", 0).sellable == 10


@pytest.mark.parametrize(("value", "units"), [("SUSPENDED", 0), ("CONSERVATIVE", 4), ("CONFIDENT", 10)])
def test_a_switch_counts_before_the_record_follows(value: str, units: int) -> None:
    """The modes topic wins over the mode that the record was published with."""
    found = view(encoded(units=10))
    found.put_mode(b"uk|web", mode(value), 0)
    answer = found.answer("S", "uk", "web", 0)
    assert (answer.sellable, answer.mode) == (units, Mode(value))


def test_lifting_a_mode_does_not_lift_the_records_own_doubt() -> None:
    """A record that names a reason of its own stays conservative under a confident mode."""
    doubted = {"mode": "CONSERVATIVE", "confidence": "LOW", "reasons": ["STALE_SOURCE", "OPERATOR"], "sellable": 4}
    found = view(encoded(units=10, web=doubted))
    found.put_mode(b"uk|web", mode("CONFIDENT"), 0)
    assert found.answer("S", "uk", "web", 0).sellable == 4


def test_lifting_an_operators_mode_counts_at_once() -> None:
    """OPERATOR in the record only repeats the mode it was published with."""
    suspended = {"mode": "SUSPENDED", "confidence": "LOW", "reasons": ["OPERATOR"], "sellable": 0}
    found = view(encoded(units=10, web=suspended))
    found.put_mode(b"uk|web", mode("CONFIDENT"), 0)
    assert found.answer("S", "uk", "web", 0).sellable == 10


@pytest.mark.parametrize("reason", ["OVERDUE_RECEIPT", "BACKFILL", "LATE_CONFIRM"])
def test_a_remark_leaves_the_confident_quantity(reason: str) -> None:
    """Some reasons only tell."""
    assert view(encoded(units=10, web={"reasons": [reason]})).answer("S", "uk", "web", 0).sellable == 10


def test_a_reason_nobody_knows_is_taken_as_a_doubt() -> None:
    """A newer product may doubt for a new reason; an older client must not sell over it."""
    assert view(encoded(units=10, web={"reasons": ["SOMETHING_NEW"]})).answer("S", "uk", "web", 0).sellable == 4


@pytest.mark.parametrize(
    ("sku", "channel", "doubt"), [("T", "web", Doubt.UNKNOWN_KEY), ("S", "fax", Doubt.UNKNOWN_CHANNEL)]
)
def test_what_is_unknown_sells_nothing(sku: str, channel: str, doubt: Doubt) -> None:
    """No record and no such channel are told apart, and neither is refused."""
    answer = view(encoded()).answer(sku, "uk", channel, 0)
    assert (answer.sellable, answer.reasons, answer.refused) == (0, (doubt.value,), False)


def test_an_incomplete_view_refuses() -> None:
    """While restoring nothing is answered, not even for a key that was read already."""
    answer = view(encoded(), following=False).answer("S", "uk", "web", 0)
    assert (answer.sellable, answer.reasons, answer.refused) == (0, ("NOT_READY",), True)


def test_reading_again_changes_nothing() -> None:
    """An offset that was read before is no change."""
    found = view(encoded(version=1), encoded(version=2, units=7))
    assert found.put(KEY, encoded(version=1), 0, 0) is None
    assert found.answer("S", "uk", "web", 0).version == 2


def test_a_version_never_goes_back_while_following() -> None:
    """A lower version at a higher offset is refused and counted."""
    found = view(encoded(version=5, units=3), encoded(version=4, units=9))
    assert (found.answer("S", "uk", "web", 0).sellable, found.regressed) == (3, 1)


def test_while_restoring_the_log_is_right_whatever_the_version() -> None:
    """As compaction would leave it: the last record of a key."""
    found = view(encoded(version=5, units=3), encoded(version=4, units=9), following=False)
    found.restoring = False
    assert (found.answer("S", "uk", "web", 0).sellable, found.regressed) == (9, 0)


def test_the_same_version_again_is_replaced() -> None:
    """Without transactions a version may come again with other content; the later one is right."""
    assert view(encoded(version=5, units=3), encoded(version=5, units=9)).answer("S", "uk", "web", 0).sellable == 9


@pytest.mark.parametrize("value", [b"nonsense", encoded(version=2, schema_version="2.0"), None])
def test_what_cannot_be_read_takes_the_key_away(value: bytes | None) -> None:
    """An unknown major version is not guessed, and the record before it is no longer the truth; a deletion too."""
    found = view(encoded(units=10))
    assert found.put(KEY, value, 0, 1) is not None
    assert found.answer("S", "uk", "web", 0).reasons == ("UNKNOWN_KEY",)


def test_an_unreadable_mode_leaves_the_one_before() -> None:
    """Nonsense on the modes topic lifts no suspension."""
    found = view(encoded())
    found.put_mode(b"uk|web", mode("SUSPENDED"), 0)
    found.put_mode(b"uk|web", b'{"region":"uk","channel":"web","mode":"PERHAPS"}', 1)
    assert (found.answer("S", "uk", "web", 0).sellable, found.unreadable) == (0, 1)


def test_a_deleted_mode_leaves_the_records_own() -> None:
    """Without a row on the topic the record says which mode holds."""
    found = view(encoded(units=10))
    found.put_mode(b"uk|web", mode("SUSPENDED"), 0)
    found.put_mode(b"uk|web", None, 1)
    assert found.answer("S", "uk", "web", 0).sellable == 10


def test_a_partition_that_begins_anew_is_forgotten() -> None:
    """Its keys are gone and its offsets count from zero."""
    found = view(encoded(version=9))
    found.forget(0)
    assert found.put(KEY, encoded(version=1, units=2), 0, 0) is not None
    found.complete_ms = [0]
    assert found.answer("S", "uk", "web", 0).sellable == 2


def test_what_a_reader_missed_is_what_stands_later_in_the_log() -> None:
    """From positions: only records at or after them, in log order."""
    found = view(encoded(version=1))
    found.put(b"T|uk", encoded("T"), 0, 1)
    found.put(b"U|uk", encoded("U"), 0, 2)
    assert [held.record.sku for held in found.since([1])] == ["T", "U"]


def test_limits_that_contradict_each_other_are_named() -> None:
    """A view cannot refuse before it degrades."""
    with pytest.raises(ValueError, match="degrade_after_ms = 10"):
        Staleness(degrade_after_ms=10, refuse_after_ms=5)

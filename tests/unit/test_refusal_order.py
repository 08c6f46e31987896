"""Why a fact is refused: of several causes the first in the documented order is named."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from atp.domain.decoding import decode
from atp.domain.facts import RECEIPTS_TOPIC, Fact
from atp.domain.intake import misplaced
from atp.domain.refusals import Reason, Refusal
from tests.unit.builders import Product, Wire, stamp
from tests.unit.fact_histories import DAY_ONE, NOW

# a wrong that gives each reason when it is the only one
WRONGS = {
    Reason.UNKNOWN_TOPIC: {"topic": "merchandising.substitutions.v1"},
    Reason.UNKNOWN_VERSION: {"schema_version": "2.0"},
    Reason.SCHEMA_INVALID: {"stage": "LOST"},
    Reason.QUANTITY_MISMATCH: {"put_away": 99},
    Reason.KEY_MISMATCH: {"key": "T"},
    Reason.FUTURE: {"occurred_at": stamp(NOW + timedelta(hours=1))},
    Reason.TOO_OLD: {"occurred_at": stamp(DAY_ONE - timedelta(days=9))},
    Reason.EVENT_CONFLICT: {"event_id": "e1", "expected": 8},
    Reason.VERSION_CONFLICT: {"expected": 8, "version": 1},
}


def judged(*reasons: Reason) -> Reason | None:
    """The reason named for a receipt that is wrong in these ways, after a right one."""
    product, wire = Product(NOW), Wire()
    topic, right = wire.receipt("P1/1", 1, "ARRIVED", NOW, node="N1", expected=9)
    product.take_all([(topic, right)])
    wrong = wire.receipt("P1/1", 2, "ARRIVED", NOW, node="N1", expected=9)[1]
    for reason in reasons:
        wrong |= WRONGS[reason]
    topic, key = wrong.pop("topic", topic), wrong.pop("key", "S")
    fact: Fact | Refusal = decode(topic, msgspec.json.encode(wrong))
    found = fact if isinstance(fact, Refusal) else misplaced(fact, key) or product.take(topic, wrong)
    return found.reason if isinstance(found, Refusal) else None


def test_nothing_wrong_is_taken() -> None:
    """The receipt that the other tests spoil is right by itself."""
    assert judged() is None


@pytest.mark.parametrize("reason", WRONGS, ids=str)
def test_each_cause_by_itself(reason: Reason) -> None:
    """A single wrong is named for what it is."""
    assert judged(reason) is reason


@pytest.mark.parametrize("first", WRONGS, ids=str)
@pytest.mark.parametrize("second", WRONGS, ids=str)
def test_the_first_cause_of_two_is_named(first: Reason, second: Reason) -> None:
    """The order of the reasons in the code is the order in which they are judged."""
    order = list(Reason)
    if order.index(first) >= order.index(second) or {first, second} == {Reason.FUTURE, Reason.TOO_OLD}:
        return  # judged the other way round, or no fact can be both
    assert judged(first, second) is first


def test_bytes_on_no_fact_topic_are_of_an_unknown_topic() -> None:
    """Nobody tries to read what does not belong there."""
    for topic, reason in (("other", Reason.UNKNOWN_TOPIC), (RECEIPTS_TOPIC, Reason.UNDECODABLE)):
        found = decode(topic, b"\xff")
        assert isinstance(found, Refusal)
        assert found.reason is reason


def test_the_future_field_is_named() -> None:
    """A count recorded before it occurred is refused for its occurred_at, not for an as_of that is in order."""
    product, wire = Product(NOW), Wire()
    topic, value = wire.stock("counted", NOW, node="N1", quantities={"sellable": 1})
    value["occurred_at"] = stamp(NOW + timedelta(minutes=6))
    found = product.take(topic, value)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.FUTURE
    assert found.message.startswith("occurred_at = ")


@pytest.mark.parametrize("instant", ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00"])
def test_an_instant_that_rounds_out_of_the_calendar_is_refused_by_name(instant: str) -> None:
    """The greatest instant of other systems is in the future like any other."""
    product, wire = Product(NOW), Wire()
    topic, value = wire.stock("returned", NOW, node="N1", quantity=1)
    found = product.take(topic, {**value, "occurred_at": instant})
    assert isinstance(found, Refusal)
    assert found.reason is Reason.FUTURE

"""Bursts: work that can wait is done by one task of a worker at a time, and nobody who waits is forgotten."""

from __future__ import annotations

from atp.lane.batch import TaskTables, Turn, slices
from atp.lane.buffer import Buffer
from atp.lane.bursts import Bursts
from atp.lane.wakes import Wakes
from tests.lane.test_flow import chunk


def test_one_task_at_a_time_has_the_burst() -> None:
    """Who waits is woken when it is free; ending what one does not have changes nothing."""
    bursts, woken = Bursts(), list[str]()
    assert bursts.free("first", lambda: woken.append("first"))
    assert bursts.begin("first")
    assert not bursts.free("second", lambda: woken.append("second"))
    assert not bursts.begin("second")
    bursts.end("second")
    assert not bursts.begin("second")
    assert not bursts.free("third", lambda: woken.append("third"))
    assert not bursts.free("second", lambda: woken.append("second"))
    bursts.end("first")
    assert woken == ["third", "second"]
    assert bursts.begin("second")


def test_a_task_that_ends_leaves_the_burst_to_the_others() -> None:
    """Whatever it was doing, and although it still waited."""
    bursts, woken = Bursts(), list[str]()
    bursts.begin("first")
    bursts.free("second", lambda: woken.append("second"))
    bursts.end("second")
    bursts.end("first")
    assert not woken
    assert bursts.begin("third")


def test_a_turn_without_the_burst_takes_the_other_topics_only() -> None:
    """What is left waits where it was, in order."""
    b = Buffer({"a": 0, "b": 0}, {"a": 0, "b": 0}, 100, 1_000, {"b": 2})
    b.deliver(chunk("b", 0, [10] * 3))
    assert (b.ready(), b.ready(paced=True), b.ready(paced=False)) == (True, True, False)
    b.deliver(chunk("a", 0, [20]))
    assert b.ready(paced=False)
    assert [(r.topic, r.offset) for r in b.take(100, paced=False)] == [("a", 0)]
    assert b.offsets() == {"a": 1, "b": 0}
    assert [(r.topic, r.offset) for r in b.take(100)] == [("b", 0), ("b", 1)]


def test_an_agent_goes_on_while_it_may_and_wants_to() -> None:
    """What it does not get done within its turn stays asked for; what nobody asks for is not done."""
    turn, may, steps = Turn(TaskTables([], Wakes()), 0, 1, [], 0, {}, goes_on=True), [True, True, False], 0
    for batch in slices(turn, "first", "last", 10, lambda: may.pop(0)):
        steps += 1
        batch.go_on()
    assert (steps, turn.more_asked) == (3, True)
    turn.more_asked = False
    assert len(list(slices(turn, "first", "last", 10, lambda: True))) == 1

"""Facts of every kind → canonical records, equal to a fold of the same facts, however they come."""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.oracle.histories import random_history, shuffled_with_duplicates
from tests.stream.system import System, is_fact


def test_a_history_of_all_fact_types_equals_its_fold(system: System) -> None:
    """A random history is published as its fold, each record's versions count up, and the worker ends in order."""
    history = random_history(Random(1), skus=20)
    kinds = Counter(line["value"]["type"].split(".")[0] for line in history if is_fact(line))
    assert {"stock", "reservation", "receipt", "damage"} <= kinds.keys()
    system.publish(history)
    system.start()
    system.await_fold()
    system.assert_versions_rise()
    assert system.dead_letters == []
    assert system.stop() == 0


def test_duplicates_and_disorder_change_nothing(system: System) -> None:
    """The lines of a history, shuffled and some of them repeated, are published as the fold of the history."""
    history = random_history(Random(2), skus=20)
    facts = [line for line in history if is_fact(line)]
    system.publish(line for line in history if not is_fact(line))
    system.start()
    mixed = shuffled_with_duplicates(facts, Random(3))
    for start in range(0, len(mixed), 300):
        system.publish(mixed[start : start + 300])
    in_disorder = system.expected()
    system.lines = history
    assert system.expected() == in_disorder, "the fold itself depends on the order"
    system.await_fold()
    system.assert_versions_rise()
    assert system.dead_letters == []

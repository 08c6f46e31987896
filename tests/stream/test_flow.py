"""Facts of every kind → canonical records, equal to a fold of the same facts."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from tests.oracle.histories import random_history
from tests.stream.system import System


def test_histories_equal_their_fold(system: System) -> None:
    """A random history of all fact types is published as the fold of it, and each record's versions count up."""
    history = random_history(Random(1), skus=20)
    system.publish(history)
    system.start()
    system.await_fold()
    assert system.stop() == 0

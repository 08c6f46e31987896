"""Workers come and go in the middle of a stream: nothing is lost, nothing is applied twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from random import Random

import pytest

from tests.oracle.histories import random_history
from tests.stream.system import SHARED_SESSION_MS, Line, System

HISTORY_SKUS = 30


def parts_of(history: list[Line], number: int) -> list[list[Line]]:
    """A history in pieces, in order."""
    size = -(-len(history) // number)
    return [history[start : start + size] for start in range(0, len(history), size)]


@pytest.mark.parametrize("end", [System.stop, System.kill], ids=["sigterm", "sigkill"])
def test_restart_in_the_middle(system: System, end: Callable[[System], object]) -> None:
    """A worker that ends in the middle of the stream, in order or not, goes on where it stood."""
    history = random_history(Random(4), skus=HISTORY_SKUS)
    first, second, third = parts_of(history, 3)
    system.publish(first)
    system.start()
    system.await_true(lambda: len(system.found()) > 0)
    for part in (second, third):
        system.publish(part)
        time.sleep(0.15)  # some turns are committed, one is under way
        end(system)
        system.start()
    system.await_fold()
    system.assert_versions_rise(calm=False)


def test_a_lost_disk_is_rebuilt_from_the_changelog(system: System) -> None:
    """A worker that comes back on an empty disk rebuilds its state, publishes nothing twice and goes on."""
    first, second = parts_of(random_history(Random(5), skus=HISTORY_SKUS), 2)
    system.publish(first)
    system.start()
    system.await_fold()
    system.kill()
    shutil.rmtree(system.folder / "worker-1" / "data")
    published = len(system.versions)
    system.start()
    system.await_true(lambda: "lane_started" in system.logs())
    system.publish(second)
    system.await_fold()
    assert len(system.versions) > published
    system.assert_versions_rise(calm=False)


def test_two_workers_share_and_take_over(system: System) -> None:
    """Partitions move to a second worker and back to one; every fact is applied once."""
    first, second, third, fourth = parts_of(random_history(Random(6), skus=HISTORY_SKUS), 4)
    system.session_ms = SHARED_SESSION_MS
    system.publish(first)
    system.start("worker-1")
    system.await_true(lambda: len(system.found()) > 0)
    system.start("worker-2")
    system.publish(second)
    system.await_true(lambda: len(system.owners()) == 2)
    system.publish(third)
    system.await_fold()
    system.publish(fourth)
    system.stop("worker-1")
    system.await_fold()
    system.assert_versions_rise(calm=False)

"""The bounded set of fault runs: one or two of each row on a real three-node cluster, I1 to I7 after each.

Ordered: the cluster and its history go through all of it; the last two leave topics that no worker will use.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atp.app import lane
from tests.conftest import require_kafka_tools
from tests.faults import faults, invariants
from tests.faults.ground import Ground
from tests.faults.kills import Kill

# Seconds each; minutes on a machine that does ten other things.
pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(1200)]
# One of each kind; the long form (`make soak`) takes every step.
KILLS = (
    Kill("after fetch offsets 2"),
    Kill("after send 9"),
    Kill("after commit 7"),
    Kill("after write store 1", wiped=True),
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One cluster with one worker, for all tests here."""
    require_kafka_tools()
    with Ground(tmp_path_factory.mktemp("ground")) as ground:
        faults.FIRST(ground)
        yield ground


def test_killed_at_protocol_steps(ground: Ground) -> None:
    """kill -9 before and after the first commit, while it takes over, between commit and store, as it recovers."""
    faults.killed_at(ground, KILLS)
    ground.check()


@pytest.mark.parametrize(
    "fault",
    [
        faults.disks_wiped_stale_and_corrupt,
        faults.zombie,
        faults.rebalance_during_recovery,
        faults.broker_killed,
        faults.dead_letters_down,
        faults.upstream_aborts,
        faults.burst,
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_fault_breaks_no_invariant(ground: Ground, fault: faults.Fault) -> None:
    """After the fault, and once the sources pause, I1 to I7 hold."""
    fault(ground)
    ground.check()


def test_all_of_this_happened_on_careless_inputs_and_compacted_topics(ground: Ground) -> None:
    """Duplicates, reused ids and poison did come, and the cleaner took most of the changelog away meanwhile."""
    reasons = {letter["reason"] for _, letter in ground.watcher.letters}
    assert {"UNDECODABLE", "SCHEMA_INVALID", "KEY_MISMATCH", "WRONG_PARTITION"} <= reasons
    assert any("CONFLICT" in reason for reason in reasons)
    assert ground.fold.facts - len(ground.fold.refused) > 1.05 * ground.fold.distinct
    rebuilt = invariants.rebuild(ground, lane).values()
    assert sum(one.records for one in rebuilt) < 0.5 * sum(one.end for one in rebuilt)


def test_reset_offsets_are_refused(ground: Ground) -> None:
    """A task whose offsets were set back says so and waits; put right, it goes on."""
    faults.offsets_reset(ground)
    ground.check()


def test_a_recreated_topic_is_refused(ground: Ground) -> None:
    """Offsets that belong to a topic that is no more are never taken for those of the new one."""
    faults.topic_recreated(ground)


def test_a_changed_partition_count_is_refused(ground: Ground) -> None:
    """Keys would move between tasks: the worker ends with a line that says what is needed."""
    faults.partition_count_changed(ground)

"""What the workers say of their tasks, and what follows from it."""

from __future__ import annotations

from atp.commands.status import Answer, problems
from atp.lane.status import TaskState, TaskStatus


def task(partition: int, state: TaskState = TaskState.RUNNING, error: str | None = None) -> TaskStatus:
    """A task's line with nothing else of note."""
    return TaskStatus(partition, state, "exactly_once", 0, {}, {}, 0, 0.0, None, 0.1, error, False)


def test_all_partitions_running_is_no_problem() -> None:
    """Partitions may lie at any worker, as long as each is served."""
    answers = [Answer("http://a", {"sku": [task(0)]}), Answer("http://b", {"sku": [task(1)]})]
    assert problems(answers, 2) == []


def test_a_partition_that_nobody_has_is_named() -> None:
    """A lost worker leaves a hole until its partitions are taken over."""
    answers = [Answer("http://a", {"sku": [task(0)]}), Answer("http://b", error="does not answer (refused)")]
    assert problems(answers, 2) == ["http://b: does not answer (refused)", "sku: no worker has partition 1"]


def test_a_failed_task_is_named_with_its_reason() -> None:
    """A task that is not running says why."""
    answers = [Answer("http://a", {"sku": [task(0, TaskState.FAILED, "PoisonRateError")]})]
    assert problems(answers, 1) == ["sku/0 is FAILED: PoisonRateError"]

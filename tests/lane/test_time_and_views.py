"""Ticks, wake times, sweeps and control views, on the simulated ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from atp.lane.batch import Batch
from atp.lane.errors import RefusedError
from atp.lane.keys import META_KEY, partition_of
from atp.lane.meta import decode_meta
from atp.lane.status import TaskState
from atp.lane.views import View
from tests.lane.simulated import CHANGELOG, INPUTS, PARTITIONS, Worker, changelog_rows, feed, make_broker

CONTROL = "control"


async def until(condition: Callable[[], bool], timeout_s: float = 3.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 # what it waits for has no event
            await asyncio.sleep(0.002)


def swept_keys(worker: Worker) -> list[str]:
    """Keys in the order the sweep brought them."""
    return [key for kind, keys in worker.seen if kind == "swept" for key in keys]


async def test_a_tick_writes_the_metadata_row() -> None:
    """Without input a task still commits its time, which also tells whether it is fenced."""
    broker = make_broker()
    worker = Worker(broker)
    await worker.start()
    await until(lambda: all(t.counters.commits >= 3 for t in worker.manager.tasks.values()))
    await worker.stop()
    meta = decode_meta(changelog_rows(broker, 0)[META_KEY])
    assert meta.offsets == dict.fromkeys(INPUTS, 0)
    assert broker.offsets["sim"][INPUTS[0], 0] == 0


async def test_a_key_wakes_when_its_time_has_come() -> None:
    """Not before; and the latest time set counts."""
    broker = make_broker()
    feed(broker, 4, keys=2)
    worker = Worker(broker)
    publish = worker.publish

    def publish_and_wake(batch: Batch) -> None:
        publish(batch)
        for key in batch.dirty:
            batch.wake_at(key, 9_000)
            batch.wake_at(key, 5_000)

    worker.publish = publish_and_wake  # type: ignore[method-assign]
    await worker.start()
    await worker.settled()
    worker.clock.advance_to(4_999)
    await asyncio.sleep(0.1)
    assert not any(keys for kind, keys in worker.seen if kind == "due")
    worker.clock.advance_to(5_000)
    await until(lambda: {k for kind, keys in worker.seen if kind == "due" for k in keys} == {"k0", "k1"})
    await worker.stop()


async def test_an_agent_with_more_to_do_gets_a_turn_soon() -> None:
    """A long piece of work is done in many turns: none waits for a record or for the next tick."""
    broker = make_broker()
    worker = Worker(broker, tick_interval_ms=600_000)
    turns: list[int] = []
    count = worker.count

    def count_and_go_on(batch: Batch) -> None:
        count(batch)
        turns.append(len(batch.records))
        if len(turns) < 6:
            batch.go_on()

    worker.count = count_and_go_on  # type: ignore[method-assign]
    feed(broker, 4, keys=1)
    await worker.start({partition_of("k0", PARTITIONS)})
    await until(lambda: len(turns) >= 6)
    await worker.stop()


async def test_every_start_begins_with_a_sweep() -> None:
    """Wake times live in memory; the sweep lets the agents set them again."""
    broker = make_broker()
    feed(broker, 40, keys=20)
    first = Worker(broker)
    await first.start()
    await first.settled()
    await first.stop()
    second = Worker(broker, first.stores)
    await second.start()
    await until(lambda: set(swept_keys(second)) == {f"k{i}" for i in range(20)})
    await second.stop()


async def test_a_sweep_is_paced() -> None:
    """A low rate spreads the keys over several turns."""
    broker = make_broker()
    feed(broker, 60, keys=30)
    worker = Worker(broker, sweep_keys_per_s=1, commit_interval_ms=5)
    await worker.start()
    await worker.settled()
    worker.seen.clear()
    for task in worker.manager.tasks.values():
        assert task._sweep is not None
        task._sweep.start()
    await until(lambda: len(set(swept_keys(worker))) == 30)
    assert max(len(keys) for kind, keys in worker.seen if kind == "swept") <= 1
    await worker.stop()


async def test_the_pace_of_a_sweep_is_asked_for_in_every_turn() -> None:
    """Whoever decides it is obeyed at once, in the middle of a sweep."""
    broker, pace = make_broker(), [1]
    feed(broker, 60, keys=30)
    worker = Worker(broker, commit_interval_ms=5)
    worker.world.sweep_keys_per_s = lambda: pace[0]
    await worker.start()
    await worker.settled()
    worker.seen.clear()
    for task in worker.manager.tasks.values():
        assert task._sweep is not None
        task._sweep.start()
    await until(lambda: len(set(swept_keys(worker))) >= 4)
    assert max(len(keys) for kind, keys in worker.seen if kind == "swept") <= 1
    pace[0] = 1_000_000
    await until(lambda: len(set(swept_keys(worker))) == 30)
    assert max(len(keys) for kind, keys in worker.seen if kind == "swept") > 1
    await worker.stop()


async def test_views_are_loaded_before_tasks_run_and_followed() -> None:
    """A task finds the view at its captured end; later records arrive and call the listeners."""
    broker = make_broker()
    broker.create(CONTROL, 1)
    broker.produce(CONTROL, "default", b"1", 1)
    feed(broker, 10)
    worker = Worker(broker)
    view = worker.views.add(CONTROL)
    changes: list[bytes | None] = []

    @view.on_change
    def note(changed: View) -> None:
        changes.append(changed.get("default"))

    seen: set[bytes | None] = set()
    count = worker.count

    def count_with_view(batch: Batch) -> None:
        seen.add(view.get("default"))
        count(batch)

    worker.count = count_with_view  # type: ignore[method-assign]
    await worker.start()
    await worker.settled()
    assert seen == {b"1"}
    worker.seen.clear()
    broker.produce(CONTROL, "default", b"2", 2)
    await until(lambda: view.get("default") == b"2")
    await until(lambda: set(swept_keys(worker)) == {f"k{i}" for i in range(9)})
    await worker.stop()
    assert changes == [b"1", b"2"]
    assert dict(view.items()) == {b"default": b"2"}
    assert decode_meta(changelog_rows(broker, 0)[META_KEY]).views == {CONTROL: [2]}


async def test_a_task_never_runs_on_an_older_view() -> None:
    """A control topic that lost records its state was computed with stops the task."""
    broker = make_broker()
    broker.create(CONTROL, 1)
    broker.produce(CONTROL, "default", b"1", 1)
    first = Worker(broker)
    first.views.add(CONTROL)
    await first.start()
    await first.settled()
    await first.stop()
    broker.create(CONTROL, 1)
    second = Worker(broker, first.stores)
    second.views.add(CONTROL)
    await second.start()
    await until(lambda: all(t.state is TaskState.FAILED for t in second.manager.tasks.values()))
    assert "truncated or recreated" in str(second.manager.tasks[0].last_error)
    await second.stop()


async def test_a_failed_task_resumes_on_demand() -> None:
    """An operator who removed the cause lets the task take over again."""
    broker = make_broker()
    ids = broker.ids[CHANGELOG]
    broker.create(INPUTS[0], 3)
    worker = Worker(broker)
    await worker.start()
    await until(lambda: all(t.state is TaskState.FAILED for t in worker.manager.tasks.values()))
    broker.create(INPUTS[0], 2)
    for task in worker.manager.tasks.values():
        task.resume()
    await worker.settled()
    await worker.stop()
    assert broker.ids[CHANGELOG] == ids


async def test_a_late_view_is_waited_for() -> None:
    """Another worker may have read a control topic further than we have: wait; refuse only what no end explains."""
    broker = make_broker()
    broker.create(CONTROL, 1)
    worker = Worker(broker)
    view = worker.views.add(CONTROL)
    view.positions = [0]
    worker.views.ready = True
    broker.produce(CONTROL, "default", b"1", 1)
    with pytest.raises(RefusedError, match="truncated or recreated"):
        await worker.views.wait_for({CONTROL: [2]}, worker.world)
    waiting = asyncio.create_task(worker.views.wait_for({CONTROL: [1]}, worker.world))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    follower = asyncio.create_task(worker.views.follow(worker.world))
    await asyncio.wait_for(waiting, 3)
    follower.cancel()
    assert view.get("default") == b"1"

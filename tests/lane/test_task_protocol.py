"""The task protocol on simulated ports: what a crash or an error at any step may not break."""

from __future__ import annotations

import asyncio

import pytest

from atp.lane.errors import FencedError, TransientError
from atp.lane.keys import LOCAL_KEY
from atp.lane.memory import MemoryStores
from atp.lane.meta import decode_local, encode_local
from atp.lane.status import TaskState
from tests.lane.simulated import (
    CHANGELOG,
    INPUTS,
    LETTERS,
    PARTITIONS,
    Worker,
    assert_outputs_rise,
    assert_stores_equal_changelog,
    changelog_rows,
    expected,
    feed,
    make_broker,
    published,
)  # fmt: skip


async def steps_of_a_run(transactional: bool) -> list[str]:
    """The protocol steps of a run without trouble."""
    broker = make_broker()
    feed(broker, 40)
    worker = Worker(broker, transactional=transactional)
    await worker.start()
    await worker.settled()
    await worker.stop()
    return worker.steps


async def test_a_quiet_run_counts_everything_once() -> None:
    """Without trouble every record is counted once and the store equals the changelog."""
    broker = make_broker()
    feed(broker, 100)
    worker = Worker(broker)
    await worker.start()
    await worker.settled()
    await worker.stop()
    assert published(broker) == expected(broker)
    assert_outputs_rise(broker)
    assert_stores_equal_changelog(worker)


async def test_a_take_over_keeps_its_order() -> None:
    """Fence, then committed offsets, then the changelog, then the input: read any earlier, offsets may be stale."""
    worker = Worker(make_broker())
    await worker.start({0})
    await worker.settled()
    await worker.stop()
    begun = [step for step in worker.steps if "answered" not in step]
    order = ["init", "fetch offsets", "bounds", "bounds", "identity", "identity", "bounds", "identity", "bounds"]
    assert begun[: begun.index("begin")] == [*order, "attach"]


@pytest.mark.parametrize("wiped", [False, True])
async def test_crash_at_every_step(wiped: bool) -> None:
    """Killed at any step and restarted, with its disk or without, it neither loses nor repeats."""
    for crash_at in range(len(await steps_of_a_run(True))):
        broker = make_broker()
        feed(broker, 40)
        first = Worker(broker, crash_at=crash_at)
        await first.start()
        feed(broker, 10, start_ms=2_000)
        try:
            async with asyncio.timeout(2):
                await first.crashed.wait()
        except TimeoutError:
            pass  # this run took fewer steps; killing it where it stands is as good
        await first.kill()
        second = Worker(broker, MemoryStores() if wiped else first.stores)
        await second.start()
        await second.settled()
        await second.stop()
        assert published(broker) == expected(broker), (crash_at, first.steps[-1])
        assert_outputs_rise(broker)
        assert_stores_equal_changelog(second)


async def test_crash_at_every_step_without_transactions() -> None:
    """At least once: nothing is lost, the last output per key is the state, the store equals the changelog."""
    for crash_at in range(len(await steps_of_a_run(False))):
        broker = make_broker()
        feed(broker, 40)
        first = Worker(broker, crash_at=crash_at, transactional=False)
        await first.start()
        try:
            async with asyncio.timeout(2):
                await first.crashed.wait()
        except TimeoutError:
            pass
        await first.kill()
        second = Worker(broker, first.stores, transactional=False)
        await second.start()
        await second.settled()
        await second.stop()
        found, wanted = published(broker), expected(broker)
        assert found.keys() == wanted.keys()
        assert all(found[key] >= wanted[key] for key in wanted), (crash_at, first.steps[-1])
        assert_stores_equal_changelog(second)


@pytest.mark.parametrize("error", [TransientError("as the test wanted"), FencedError("as the test wanted")])
async def test_an_error_at_every_step(error: Exception) -> None:
    """After an error at any step the same process takes over again from the last commit."""
    for fail_at in range(len(await steps_of_a_run(True))):
        broker = make_broker()
        feed(broker, 40)
        worker = Worker(broker)
        worker.fail_at[fail_at] = error
        await worker.start()
        await worker.settled()
        await worker.stop()
        assert published(broker) == expected(broker), (fail_at, worker.steps[fail_at])
        assert_outputs_rise(broker)
        assert_stores_equal_changelog(worker)


async def test_a_zombie_is_fenced() -> None:
    """Two workers that both believe to own a partition: only what the newer one does becomes visible."""
    broker = make_broker()
    feed(broker, 40)
    first = Worker(broker, heartbeat_interval_ms=10_000)
    await first.start()
    await first.settled()
    second = Worker(broker)
    await second.start()
    feed(broker, 40, start_ms=3_000)
    await second.settled()
    await asyncio.sleep(0.1)
    assert {t.counters.fenced for t in first.manager.tasks.values()} == {1}
    assert published(broker) == expected(broker)
    assert_outputs_rise(broker)
    await first.kill()
    await second.stop()


async def test_overtaken_while_it_restores() -> None:
    """Offsets read before another owner's commits do not fit the changelog read after them: it looks again."""
    broker = make_broker()
    feed(broker, 20)
    first = Worker(broker)
    first.hold_at = 4  # it has fenced and read the committed offsets
    await first.start({0})
    await asyncio.sleep(0.02)
    second = Worker(broker)
    await second.start({0})
    await second.settled()
    await second.stop()
    first.released.set()
    await first.settled()
    assert first.manager.tasks[0].counters.takeovers == 2
    await first.stop()
    assert_outputs_rise(broker)
    assert_stores_equal_changelog(first)


async def test_revoked_and_given_back() -> None:
    """A partition that comes back goes on with its store and producer if nobody committed in between."""
    broker = make_broker()
    feed(broker, 20)
    worker = Worker(broker)
    await worker.start()
    await worker.settled()
    worker.manager.revoked()
    await asyncio.sleep(0.05)
    feed(broker, 20, start_ms=5_000)
    assert {t.state for t in worker.manager.tasks.values()} == {TaskState.QUIESCED}
    await worker.manager.apply(set(range(PARTITIONS)))
    await worker.settled()
    assert {t.counters.takeovers for t in worker.manager.tasks.values()} == {1}
    await worker.stop()
    assert published(broker) == expected(broker)


async def test_given_back_after_another_owner() -> None:
    """A partition another worker committed meanwhile is taken over afresh."""
    broker = make_broker()
    feed(broker, 20)
    first = Worker(broker)
    await first.start()
    await first.settled()
    first.manager.revoked()
    await asyncio.sleep(0.02)
    second = Worker(broker)
    await second.start()
    feed(broker, 20, start_ms=5_000)
    await second.settled()
    await second.stop()
    feed(broker, 20, start_ms=6_000)
    await first.manager.apply(set(range(PARTITIONS)))
    await first.settled()
    await first.stop()
    assert published(broker) == expected(broker)
    assert_outputs_rise(broker)
    assert_stores_equal_changelog(first)


async def test_a_bug_in_an_agent_stops_its_partition_alone() -> None:
    """The failing partition is FAILED with its reason and nothing committed; the other goes on."""
    broker = make_broker()
    broker.produce(INPUTS[0], "k0", b"bug", 1_000, partition=0)
    broker.produce(INPUTS[0], "k1", b"x", 1_000, partition=1)
    worker = Worker(broker)
    await worker.start()
    await asyncio.sleep(0.1)
    failed, running = (worker.manager.tasks[p].status() for p in (0, 1))
    assert (failed.state, running.state) == (TaskState.FAILED, TaskState.RUNNING)
    assert "as the test wanted" in (failed.last_error or "")
    assert published(broker) == {"k1": 1}
    await worker.stop()


async def test_poison_goes_to_the_dead_letters() -> None:
    """A refused record is a dead letter of the same transaction, in the partition it came from."""
    broker = make_broker()
    broker.produce(INPUTS[0], "k0", b"poison", 1_000, partition=1)
    worker = Worker(broker)
    await worker.start()
    await worker.settled()
    await worker.stop()
    letters = broker.records(LETTERS)
    assert [(r.partition, r.key) for r in letters] == [(1, b"in.a|1|0")]
    assert b'"reason":"POISON"' in (letters[0].value or b"")


async def test_too_much_poison_stops_the_task() -> None:
    """Beyond the rate limit nothing more is dead-lettered and nothing committed."""
    broker = make_broker()
    for i in range(11):
        broker.produce(INPUTS[0], "k0", b"poison", 1_000 + i, partition=0)
    worker = Worker(broker, dead_letters_per_minute=10)
    await worker.start()
    await asyncio.sleep(0.1)
    assert worker.manager.tasks[0].state is TaskState.FAILED
    assert broker.records(LETTERS) == []
    await worker.stop()


async def counted(count: int = 40) -> tuple[Worker, MemoryStores]:
    """A worker that counted some records and stopped."""
    broker = make_broker()
    feed(broker, count)
    worker = Worker(broker)
    await worker.start()
    await worker.settled()
    await worker.stop()
    return worker, worker.stores


@pytest.mark.parametrize("change", ["topic_id", "partitions", "position", "layout"])
async def test_a_store_that_does_not_fit_is_rebuilt(change: str) -> None:
    """Another topic id, partition count or layout, or a position beyond the end: wiped and rebuilt."""
    worker, stores = await counted()
    for disk in stores.disks.values():
        local = decode_local(disk[LOCAL_KEY])
        setattr(local, change, "other" if change == "topic_id" else 10_000)
        disk[LOCAL_KEY] = encode_local(local)
        disk[b"\x00\x07garbage"] = b"x"
    again = Worker(worker.broker, stores)
    await again.start()
    feed(worker.broker, 10, start_ms=9_000)
    await again.settled()
    await again.stop()
    assert not any(b"\x00\x07garbage" in disk for disk in stores.disks.values())
    assert_stores_equal_changelog(again)
    assert published(worker.broker) == expected(worker.broker)


async def refused(worker: Worker) -> str:
    """Start it; the reason all its tasks refuse to run."""
    await worker.start()
    await asyncio.sleep(0.05)
    reasons = {t.last_error for t in worker.manager.tasks.values() if t.state is TaskState.FAILED}
    await worker.stop()
    assert len(reasons) >= 1
    return str(reasons)


async def test_a_lost_changelog_refuses_to_start() -> None:
    """Committed offsets without the state they stand for would silently lose everything."""
    worker, _ = await counted()
    worker.broker.create(CHANGELOG, PARTITIONS)
    assert "it was lost" in await refused(Worker(worker.broker))


async def test_lost_offsets_refuse_to_start() -> None:
    """State without committed offsets would count everything twice."""
    worker, stores = await counted()
    worker.broker.offsets.clear()
    assert "no committed offset" in await refused(Worker(worker.broker, stores))


async def test_moved_offsets_refuse_to_start() -> None:
    """Offsets that were reset by hand do not belong to the state."""
    worker, stores = await counted()
    group = worker.broker.offsets["sim"]
    group.update(dict.fromkeys(group, 1))
    assert "the state stands for" in await refused(Worker(worker.broker, stores))


async def test_a_recreated_input_topic_refuses_to_start() -> None:
    """A committed offset beyond the end of a topic means another topic."""
    worker, stores = await counted()
    worker.broker.create(INPUTS[0], PARTITIONS)
    assert "lies outside" in await refused(Worker(worker.broker, stores))


async def test_another_partition_count_refuses_to_start() -> None:
    """With more partitions the keys of a task would move away from their state."""
    worker, stores = await counted()
    worker.broker.create(INPUTS[0], PARTITIONS + 1)
    assert "keys would move" in await refused(Worker(worker.broker, stores))


async def test_changed_horizons_refuse_to_start() -> None:
    """A retention horizon the state was built with cannot change under it."""
    worker, stores = await counted()
    pinned = Worker(worker.broker, stores, pinned={"journal_hours": 72})
    await pinned.start()
    feed(worker.broker, 4, start_ms=9_000)
    await pinned.settled()
    await pinned.stop()
    assert "not changeable" in await refused(Worker(worker.broker, stores, pinned={"journal_hours": 24}))


async def test_compaction_does_not_disturb() -> None:
    """A changelog compacted while the worker is away gives the same state."""
    worker, _ = await counted()
    before = changelog_rows(worker.broker, 0)
    worker.broker.compact(CHANGELOG)
    assert changelog_rows(worker.broker, 0) == before
    again = Worker(worker.broker)
    await again.start()
    feed(worker.broker, 10, start_ms=9_000)
    await again.settled()
    await again.stop()
    assert published(worker.broker) == expected(worker.broker)


async def test_time_never_goes_back() -> None:
    """The metadata row keeps the task's time over a restart, whatever the clock says."""
    worker, stores = await counted()
    before = max(t for t in (decode_meta_now(worker, p) for p in range(PARTITIONS)))
    again = Worker(worker.broker, stores)
    await again.start()
    await asyncio.sleep(0.1)
    assert min(t.meta.now_ms for t in again.manager.tasks.values()) > 1
    assert max(t.meta.now_ms for t in again.manager.tasks.values()) == before
    again.clock.advance_to(99_000)
    await asyncio.sleep(0.1)
    assert {t.meta.now_ms for t in again.manager.tasks.values()} == {99_000}
    await again.stop()


def decode_meta_now(worker: Worker, partition: int) -> int:
    """The time in a partition's metadata row."""
    from atp.lane.keys import META_KEY
    from atp.lane.meta import decode_meta

    return decode_meta(changelog_rows(worker.broker, partition)[META_KEY]).now_ms

"""The toy application on real Kafka: every event counted exactly once, whatever happens to its workers."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lane.toy import Toy, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def toy(kafka_broker: Any, tmp_path: Path) -> Iterator[Toy]:
    """A toy application with its topics."""
    toy = Toy(kafka_broker.bootstrap, tmp_path)
    toy.create_topics()
    yield toy
    toy.stop()


def assert_versions_rise(outputs: list[Any]) -> None:
    """A published count never goes back and is never repeated."""
    last: dict[bytes, int] = {}
    for message in outputs:
        assert int(message.value()) > last.get(message.key(), 0)
        last[message.key()] = int(message.value())


def assert_kept(worker: Worker, commits: dict[int, int]) -> None:
    """The tasks are still those that had committed so often: neither created anew nor taken over again."""
    counters = worker.await_news()["counters"]
    for partition, before in commits.items():
        found = counters[str(partition)]
        assert (found["takeovers"], found["commits"] >= before) == (1, True), (partition, before, found)


def test_every_event_is_counted_once(toy: Toy) -> None:
    """What was produced is what was counted, and a stopped worker leaves in good order."""
    toy.produce(2_000)
    worker = toy.start()
    assert_versions_rise(toy.await_counts())
    assert worker.stop() == 0


def test_kill_nine_midway(toy: Toy) -> None:
    """A worker killed again and again in mid-stream neither loses nor repeats an event."""
    for _ in range(4):
        worker = toy.start()
        worker.await_running(toy.partitions)
        toy.produce(3_000)
        time.sleep(0.15)
        worker.kill()
    toy.start()
    assert_versions_rise(toy.await_counts())


def test_wiped_store_is_rebuilt(toy: Toy) -> None:
    """A worker that finds its disk empty rebuilds its state from the changelog."""
    toy.produce(2_000)
    worker = toy.start()
    toy.await_counts()
    worker.kill()
    shutil.rmtree(worker.folder / "lane")
    toy.produce(2_000)
    worker = toy.start()
    assert_versions_rise(toy.await_counts())
    worker.await_running(toy.partitions)
    assert sum(task["restored_records"] for task in worker.status()["status"]) > 0


def test_two_workers_share_and_take_over(toy: Toy) -> None:
    """Partitions move when a worker joins and when one dies, and no event is lost or counted twice."""
    first = toy.start(0)
    toy.produce(2_000)
    first.await_running(toy.partitions)
    second = toy.start(1)
    toy.produce(2_000)
    second.await_running(toy.partitions // 2)
    first.await_running(toy.partitions // 2)
    toy.produce(2_000)
    time.sleep(0.2)
    first.kill()
    kept = second.commits()
    toy.produce(2_000)
    second.await_running(toy.partitions)
    assert_kept(second, kept)
    assert_versions_rise(toy.await_counts())


def test_a_rebalance_disturbs_no_task_that_stays(toy: Toy) -> None:
    """Revoked and given back, a task goes on as it was; a static member that restarts is not even a rebalance."""
    patient = {"session_timeout_ms": 60_000}  # no restart takes longer, however loaded the machine is
    first = toy.start(0, **patient)
    toy.produce(2_000)
    first.await_running(toy.partitions)
    before = first.commits()
    second = toy.start(1, **patient)
    second.await_running(toy.partitions // 2)
    first.await_running(toy.partitions // 2)
    assert_kept(first, {partition: before[partition] for partition in first.commits()})
    kept, moved = first.commits(), set(second.commits())
    second.kill()
    second = toy.start(1, **patient)
    second.await_running(toy.partitions // 2)
    assert set(second.commits()) == moved == set(before) - set(kept)
    toy.produce(2_000)
    assert_versions_rise(toy.await_counts())
    assert_kept(first, kept)


def test_a_zombie_changes_nothing(toy: Toy) -> None:
    """A worker frozen for twice its session finds itself fenced, and ends."""
    first, second = toy.start(0), toy.start(1)
    first.await_running(toy.partitions // 2)
    second.await_running(toy.partitions // 2)
    toy.produce(2_000)
    first.signal(signal.SIGSTOP)
    toy.produce(2_000)
    second.await_running(toy.partitions, 240)
    first.signal(signal.SIGCONT)
    toy.produce(2_000)
    assert_versions_rise(toy.await_counts())
    assert first.process.wait(120) != 0


def test_poison_goes_to_the_dead_letters(toy: Toy) -> None:
    """An undecodable record ends in the dead letters and holds nothing up."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": toy.bootstrap})
    producer.produce(toy.topics["a"], b"\xff not json", b"key-1", partition=0)
    producer.flush(10)
    toy.produce(1_000)
    toy.start()
    toy.await_counts()
    letters = toy.read(toy.topics["dead-letters"])
    assert [m.key() for m in letters] == [f"{toy.topics['a']}|0|0".encode()]
    assert b"UNDECODABLE" in letters[0].value()

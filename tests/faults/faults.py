"""The faults, by row of the table: each is done to a ground with one worker, and leaves it with one worker.

Long because it is one list.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions, NewTopic

from atp.app import lane
from atp.topics import DAMAGES, RECEIPTS, STOCK
from tests.faults.ground import PARTITIONS, SESSION_MS, WAIT_S, Ground
from tests.faults.kills import Kill

Fault = Callable[[Ground], None]
DISK_MB = 96  # a small disk: the write-ahead logs and tables of four empty stores, and room for a while
OPERATOR_S = 90.0  # how long an operator waits for a group to be empty
KILLS_AT_ONCE = 5  # between two checks
STARTS = 3

# -- kill -9 at every protocol step, during recovery, before the first commit


def killed_at(ground: Ground, kills: Iterable[Kill]) -> None:
    """A worker kills itself at a step, the next one at another."""
    ground.kill()
    ground.flowing()
    for order, wiped in kills:
        if wiped:
            shutil.rmtree(ground.data("worker-1"))
        _die_at(ground, order)
    ground.start()
    ground.await_served()


def _die_at(ground: Ground, order: str) -> None:
    """Run the worker until it kills itself; one that its group gave up on a busy machine is started again."""
    for _ in range(STARTS):
        ground.start(FAULT_KILL=order)
        code = ground.await_end("worker-1")
        if code == -9:
            return
        errors = [line for line in ground.logs(lines=20_000).splitlines() if "Error" in line]
        assert any("EvictedError" in line for line in errors), f"{order}: ended with {code}\n{errors}"
        ground.revived += 1
    raise AssertionError(f"{order}: evicted {STARTS} times in a row\n{ground.logs()}")


def killed_at_every_step(ground: Ground) -> None:
    """The next few of every step of taking over, recovering and committing."""
    killed_at(ground, islice(ground.kill_orders, KILLS_AT_ONCE))


def killed_before_the_first_commit(ground: Ground) -> None:
    """Nothing exists yet: the first worker dies before its first commit, the next one just after it."""
    for order in ("before commit 1", "after commit 1"):
        ground.start(FAULT_KILL=order)
        assert ground.await_end("worker-1") == -9, ground.logs()
    ground.start()
    ground.flowing()
    ground.await_served()


# -- disks


def another_worker_on_an_empty_disk(ground: Ground) -> None:
    """The worker is killed, one that has nothing takes over; then the first comes back with a stale disk."""
    ground.flowing()
    ground.await_output(20)
    ground.kill()
    ground.start("worker-2")
    ground.await_served()
    ground.kill("worker-2")
    ground.start()
    ground.await_served()


def disks_wiped_stale_and_corrupt(ground: Ground) -> None:
    """After a kill one store is empty, one a copy of long ago, one unreadable, one as it was."""
    old = ground.folder / "old"
    first, second, third = (ground.stores(lane.full_name)[number] for number in (0, 1, 2))
    ground.flow(1.0)
    ground.kill()
    shutil.copytree(second, old)
    ground.start()
    ground.flowing()
    ground.await_served()
    ground.kill()
    shutil.rmtree(first)
    shutil.rmtree(second)
    old.rename(second)
    for path in (*third.glob("*.sst"), *third.glob("*.log"), *third.glob("MANIFEST*")):
        path.write_bytes(os.urandom(path.stat().st_size + 64))
    ground.start()
    ground.await_served()


def disk_full(ground: Ground) -> None:
    """The disk of the stores fills while facts flow (a small tmpfs; needs root); after room is made, all goes on."""
    ground.kill()
    folder = ground.data("worker-full")
    with small_disk(folder):
        ground.start("worker-full")
        ground.flowing()
        ground.await_served()
        filler = folder / "eaten"
        fill(filler)
        ground.await_said("No space left on device")
        filler.unlink()
        ground.await_served()
        ground.kill("worker-full")
    ground.start()
    ground.await_served()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A small file system of its own at a folder."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1 << 16))
            except OSError:
                return


# -- zombies and rebalances


def zombie(ground: Ground) -> None:
    """One of two workers is frozen for twice its session and goes on later: it changes nothing, and ends."""
    ground.flowing()
    ground.start("worker-2")
    await_workers(ground, 2)
    ground.freeze()
    ground.watcher.mark()
    time.sleep(2 * SESSION_MS / 1000)
    ground.await_served()
    ground.thaw()
    assert ground.await_end("worker-1") != 0
    ground.kill("worker-2")
    ground.start()
    ground.await_served()


def one_three_one(ground: Ground) -> None:
    """Two workers join, two leave: one in good order, one not."""
    ground.flowing()
    ground.start("worker-2")
    ground.start("worker-3")
    await_workers(ground, 3)
    ground.stop("worker-2")
    ground.kill("worker-3")
    await_workers(ground, 1)
    ground.await_served()


def rolling_restart(ground: Ground) -> None:
    """Two workers are restarted in good order, one after the other, under load."""
    ground.flowing()
    ground.start("worker-2")
    await_workers(ground, 2)
    for name in ("worker-1", "worker-2"):
        assert ground.stop(name) == 0
        ground.start(name)
        ground.await_served()
    ground.stop("worker-2")
    await_workers(ground, 1)


def rebalance_during_recovery(ground: Ground) -> None:
    """While a worker restores from an empty disk a second one joins; then the roles change."""
    ground.kill()
    shutil.rmtree(ground.data("worker-1"))
    ground.flowing()
    ground.start()
    ground.start("worker-2")
    await_workers(ground, 2)
    ground.kill()
    shutil.rmtree(ground.data("worker-1"))
    ground.start()
    ground.kill("worker-2")
    await_workers(ground, 1)
    ground.await_served()


def await_workers(ground: Ground, number: int) -> None:
    """Wait until partitions are served by so many workers, and all by one."""
    ground.await_true(
        lambda: len(ground.owners()) == number and len(ground.stores(lane.full_name)) == PARTITIONS,
        WAIT_S, lambda: f"owners are {ground.owners()}",
    )  # fmt: skip


# -- brokers


def broker_killed(ground: Ground) -> None:
    """The node that coordinates the group dies under load, and comes back."""
    ground.flowing()
    node = ground.coordinator(lane.full_name)
    node.kill()
    time.sleep(4.0)
    node.start()
    ground.await_served()


def all_brokers_restarted(ground: Ground) -> None:
    """All nodes die at once and come back on their data."""
    ground.flowing()
    for node in ground.kafka.nodes:
        node.kill()
    for node in ground.kafka.nodes:
        node.start(wait=False)
    ground.kafka.wait_ready()
    ground.await_served()


def broker_and_worker_killed(ground: Ground) -> None:
    """A node is down while a worker dies and another takes over from nothing."""
    ground.flowing()
    node = ground.kafka.nodes[1]
    node.kill()
    ground.kill()
    ground.start("worker-2")
    ground.await_served()
    node.start()
    ground.kill("worker-2")
    ground.start()
    ground.await_served()


def slow_broker(ground: Ground) -> None:
    """For a while a node answers in one tenth of the time only (it is frozen for the rest)."""
    ground.flowing()
    node, until = ground.kafka.nodes[1], time.monotonic() + 6.0
    while time.monotonic() < until:
        node.pause()
        time.sleep(0.18)
        node.resume()
        time.sleep(0.02)
    ground.await_served()


# -- inputs


def careless_sources(ground: Ground) -> None:
    """A tenth of the facts comes twice, some late, some ids again with another payload, some records are nonsense."""
    ground.flow(3.0)


def burst(ground: Ground) -> None:
    """Ten times the usual rate."""
    ground.flow(3.0, 10 * ground.rate)


def poison(ground: Ground) -> None:
    """Every third record is nonsense: no JSON, no fact, no key, another's key or partition, or too large to keep."""
    for record in islice(iter(ground.source), 400):
        ground.publisher.send(record)
        if ground.source.chance(0.5):
            ground.publisher.send(ground.source.poison(record))


def dead_letters_down(ground: Ground) -> None:
    """The node of the dead letters is down: tasks with something to refuse wait for it, and lose nothing."""
    ground.kafka.nodes[0].kill()
    refused = len(ground.watcher.letters)
    poison(ground)
    ground.flow(4.0)
    assert len(ground.watcher.letters) == refused, "dead letters came although their node was down"
    ground.kafka.nodes[0].start()


def upstream_aborts(ground: Ground) -> None:
    """A source writes in transactions and aborts every second one: those facts never happened."""
    producer = Producer({
        "bootstrap.servers": ground.bootstrap, "transactional.id": "upstream", "log_level": 0, "linger.ms": 5,
    })  # fmt: skip
    producer.init_transactions(WAIT_S)
    for number in range(8):
        producer.begin_transaction()
        for record in islice(iter(ground.source), 50):
            producer.produce(record.topic, record.value, record.key, record.partition, timestamp=record.timestamp_ms)
        producer.flush(WAIT_S)  # else an abort would take them back before they lie on the topics
        (producer.commit_transaction if number % 2 else producer.abort_transaction)(WAIT_S)


def clock_off_by_an_hour(ground: Ground) -> None:
    """The worker's clock is an hour fast, and after a restart an hour slow."""
    for off_ms in (3_600_000, -3_600_000):
        ground.stop()
        ground.start(FAULT_CLOCK_MS=str(off_ms))
        ground.flowing()
        ground.await_served()
    ground.stop()
    ground.start()
    ground.await_served()


# -- what an operator may do wrong: refused with a clear line


def offsets_reset(ground: Ground) -> None:
    """Somebody resets the group's offsets of a partition: the task refuses, until they are put right."""
    at = TopicPartition(STOCK.name, 0)
    ground.stop()
    right = ground.committed()[lane.name][STOCK.name, 0]
    _commit(ground, at, 0)
    ground.start()
    ground.await_said("offset 0 is committed, but the state stands for")
    ground.kill()
    _commit(ground, at, right)
    ground.start()
    ground.flowing()
    ground.await_served()


def _commit(ground: Ground, at: TopicPartition, offset: int) -> None:
    """As a tool for operators does: only when the group has no member."""
    group = Consumer({"bootstrap.servers": ground.bootstrap, "group.id": lane.full_name, "log_level": 0})
    deadline = time.monotonic() + OPERATOR_S
    while True:
        try:
            group.commit(offsets=[TopicPartition(at.topic, at.partition, offset)], asynchronous=False)
            break
        except KafkaException:
            assert time.monotonic() < deadline, "the group is never empty"
            time.sleep(0.2)
    group.close()


def topic_recreated(ground: Ground) -> None:
    """A fact topic was deleted and made anew: every task refuses. There is no way back but that topic's own."""
    ground.stop()
    ground.admin.delete_topics([DAMAGES.name])[DAMAGES.name].result(WAIT_S)
    topic = NewTopic(DAMAGES.name, PARTITIONS, 3)
    ground.await_true(
        lambda: DAMAGES.name not in ground.admin.list_topics(timeout=5).topics, WAIT_S, lambda: "still there"
    )
    ground.admin.create_topics([topic])[DAMAGES.name].result(WAIT_S)
    ground.start()
    ground.await_said(f"{DAMAGES.name}: ")
    ground.await_said("but the state stands for", "lost or recreated")


def partition_count_changed(ground: Ground) -> None:
    """A fact topic was given more partitions: no worker starts."""
    ground.stop()
    more = NewPartitions(RECEIPTS.name, PARTITIONS + 2)
    ground.admin.create_partitions([more])[RECEIPTS.name].result(WAIT_S)
    ground.start()
    assert ground.await_end("worker-1") != 0
    ground.await_said(f"{RECEIPTS.name} has {PARTITIONS + 2} partitions: {PARTITIONS} are needed")


# The rows of the table in ENGINE.md that leave the ground usable. Compaction is forced all the time, in every one.
ROWS: dict[str, list[Fault]] = {
    "kill -9 at every protocol step, during recovery": [killed_at_every_step],
    "another worker on an empty disk; wiped, stale, corrupt store; disk full": [
        another_worker_on_an_empty_disk, disks_wiped_stale_and_corrupt, disk_full,
    ],
    "SIGSTOP for twice the session, then resume": [zombie],
    "1 to 3 to 1 workers, rolling restart, rebalance during recovery": [
        one_three_one, rolling_restart, rebalance_during_recovery,
    ],
    "broker kill -9, all brokers restarted, broker down and worker killed": [
        broker_killed, all_brokers_restarted, broker_and_worker_killed,
    ],
    "10 % duplicates, disorder, same id with another payload": [careless_sources],
    "poison, dead-letter topic down": [poison, dead_letters_down],
    "aborted upstream transactions, offset reset": [upstream_aborts, offsets_reset],
    "10x burst, slow broker, clock off by an hour": [burst, slow_broker, clock_off_by_an_hour],
}  # fmt: skip
ALL = [fault for row in ROWS.values() for fault in row]
FIRST = killed_before_the_first_commit  # on a ground where nothing has run yet
# After these no worker will use the topics any more: refusals, with a clear line.
LAST: tuple[Fault, ...] = (topic_recreated, partition_count_changed)

"""What must hold after every run: invariants I1 to I7 of the engine, each a function that raises what is wrong.

Long because it is one list.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from atp.lane.keys import LOCAL_KEY, META_KEY, decode
from atp.lane.memory import COMMITTED, MemoryBroker
from atp.lane.meta import decode_local, decode_meta
from atp.lane.status import TaskState
from atp.lane.table import BaseTable
from tests.simulation.toy import CHANGELOG, LETTERS, OUTPUT, Folded

if TYPE_CHECKING:
    from tests.simulation.run import Simulation
    from tests.simulation.worker import Worker


class BrokenError(AssertionError):
    """An invariant does not hold."""


def expect(held: bool, invariant: str, detail: object) -> None:
    """Raise unless it holds."""
    if not held:
        raise BrokenError(f"{invariant}: {detail}")


def rebuilt(broker: MemoryBroker, partition: int) -> dict[bytes, bytes]:
    """What the changelog alone gives."""
    rows: dict[bytes, bytes] = {}
    for record in broker.partition(CHANGELOG, partition).read(0, 1 << 60)[0]:
        if record.value is None:
            rows.pop(record.key or b"", None)
        else:
            rows[record.key or b""] = record.value
    return rows


def table_rows(rows: dict[bytes, bytes], table: BaseTable) -> dict[tuple[str, ...], Any]:
    """Decoded rows of one table."""
    decode_row = table.codec()[1]
    return {decode(key[2:]): decode_row(value) for key, value in rows.items() if key[:2] == table.id}


def i1_state_equals_an_independent_fold(run: Simulation) -> None:
    """Counts, and the events they are made of, are those of the distinct inputs."""
    folded, toy = Folded(run.broker), run.workers[0].domain
    totals: dict[str, int] = {}
    events: dict[str, dict[str, int]] = {}
    for partition in range(run.settings.partitions):
        rows = rebuilt(run.broker, partition)
        totals |= {key: row.total for (key,), row in table_rows(rows, toy.counts).items()}
        for (key, _), bucket in table_rows(rows, toy.events).items():
            events.setdefault(key, {}).update({name: event.units for name, event in bucket.rows.items()})
    expect(totals == folded.totals, "I1 state", f"{totals} is not {folded.totals}")
    expect(events == folded.events, "I1 events", f"{events} is not {folded.events}")


def i2_every_input_once_or_in_the_dead_letters(run: Simulation) -> None:
    """The dead letters are exactly what had to be refused; all else is in the state, once (I1)."""
    found: Counter[tuple[str, int, int]] = Counter()
    reasons = {}
    for record in run.broker.records(LETTERS):
        letter = msgspec.json.decode(record.value or b"")
        where = (letter["topic"], letter["partition"], letter["offset"])
        found[where] += 1
        reasons[where] = letter["reason"]
        expect(record.partition == letter["partition"], "I2 dead letters", "written to another task's partition")
    refused = Folded(run.broker).refused
    expect(reasons == refused, "I2 dead letters", f"{reasons} is not {refused}")
    repeated = [where for where, count in found.items() if count > 1]
    expect(not repeated or not run.transactional, "I2 dead letters", f"more than once: {repeated}")


def i3_disks_equal_the_changelog(run: Simulation) -> None:
    """The disk of a partition's owner is a rebuild of the changelog; no disk is ahead of it."""
    for worker in run.workers:
        for partition, rows in worker.disk.disks.items():
            owned = partition in run.group.owned.get(worker.name, ())
            if owned:
                mine = {key: value for key, value in rows.items() if key != LOCAL_KEY}
                wanted = rebuilt(run.broker, partition)
                differ = [k for k in mine.keys() | wanted.keys() if mine.get(k) != wanted.get(k)]
                expect(not differ, "I3 disk", f"{worker.name}/{partition} differs from the changelog at {differ}")
    for worker in run.workers:
        disk_is_not_ahead(run, worker)


def disk_is_not_ahead(run: Simulation, worker: Worker) -> None:
    """A disk stands at or behind the end of the changelog."""
    for partition, rows in worker.disk.disks.items():
        if LOCAL_KEY not in rows or b"\x00\x09not ours" in rows:
            continue
        position = decode_local(rows[LOCAL_KEY]).position
        log = run.broker.partition(CHANGELOG, partition)
        expect(position <= log.next, "I3 disk", f"{worker.name}/{partition} stands at {position} of {log.next}")


def i4_offsets_are_not_ahead_of_the_state(run: Simulation) -> None:
    """Committed offsets are those that the metadata row of the same commit stands for, or older ones."""
    group = run.broker.offsets.get("sim", {})
    for partition in range(run.settings.partitions):
        mine = {topic: group.get((topic, partition), 0) for topic in run.inputs}
        stands_for = _latest_meta_offsets(run.broker, partition)
        if stands_for is None:
            expect(not any(mine.values()), "I4 offsets", f"{mine} committed without state")
            continue
        ahead = {t: (at, stands_for.get(t, 0)) for t, at in mine.items() if at > stands_for.get(t, 0)}
        expect(not ahead, "I4 offsets", f"partition {partition}: ahead of the durable state: {ahead}")
        if run.transactional:
            expect(mine == stands_for, "I4 offsets", f"partition {partition}: {mine}, the state is {stands_for}")


def _latest_meta_offsets(broker: MemoryBroker, partition: int) -> dict[str, int] | None:
    for slot in reversed(broker.partition(CHANGELOG, partition).slots):
        if slot.state == COMMITTED and slot.record is not None and slot.record.key == META_KEY:
            return decode_meta(slot.record.value or b"").offsets
    return None


def i5_published_equals_the_fold_and_never_goes_back(run: Simulation) -> None:
    """The last record of a key is the fold's; none of its numbers ever fell; what state calls published was sent."""
    last: dict[str, str] = {}
    sent: set[tuple[str, str]] = set()
    for record in run.broker.records(OUTPUT):
        key, content = (record.key or b"").decode(), (record.value or b"").decode()
        if run.transactional and key in last:
            before = [int(n) for n in last[key].split("|")]
            now = [int(n) for n in content.split("|")]
            fell = any(b > n for b, n in zip(before, now, strict=True))
            expect(not fell and now != before, "I5 published", f"{key}: {content} after {last[key]}")
        last[key] = content
        sent.add((key, content))
    lost = _said_to_be_published(run) - sent
    expect(not lost, "I5 published", f"in the state, but never sent: {lost}")
    wanted = Folded(run.broker).records()
    differ = {k: (last.get(k), wanted.get(k)) for k in last.keys() | wanted.keys() if last.get(k) != wanted.get(k)}
    expect(not differ, "I5 published", f"(published, fold): {differ}")


def _said_to_be_published(run: Simulation) -> set[tuple[str, str]]:
    """Key and content of every row of the table `published` that the changelog has."""
    table = run.workers[0].domain.published
    return {
        (decode((record.key or b"")[2:])[0], table.codec()[1](record.value).content)
        for record in run.broker.records(CHANGELOG)
        if (record.key or b"")[:2] == table.id and record.value is not None
    }


def i6_lag_is_gone(run: Simulation) -> None:
    """Every input is committed, and no transaction was left open; `run` bounds the time this may take."""
    group = run.broker.offsets.get("sim", {})
    for topic in run.inputs:
        for number, partition in enumerate(run.broker.topics[topic]):
            at = group.get((topic, number), 0)
            expect(at == partition.next, "I6 lag", f"{topic}/{number} stands at {at} of {partition.next}")
    expect(not run.broker.open, "I6 lag", f"transactions left open: {sorted(run.broker.open)}")


def i7_memory_is_bounded(worker: Worker, run: Simulation) -> None:
    """Buffers, wake times, waiting rows and background work of a live worker stay small."""
    settings = run.settings
    for partition, task in worker.manager.tasks.items():
        name = f"{worker.name}/{partition}"
        buffered = task._buffer.count if task._buffer is not None else 0
        limit = len(run.inputs) * (settings.buffer_records + run.read_at_once)
        expect(buffered <= limit, "I7 buffer", f"{name} holds {buffered} records, allowed {limit}")
        heap, keys = len(task._wakes._heap), len(task._wakes._at)
        expect(heap <= 2 * keys + 64, "I7 wake times", f"{name}: {heap} entries for {keys} keys")
        for table, rows in task._tables.pairs:
            cached = len(rows.hot) + len(rows._cold)
            allowed = settings.cached_rows + 8 * (settings.turn_records + settings.final_keys)
            expect(cached <= allowed, "I7 rows", f"{name} {table.name}: {cached} rows cached")
    feeds = len(worker.log._feeds)
    expect(feeds <= settings.partitions, "I7 background", f"{worker.name}: {feeds} feeds")


def nobody_failed_without_cause(run: Simulation) -> None:
    """A task that stops for an operator does so because an agent raised, never because the engine lost its way."""
    for worker in [worker for worker in run.workers if worker.lives]:
        for partition, task in worker.manager.tasks.items():
            if task.state is TaskState.FAILED:
                caused = "as the seed wanted" in (task.last_error or "") and "stage" in (task.last_error or "")
                expect(caused, "no failure", f"{worker.name}/{partition}: {task.last_error}")


def time_never_goes_back(run: Simulation) -> None:
    """The time in the metadata rows of a partition only grows."""
    for number, partition in enumerate(run.broker.topics[CHANGELOG]):
        now_ms = 0
        for record in partition.read(0, 1 << 60)[0]:
            if record.key == META_KEY:
                found = decode_meta(record.value or b"").now_ms
                expect(found >= now_ms, "time", f"partition {number}: {found} after {now_ms}")
                now_ms = found


TOY = [
    i1_state_equals_an_independent_fold,
    i2_every_input_once_or_in_the_dead_letters,
    i5_published_equals_the_fold_and_never_goes_back,
]
ALWAYS = [
    i3_disks_equal_the_changelog,
    i4_offsets_are_not_ahead_of_the_state,
    i6_lag_is_gone,
    nobody_failed_without_cause,
    time_never_goes_back,
]

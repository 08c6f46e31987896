"""What lies between the log and the agents: buffer, sweep, wakes, packing, batches, assignment."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.lane.assignor import AbsentMetadataError, Claim, LaneAssignor, partition_count, share_out
from atp.lane.buffer import Buffer
from atp.lane.errors import DiscontinuityError, RowTooLargeError
from atp.lane.keys import encode
from atp.lane.memory import MemoryStore
from atp.lane.pack import pack, pack_rows
from atp.lane.ports import Chunk, Out, Record
from atp.lane.sweep import Sweep
from atp.lane.wakes import Wakes


def chunk(topic: str, start: int, times: list[int], end: int | None = None, gap: int = 0) -> Chunk:
    """Records at consecutive offsets with the given times, then a gap."""
    records = [Record(topic, 0, start + i, at, b"k", b"v") for i, at in enumerate(times)]
    after = start + len(times) + gap
    return Chunk(topic, 0, start, after, after if end is None else end, records)


def buffer(skew_ms: int = 1_000, **ends: int) -> Buffer:
    """A buffer of topics a and b, both from offset 0."""
    return Buffer({"a": 0, "b": 0}, {"a": ends.get("a", 0), "b": ends.get("b", 0)}, 100, skew_ms)


def test_topics_are_merged_by_time_and_stable() -> None:
    """Records of both topics come in time order; within a topic always in offset order."""
    b = buffer()
    b.deliver(chunk("a", 0, [10, 30, 20, 40]))
    b.deliver(chunk("b", 0, [15, 30, 35]))
    assert [(r.topic, r.offset) for r in b.take(100)] == [
        ("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 3)
    ]  # fmt: skip
    assert b.offsets() == {"a": 4, "b": 3}


def test_a_backlog_holds_the_other_topic_back() -> None:
    """While a has more to fetch, b runs at most the skew ahead of what a has shown."""
    b = buffer(skew_ms=100, a=10)
    b.deliver(chunk("b", 0, [50, 150, 500]))
    assert b.take(100) == []
    b.deliver(chunk("a", 0, [10, 60], end=10))
    assert [(r.topic, r.timestamp_ms) for r in b.take(100)] == [("a", 10), ("b", 50), ("a", 60), ("b", 150)]
    assert not b.ready()
    b.deliver(chunk("a", 2, [70] * 8, end=10))
    assert [r.timestamp_ms for r in b.take(100)] == [70] * 8 + [500]


def test_an_end_that_grew_without_records_holds_the_other_back() -> None:
    """A topic that looked drained counts as behind again once the broker names a later end."""
    b = buffer(skew_ms=100)
    b.deliver(chunk("a", 0, [10]))
    b.deliver(chunk("a", 1, [], end=5))
    b.deliver(chunk("b", 0, [20, 500]))
    assert [r.timestamp_ms for r in b.take(100)] == [10, 20]


def test_what_is_consumed_ends_before_what_is_buffered_or_may_come() -> None:
    """Up to `now` once all is taken and nobody has more; up to the last record seen while more may come."""
    b = buffer()
    assert b.consumed_ms(900) == 900
    b.deliver(chunk("a", 0, [10, 60], end=3))
    assert b.consumed_ms(900) == 10
    b.take(100)
    assert b.consumed_ms(900) == 60
    b.deliver(chunk("a", 2, [], end=2))
    assert b.consumed_ms(900) == 900


def test_an_answer_without_records_lets_the_other_go() -> None:
    """A topic that might have had more, and has not, holds nobody back; the task is woken."""
    b = buffer(skew_ms=100)
    b.deliver(chunk("a", 0, [10], end=2))
    b.deliver(chunk("b", 0, [500]))
    assert [r.timestamp_ms for r in b.take(100)] == [10]
    b.arrived.clear()
    b.deliver(chunk("a", 1, [], end=1))
    assert b.arrived.is_set()
    assert [r.timestamp_ms for r in b.take(100)] == [500]
    assert b.lag() == {"a": 0, "b": 0}


def test_gaps_and_markers_move_the_offset() -> None:
    """The offset to commit is the position after the poll, not the last record's plus one."""
    b = buffer()
    b.deliver(chunk("a", 0, [10], gap=2))
    b.deliver(chunk("b", 0, [], gap=5))
    assert len(b.take(100)) == 1
    assert b.offsets() == {"a": 3, "b": 5}
    b.deliver(chunk("a", 3, [20, 30], gap=1))
    assert len(b.take(1)) == 1
    assert b.offsets()["a"] == 4


def test_a_paced_topic_is_taken_in_portions_and_the_others_whole() -> None:
    """A burst in the one never makes the records of the other wait, and loses none of its own."""
    b = Buffer({"a": 0, "b": 0}, {"a": 0, "b": 0}, 100, 1_000, {"b": 2})
    b.deliver(chunk("b", 0, [10] * 5))
    b.deliver(chunk("a", 0, [20, 30, 40]))
    assert b.count == 5
    portions = [[(r.topic, r.offset) for r in b.take(100)] for _ in range(3)]
    assert portions == [[("b", 0), ("b", 1), ("a", 0), ("a", 1), ("a", 2)], [("b", 2), ("b", 3)], [("b", 4)]]
    assert b.offsets() == {"a": 3, "b": 5}


def test_a_hole_in_the_input_is_noticed() -> None:
    """A chunk that does not start where the last ended fails the task instead of losing records."""
    b = buffer()
    b.deliver(chunk("a", 0, [10]))
    b.deliver(chunk("a", 5, [20]))
    with pytest.raises(DiscontinuityError):
        b.take(100)


@given(st.lists(st.integers(1, 4), max_size=20), st.integers(1, 7))
def test_a_take_loses_nothing(sizes: list[int], limit: int) -> None:
    """Whatever the chunks and the limit, every record is taken once and in order."""
    b, at = buffer(), 0
    for size in sizes:
        b.deliver(chunk("a", at, list(range(at, at + size))))
        at += size
    taken: list[int] = []
    while b.ready():
        taken += [r.offset for r in b.take(limit)]
        assert b.offsets()["a"] == taken[-1] + 1
    assert taken == list(range(at))


def store_of(keys: list[str]) -> MemoryStore:
    """Two rows per key under one table prefix, and a row of another table."""
    rows = {b"\x00\x09" + encode((key, str(i))): b"" for key in keys for i in range(2)}
    return MemoryStore({**rows, b"\x00\x0aother\x00": b""})


def test_a_sweep_visits_every_key_once() -> None:
    """Keys, not rows; in steps; and then it is over."""
    keys = [*sorted(f"k{i}" for i in range(25)), "k\x01odd"]
    sweep = Sweep(b"\x00\x09", store_of(keys))
    sweep.start()
    seen: list[str] = []
    while sweep.active:
        seen += sweep.next(4)
    assert sorted(seen) == sorted(keys)


def test_a_sweep_started_again_covers_what_it_had_passed() -> None:
    """A second start under way goes on, wraps, and ends where it was started again."""
    keys = sorted(f"k{i:02d}" for i in range(20))
    sweep = Sweep(b"\x00\x09", store_of(keys))
    sweep.start()
    before = sweep.next(8)
    sweep.start()
    after: list[str] = []
    while sweep.active:
        after += sweep.next(3)
    assert after == keys[8:] + before


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=30))
def test_the_latest_wake_time_counts(calls: list[tuple[str, int]]) -> None:
    """Each key wakes once, at the time it was given last."""
    wakes, latest = Wakes(), dict(calls)
    for key, at in calls:
        wakes.set(key, at)
    woken = {key: now for now in range(21) for key in wakes.pop(now, 10)}
    assert woken == latest


def test_superseded_wake_times_take_no_room() -> None:
    """A key whose time moves on with every fact is one entry, not one per fact."""
    wakes = Wakes()
    for at_ms in range(10_000):
        wakes.set("k", 1_000_000 + at_ms)
    assert len(wakes._heap) < 100
    assert wakes.pop(2_000_000, 10) == ["k"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 300)), max_size=60))
def test_rows_of_one_key_share_a_record_batch(rows: list[tuple[str, int]]) -> None:
    """No batch exceeds the limit, no row is lost, and no key is split that fits."""
    packed = pack_rows("t", 0, [(k, k.encode(), b"x" * n) for k, n in rows], 1, 2_000)
    assert sorted(len(o.value or b"") for b in packed for o in b.records) == sorted(n for _, n in rows)
    for key in {k for k, _ in rows}:
        if sum(41 + n for k, n in rows if k == key) <= 2_000:
            assert len([b for b in packed if any(o.key == key.encode() for o in b.records)]) == 1


def test_a_record_too_large_for_a_batch_is_refused() -> None:
    """Better to stop with the key in the message than to be turned down by the broker for ever."""
    with pytest.raises(RowTooLargeError, match="b'k'"):
        pack("t", 0, [Out(b"k", b"x" * 1_000, 1)], 500)


def claims(**members: tuple[list[int], list[int]]) -> dict[str, Claim]:
    """Members by name with what they own and store."""
    return {name: Claim(name, *state) for name, state in members.items()}


@pytest.mark.parametrize("members", [1, 2, 3, 5, 8, 11])
def test_shares_are_fair_and_complete(members: int) -> None:
    """Every number has one owner, and shares differ by at most one."""
    shares = share_out(8, {f"m{i}": Claim(f"m{i}", [], []) for i in range(members)})
    sizes = [len(numbers) for numbers in shares.values()]
    assert sorted(n for numbers in shares.values() for n in numbers) == list(range(8))
    assert max(sizes) - min(sizes) <= 1


def test_owners_keep_what_they_have() -> None:
    """A member that joins takes only its share; the others lose nothing beyond it."""
    shares = share_out(8, claims(a=([0, 1, 2, 3], []), b=([4, 5, 6, 7], []), c=([], [])))
    assert set(shares["a"]) < {0, 1, 2, 3}
    assert set(shares["b"]) < {4, 5, 6, 7}
    assert share_out(8, claims(a=([0, 2], []), b=([], [1, 3, 5, 7])))["b"] == [1, 3, 5, 7]


def test_two_that_claim_the_same_number() -> None:
    """Stale claims cannot give a number to two members."""
    shares = share_out(4, claims(a=([0, 1, 2, 3], []), b=([0, 1, 2, 3], [])))
    assert sorted(shares["a"] + shares["b"]) == [0, 1, 2, 3]


def test_absent_metadata_is_refused() -> None:
    """An assignment from half-known topics would tear partitions apart."""
    with pytest.raises(AbsentMetadataError, match="no metadata for b"):
        partition_count({"a": {0, 1}, "b": None})
    with pytest.raises(AbsentMetadataError, match="not co-partitioned"):
        partition_count({"a": {0, 1}, "b": {0}})


def test_the_assignor_keeps_topics_together() -> None:
    """Each member gets the same partition numbers of every topic."""

    class Cluster:
        """Two topics of five partitions."""

        def partitions_for_topic(self, topic: str) -> set[int]:
            """Numbers of a topic."""
            return set(range(5))

    members: dict[str, Any] = {f"m{i}": LaneAssignor(f"w{i}", list).metadata(["b", "a"]) for i in range(3)}
    result = LaneAssignor("w0", list).assign(Cluster(), members)
    for assignment in result.values():
        by_topic = dict(assignment.assignment)
        assert by_topic["a"] == by_topic["b"]
    owned = [p for assignment in result.values() for p in dict(assignment.assignment)["a"]]
    random.shuffle(owned)
    assert sorted(owned) == list(range(5))

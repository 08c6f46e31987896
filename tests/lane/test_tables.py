"""Tables against dictionaries: whatever is done, and however often it is committed, the content agrees."""

from __future__ import annotations

import random
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atp.lane.errors import NotInBatchError
from atp.lane.keys import decode, encode, murmur2, partition_of
from atp.lane.linear import bucket_of, split_source
from atp.lane.marks import MarkTable, marks_of
from atp.lane.memory import MemoryStore
from atp.lane.rows import Rows
from atp.lane.spread import SpreadTable
from atp.lane.table import BaseTable, Table


class Row(msgspec.Struct, array_like=True):
    """A row with and without something to forget."""

    value: int
    forget_at_ms: int | None = None


class Desk:
    """A table bound to a store, with a commit that drops nothing and a crash that drops the cache."""

    def __init__(self, table: BaseTable, cached_rows: int = 8) -> None:
        self.table = table
        self.disk: dict[bytes, bytes] = {}
        self.rows: Rows = table.open(MemoryStore(self.disk), cached_rows)
        self.written = 0
        table.bind(self.rows)

    def commit(self) -> int:
        """Write the dirty rows; how many there were."""
        self.table.before_commit(self.rows)
        written = [(key, value) for _, key, value in self.rows.written()]
        self.rows.store.write(written)
        self.rows.settle()
        self.table.bind(self.rows)
        return len(written)

    def crash(self) -> None:
        """Forget everything uncommitted."""
        self.rows.drop()
        self.table.bind(self.rows)


texts = st.text(alphabet=st.sampled_from("ab\x00\x01é"), max_size=4)


@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=2))
def test_keys_keep_their_order_and_identity(pair: list[tuple[str, str]]) -> None:
    """An encoded key decodes to itself, and a key is a byte prefix of its extensions only."""
    first, second = pair
    assert decode(encode(first)) == first
    assert (encode(first) == encode(second)) == (first == second)
    assert encode(second).startswith(encode(first[:1])) == (first[0] == second[0])


@given(st.binary(max_size=20))
def test_murmur2_is_kafkas(data: bytes) -> None:
    """The partitioner agrees with the client's."""
    from aiokafka.partitioner import murmur2 as theirs

    assert murmur2(data) == theirs(data) & 0xFFFFFFFF


def test_partitions_are_those_of_the_java_client() -> None:
    """Known partition numbers of known keys."""
    assert [partition_of(key, 8) for key in ("foobar", "21", "key-1")] == [
        (murmur2(key.encode()) & 0x7FFFFFFF) % 8 for key in ("foobar", "21", "key-1")
    ]
    assert murmur2(b"21") == -973932308 & 0xFFFFFFFF
    assert murmur2(b"foobar") == -790332482 & 0xFFFFFFFF


@given(st.integers(1, 200), st.integers(0, 2**64 - 1))
def test_linear_hashing_moves_rows_of_the_split_bucket_only(buckets: int, hashed: int) -> None:
    """Adding a bucket leaves a hash where it was, or moves it from the split source to the new bucket."""
    before, after = bucket_of(hashed, buckets), bucket_of(hashed, buckets + 1)
    assert before < buckets
    assert after == before or (after == buckets and before == split_source(buckets))


operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 40), st.integers(0, 99)),
        st.tuples(st.just("delete"), st.integers(0, 5), st.integers(0, 40), st.just(0)),
        st.tuples(st.sampled_from(["commit", "crash"]), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=120,
)


@given(operations)
@settings(deadline=None)
def test_a_table_is_a_dictionary(steps: list[tuple[str, int, int, int]]) -> None:
    """Reads see this batch's writes; a crash brings back the last commit; scan sees commits only."""
    table: Table[Row] = Table("t", Row)
    desk = Desk(table)
    committed: dict[tuple[str, str], int] = {}
    live = dict(committed)
    for kind, sku, sub, value in steps:
        key = (f"s{sku}", f"n{sub}")
        if kind == "put":
            table[key] = Row(value)
            live[key] = value
        elif kind == "delete" and key in table:
            del table[key]
            del live[key]
        elif kind == "commit":
            desk.commit()
            committed = dict(live)
        elif kind == "crash":
            desk.crash()
            live = dict(committed)
        assert (key in table) == (key in live)
        assert table.get(key, Row(-1)).value == live.get(key, -1)
    assert {key: row.value for key, row in table.scan()} == committed
    for sku in {key[0] for key in committed}:
        assert {key for key, _ in table.scan((sku,))} == {key for key in committed if key[0] == sku}


@given(operations)
@settings(deadline=None)
def test_a_spread_table_is_a_dictionary_per_key(steps: list[tuple[str, int, int, int]]) -> None:
    """However its buckets split, every row is found under its subkey and nowhere else."""
    table: SpreadTable[Row] = SpreadTable("s", Row, bucket_rows=3)
    desk = Desk(table)
    committed: dict[tuple[str, str], int] = {}
    live = dict(committed)
    for kind, sku, sub, value in steps:
        key, subkey = f"s{sku % 2}", f"n{sub}"
        if kind == "put":
            table.put(key, subkey, Row(value))
            live[key, subkey] = value
        elif kind == "delete":
            table.delete(key, subkey)
            live.pop((key, subkey), None)
        elif kind == "commit":
            desk.commit()
            committed = dict(live)
        else:
            desk.crash()
            live = dict(committed)
        assert table.get(key, subkey, Row(-1)).value == live.get((key, subkey), -1)
    for key in ("s0", "s1"):
        assert {s: row.value for s, row in table.items(key)} == {s: v for (k, s), v in live.items() if k == key}


@pytest.mark.parametrize("seed", range(12))
def test_a_mark_table_is_a_dictionary_per_key(seed: int) -> None:
    """Marks are found by their hash until they expire, whatever bytes lie around them; an older answer never is."""
    draw, table = random.Random(seed), MarkTable("m", chunk_marks=3, spare_chunks=1)
    desk = Desk(table)
    committed: dict[tuple[str, int], tuple[int, int]] = {}
    live = dict(committed)
    for now in range(600):
        # Few distinct bytes, so that a mark's bytes also occur inside and across other entries.
        key, number = f"s{draw.randrange(2)}", draw.randrange(12)
        mark = struct.unpack("<Q", bytes([number % 3, 0, 0, 0, number % 2, 0, 0, number]))[0]
        step = draw.random()
        if step < 0.6:
            until = now + 40 if draw.random() < 0.5 else 1_000
            table.put(key, mark, now, until, drop_before_ms=now)
            live[key, mark] = (now, until)
        elif step < 0.9:
            desk.commit()
            committed = dict(live)
        else:
            desk.crash()
            live = dict(committed)
        answer = live.get((key, mark))
        assert table.get(key, mark) in ((answer,) if answer is None or answer[1] >= now else (answer, None))
    counting = {at: answer for at, answer in live.items() if answer[1] >= 600}
    assert {at: table.get(*at) for at in counting} == counting
    desk.commit()
    rows = {decode(key[2:]): table.codec()[1](data) for key, data in desk.disk.items()}
    assert counting.items() <= marks_of(rows).items() <= live.items()


def test_expired_marks_make_room() -> None:
    """What has expired is let go, also out of chunks that were sealed long ago."""
    table = MarkTable("m", chunk_marks=4, spare_chunks=1)
    desk = Desk(table)
    for mark in range(100):
        table.put("s", mark, mark, mark + 20, drop_before_ms=mark)
        desk.commit()
    assert len(desk.disk) < 15
    assert [table.get("s", mark) for mark in (0, 85, 99)] == [None, (85, 105), (99, 119)]


def test_a_commit_writes_one_row_for_the_marks_it_adds_to_a_key() -> None:
    """However many the key has: the chunks that were sealed are written only once, and turned over one at a time."""
    table = MarkTable("m", chunk_marks=64)
    desk = Desk(table, cached_rows=100_000)
    for mark in range(10_000):
        table.put("s", mark, mark, 1 << 60, drop_before_ms=0)
    desk.commit()
    written = []
    for mark in range(10_000, 10_640):
        table.put("s", mark, mark, 1 << 60, drop_before_ms=0)
        written.append(desk.commit())
    assert sorted(written)[-11] == 1
    assert max(written) == 4  # the tail, the sealed chunk, the oldest that goes, and the same at the end


def test_forgotten_rows_go_when_their_bucket_is_written() -> None:
    """Old rows leave with the next write of their bucket; rows without a time stay."""
    table: SpreadTable[Row] = SpreadTable("s", Row)
    desk = Desk(table)
    table.put("s", "old", Row(1, 10))
    table.put("s", "new", Row(2, 30))
    table.put("s", "kept", Row(3))
    desk.commit()
    table.forget("s", 20)
    assert desk.commit() == 0  # no bucket was written, so none was looked at
    table.forget("s", 20)
    table.put("s", "new", Row(4, 30))
    desk.commit()
    desk.crash()
    assert {s: row.value for s, row in table.items("s")} == {"new": 4, "kept": 3}


def test_a_put_costs_the_same_at_any_size() -> None:
    """With 20,000 rows of one key a put dirties a handful of small rows."""
    table: SpreadTable[Row] = SpreadTable("s", Row)
    desk = Desk(table, cached_rows=100_000)
    for i in range(20_000):
        table.put("s", f"n{i}", Row(i))
    desk.commit()
    sizes = [len(value) for value in desk.disk.values()]
    assert max(sizes) < 1_500
    table.put("s", "one more", Row(0))
    assert desk.commit() <= 4


def test_rows_are_written_once_per_commit_and_cached() -> None:
    """A row changed a hundred times is one write, and is not decoded again while it is cached."""
    table: Table[Row] = Table("t", Row)
    desk = Desk(table)
    for value in range(100):
        table["s",] = Row(value)
    assert desk.commit() == 1
    assert table["s",] is desk.rows.hot["s",]
    assert desk.commit() == 0


def test_the_cache_is_bounded() -> None:
    """Rows nobody uses any more leave the cache."""
    table: Table[Row] = Table("t", Row)
    desk = Desk(table, cached_rows=10)
    for i in range(1_000):
        table[f"s{i}",] = Row(i)
        desk.commit()
    assert len(desk.rows.hot) + len(desk.rows._cold) <= 12
    assert table["s0",].value == 0


@given(st.sets(texts, max_size=9), texts, st.integers(1, 4))
def test_record_keys_are_paged_in_the_order_of_the_store(keys: set[str], first: str, limit: int) -> None:
    """Each key once, whatever rows it has; a page begins after a key that need not exist."""
    table = Table("t", Row)
    desk = Desk(table)
    for key in keys:
        table[key, "a"] = table[key, "b"] = Row(1)
    desk.commit()
    ordered = sorted(keys, key=lambda key: encode((key,)))
    following = [key for key in ordered if not first or encode((key,)) > encode((first,))]
    assert table.keys_after(first, limit) == following[:limit]


@pytest.mark.parametrize("use", ["get", "set", "spread", "marks"])
def test_tables_refuse_to_work_outside_a_batch(use: str) -> None:
    """Without an open batch there is no telling which partition is meant."""
    calls: dict[str, Any] = {
        "get": lambda: Table("t", Row).get(("s",)),
        "set": lambda: Table("t", Row).__setitem__(("s",), Row(1)),
        "spread": lambda: SpreadTable("t", Row).put("s", "n", Row(1)),
        "marks": lambda: MarkTable("t").get("s", 1),
    }
    with pytest.raises(NotInBatchError):
        calls[use]()


def test_rows_that_are_read_ahead_are_those_that_one_gets() -> None:
    """Of the keys of a range, with all their parts; what this batch changed or deleted stays as it is."""
    desk = Desk(Table("t", Row), cached_rows=100)
    keys = [(sku, part) for sku in ("a", "b", "ba", "c") for part in ("1", "2")]
    for number, key in enumerate(keys):
        desk.table[key] = Row(number)
    desk.commit()
    desk.crash()
    desk.table["b", "1"] = Row(99)
    del desk.table["b", "2"]
    desk.table.read_ahead("b", "ba")
    assert {key: row and row.value for key, row in desk.rows.hot.items()} == {
        ("b", "1"): 99, ("b", "2"): None, ("ba", "1"): 4, ("ba", "2"): 5
    }  # fmt: skip
    assert desk.commit() == 2
    assert desk.table.get(("a", "2")) == Row(1)

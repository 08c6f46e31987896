"""What must hold after every fault: I1 to I7 of the engine, each a function that raises what is wrong."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from atp.app import lane, lanes
from atp.domain.fold import World
from atp.domain.record import comparable
from atp.lane.keys import LANE_ID, LOCAL_KEY, META_KEY
from atp.lane.keys import decode as decode_key
from atp.lane.marks import marks_of
from atp.lane.meta import Meta, decode_local, decode_meta
from atp.lane.service import Lane
from tables.intake import heads
from tables.intake import marks as marks_table
from tables.state import state as tables
from tests.faults.fold import contents, world_of
from tests.faults.watch import Place, Tail

if TYPE_CHECKING:
    from tests.faults.ground import Ground

RSS_MB_MAX, DISK_MB_MAX = 1024, 2048
CATCH_UP_S, OWNED_S = 20.0, 120.0
EVERY_ROW = 1 << 40


class BrokenError(AssertionError):
    """An invariant does not hold."""


def expect(held: bool, invariant: str, detail: object) -> None:
    """Raise unless it holds."""
    if not held:
        raise BrokenError(f"{invariant}: {detail}")


class Rebuilt(NamedTuple):
    """What the changelog alone gives for one partition of a lane."""

    rows: dict[bytes, bytes]
    offsets: dict[bytes, int]  # of the last record of each key, deletions too
    records: int
    end: int

    @property
    def meta(self) -> Meta:
        """The metadata row."""
        return decode_meta(self.rows[META_KEY]) if META_KEY in self.rows else Meta(layout=0)

    @property
    def table_rows(self) -> dict[bytes, bytes]:
        """All but the lane's own rows."""
        return {key: value for key, value in self.rows.items() if not key.startswith(LANE_ID)}


def rebuild(ground: Ground, of: Lane) -> dict[int, Rebuilt]:
    """Every partition of a lane's changelog, read from its beginning."""
    places = [(of.changelog_topic, number) for number in range(ground.partitions)]
    rows: dict[int, dict[bytes, bytes]] = {number: {} for number in range(ground.partitions)}
    offsets: dict[int, dict[bytes, int]] = {number: {} for number in rows}
    counts, ends = Counter[int](), dict.fromkeys(rows, 0)
    tail = Tail(ground.bootstrap, places)
    for message in tail.to_the_end():
        number = message.partition()
        counts[number] += 1
        ends[number] = message.offset() + 1
        offsets[number][message.key()] = message.offset()
        if message.value() is None:
            rows[number].pop(message.key(), None)
        else:
            rows[number][message.key()] = message.value()
    tail.close()
    return {number: Rebuilt(found, offsets[number], counts[number], ends[number]) for number, found in rows.items()}


class Found(NamedTuple):
    """What the checks of one moment share."""

    ground: Ground
    committed: dict[str, dict[Place, int]]  # by name of the lane; read before its changelog
    stores: dict[str, dict[int, dict[bytes, bytes]]]  # by name of the lane; copied before its changelog was read
    lanes: dict[str, dict[int, Rebuilt]]  # by name of the lane
    world: World
    expected: dict[str, Any]  # content by key, of the fold


def look(ground: Ground) -> Found:
    """Read the changelogs, fold what is new."""
    committed = ground.committed()
    ground.fold.advance()
    stores = {name: _crashed(ground, found) for name, found in lanes.items()}
    rebuilt = {name: rebuild(ground, found) for name, found in lanes.items()}
    now_ms = {number: of.meta.now_ms for number, of in rebuilt[lane.name].items()}
    world = world_of(ground.bootstrap)
    return Found(ground, committed, stores, rebuilt, world, ground.fold.records(world, now_ms))


def _crashed(ground: Ground, of: Lane) -> dict[int, dict[bytes, bytes]]:
    """Every store of a lane as a crash would leave it, once the changelog has what it stands for.

    A commit is answered before its marker is written: the stable end may come a moment after the store.
    """
    all_owned = lambda: len(ground.stores(of.full_name)) == ground.partitions  # noqa: E731
    ground.await_true(
        all_owned, OWNED_S, lambda: f"I3 owners of {of.full_name}: {sorted(ground.stores(of.full_name))}"
    )
    found = {number: ground.crashed(path) for number, path in ground.stores(of.full_name).items()}
    positions = {number: decode_local(rows[LOCAL_KEY]).position for number, rows in found.items()}
    places = {n: (of.changelog_topic, n) for n in positions}

    def behind() -> dict[int, int]:
        ends = ground.ends(places.values())
        return {n: at for n, at in positions.items() if ends[places[n]] < at}

    ground.await_true(lambda: not behind(), CATCH_UP_S, lambda: f"I3 disk: stores ahead of the changelog: {behind()}")
    return found


class _Rows:
    """A store of rows in memory."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self._rows = rows

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        return self._rows.get(key)


def i1_state_equals_an_independent_fold(found: Found) -> None:
    """The tables that the changelog gives reckon every record as the fold does, and hold exactly its marks."""
    fold = found.ground.fold
    records: dict[str, Any] = {}
    skus: set[str] = set()
    marks: dict[tuple[str, int], tuple[int, int]] = {}
    for number, rebuilt in found.lanes[lane.name].items():
        here = {decode_key(key[2:])[0] for key in rebuilt.rows if key.startswith(heads.id)}
        skus |= here
        records |= _reckoned(found, here, number, rebuilt)
        marks |= _marks(rebuilt.rows)
    expect(skus == fold.skus, "I1 SKUs", sorted(skus ^ fold.skus)[:9])
    expect(records == found.expected, "I1 state", difference(found.expected, records))
    expect(marks == fold.state.marks, "I1 marks", f"{len(marks)} marks, the fold has {len(fold.state.marks)}")


def _reckoned(found: Found, skus: set[str], number: int, rebuilt: Rebuilt) -> dict[str, Any]:
    """What the tables of one partition say of its SKUs."""
    for table in lane.world.tables:
        table.bind(table.open(_Rows(rebuilt.rows), EVERY_ROW))
    try:
        return contents(tables, skus, found.world, {number: rebuilt.meta.now_ms}, found.ground.partitions)
    finally:
        for table in lane.world.tables:
            table.unbind()


def _marks(rows: dict[bytes, bytes]) -> dict[tuple[str, int], tuple[int, int]]:
    """What has been seen, by SKU and mark."""
    decoded = marks_table.codec()[1]
    return marks_of({decode_key(k[2:]): decoded(v) for k, v in rows.items() if k.startswith(marks_table.id)})


def i2_every_input_once_or_in_the_dead_letters(found: Found) -> None:
    """Acknowledged inputs are on the topics; what the fold refuses is in the dead letters once, the rest applied."""
    ground, fold = found.ground, found.ground.fold
    for place, acknowledged in ground.acknowledged.items():
        lost = acknowledged - fold.offsets.get(place, set())
        expect(not lost, "I2 inputs", f"{place}: acknowledged, not on the topic: {sorted(lost)[:9]}")
    for place, unplaced in ground.publisher.unplaced.items():
        lost = unplaced - fold.contents.get(place, set())
        expect(not lost, "I2 inputs", f"{place}: {len(lost)} records acknowledged without an offset are not there")
    written = ground.watcher.letters
    letters = Counter((letter["topic"], letter["partition"], letter["offset"]) for _, letter in written)
    differ = list(((letters - fold.refused) + (fold.refused - letters)).items())
    told = f"{len(letters)} found, the fold refuses {len(fold.refused)}; differ: {differ[:5]}"
    expect(not differ, "I2 dead letters", told)
    strayed = [where for where, letter in written if where != letter["partition"]]
    expect(not strayed, "I2 dead letters", f"in another task's partition: {strayed[:5]}")


def i3_disks_equal_the_changelog(found: Found) -> None:
    """The store of each owner, as a crash would leave it, is a rebuild of the changelog up to its position.

    Rows that the changelog has newer are left out: the lanes tick on while they are compared.
    """
    for name, partitions in found.lanes.items():
        expect(set(found.stores[name]) == set(partitions), "I3 owners", f"{name}: {sorted(found.stores[name])}")
        for number, rows in found.stores[name].items():
            kept, rebuilt = {k: v for k, v in rows.items() if not k.startswith(LANE_ID)}, partitions[number]
            wanted, position = rebuilt.table_rows, decode_local(rows[LOCAL_KEY]).position
            newer = {key for key, at in rebuilt.offsets.items() if at >= position}
            differ = [key for key in (kept.keys() | wanted.keys()) - newer if kept.get(key) != wanted.get(key)]
            told = f"{name}/{number} at {position} differs from the changelog at {len(differ)}: {differ[:3]}"
            expect(not differ, "I3 disk", told)


def i4_offsets_are_not_ahead_of_the_state(found: Found) -> None:
    """Committed offsets are those of the metadata row of the same commit (or older, read a moment before it)."""
    for name, committed in found.committed.items():
        for (topic, number), at in committed.items():
            stands_for = found.lanes[name][number].meta.offsets.get(topic, 0)
            expect(
                at <= stands_for, "I4 offsets", f"{topic}/{number}: {at} committed, the state stands for {stands_for}"
            )


def i5_published_equals_the_fold_and_never_goes_back(found: Found) -> None:
    """The last record of every key is the fold's, and no version ever came after a higher one."""
    watcher = found.ground.watcher
    expect(not watcher.fell, "I5 versions", watcher.fell[:5])
    published = {key: _content(record) for key, record in watcher.records.items()}
    expect(published == found.expected, "I5 published", difference(found.expected, published))


def i6_lag_is_gone(found: Found) -> None:
    """Every input of every lane is committed; `Ground.settle` bounds the time this may take."""
    lag = found.ground.lag()
    expect(not lag, "I6 lag", lag)


def i7_memory_and_disk_are_bounded(found: Found) -> None:
    """No worker ever took more memory or disk than a worker may."""
    ground = found.ground
    expect(ground.rss_mb <= RSS_MB_MAX, "I7 memory", f"{ground.rss_mb} MiB, allowed {RSS_MB_MAX}")
    expect(ground.disk_mb <= DISK_MB_MAX, "I7 disk", f"{ground.disk_mb} MiB, allowed {DISK_MB_MAX}")


ALL = [
    i1_state_equals_an_independent_fold,
    i2_every_input_once_or_in_the_dead_letters,
    i3_disks_equal_the_changelog,
    i4_offsets_are_not_ahead_of_the_state,
    i5_published_equals_the_fold_and_never_goes_back,
    i6_lag_is_gone,
    i7_memory_and_disk_are_bounded,
]


def check(ground: Ground) -> None:
    """All of them; what a follower or a tick has still to catch up with is given a moment."""
    deadline = time.monotonic() + CATCH_UP_S
    found = look(ground)
    for invariant in ALL:
        while True:
            try:
                invariant(found)
                break
            except BrokenError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
                found = look(ground)


def _content(record: bytes) -> dict[str, Any]:
    """A published record without what is not content."""
    found = comparable(msgspec.json.decode(record))
    return {name: value for name, value in found.items() if name not in ("schema_version", "sku", "region")}


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Where two sets of records differ, the first few in full."""
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    told = []
    for key in wrong[:3]:
        a, b = expected.get(key) or {}, found.get(key) or {}
        fields = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
        told.append(f"{key}: " + "; ".join(f"{name}: fold {a.get(name)}, found {b.get(name)}" for name in fields))
    return f"{len(wrong)} of {len(expected)} records differ\n" + "\n".join(told)

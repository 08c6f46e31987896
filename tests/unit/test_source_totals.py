"""Control totals and sequence numbers of sources: counted per partition, joined per region."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.domain.arrivals import MOST_BLOCKS, Arrivals, Gap
from atp.domain.decoding import decode
from atp.domain.facts import STOCK_TOPIC, Fact
from atp.domain.freshness import parse_heartbeat
from atp.domain.partials import Partial, SourceCounted, SourceNumbered, parse_partial
from atp.domain.rows import MemoryRows
from atp.domain.times import HOUR_MS, MINUTE_MS, rfc3339, to_ms
from atp.domain.totals import BLOCK, KEPT_HOURS, REPORT_MS, SourceTotals, Tally, report, units_of
from tests.unit.builders import Wire

TEN = datetime(2024, 3, 12, 10, tzinfo=UTC)
TEN_MS = to_ms(TEN)
GRACE_MS = 5 * MINUTE_MS


def shipped(units: int, seq: int | None = None) -> Fact:
    """A parcel, numbered by its source."""
    topic, value = Wire().stock("shipped", TEN, node="N1", quantity=units, source_seq=seq)
    found = decode(topic, msgspec.json.encode(value))
    assert not hasattr(found, "reason"), found
    return found  # type: ignore[return-value]


class Partition:
    """A SKU task's rows, and the region it reports to."""

    def __init__(self, number: int) -> None:
        self.number, self.rows = number, MemoryRows[SourceTotals]()

    def take(self, *facts: Fact, at_ms: int = TEN_MS) -> None:
        """One batch."""
        tally = Tally()
        for fact in facts:
            tally.take(fact, STOCK_TOPIC, "uk", at_ms)
        tally.settle(self.rows, MemoryRows())

    def report(self, now_ms: int) -> list[Partial]:
        """What it tells, as it comes out of the topic."""
        said = [p for key, row in self.rows.items() for p in report(*key, row, self.number, now_ms)]
        return [parse_partial(msgspec.json.decode(msgspec.json.encode(partial))) for partial in said]


def test_facts_of_an_unknown_node_are_kept_until_its_region_is_known() -> None:
    """They are counted by node; joined to a region's row they are told as if they had come there."""
    known, late, homeless = Partition(0), Partition(0), MemoryRows[SourceTotals]()
    facts = [shipped(2, seq=5), shipped(3, seq=BLOCK), shipped(4)]
    known.take(*facts)
    tally = Tally()
    for fact in facts[:2]:
        tally.take(fact, STOCK_TOPIC, "", TEN_MS)
    tally.settle(late.rows, homeless)
    assert late.report(TEN_MS + REPORT_MS) == []
    late.take(facts[2])
    row = late.rows["ims", "uk"]
    row.join(homeless["ims", "N1"])
    assert late.report(TEN_MS + REPORT_MS) == known.report(TEN_MS + REPORT_MS)


def hear(region: Arrivals, said: list[Partial], now_ms: int = TEN_MS) -> None:
    """Let a region hear partials."""
    for partial in said:
        assert isinstance(partial, SourceCounted | SourceNumbered)
        region.hear(partial, now_ms)


def numbered(region: Arrivals, numbers: list[int], now_ms: int = TEN_MS) -> None:
    """Numbers that came through one partition."""
    partition = Partition(0)
    partition.take(*(shipped(1, seq) for seq in numbers))
    hear(region, partition.report(now_ms), now_ms)


def test_facts_and_units_of_an_hour_are_summed_over_partitions() -> None:
    """Each partition tells its latest sums; repeats change nothing, and the totals meet the heartbeat's."""
    one, two, region = Partition(1), Partition(2), Arrivals()
    one.take(shipped(3), shipped(4))
    hear(region, one.report(TEN_MS))
    one.take(shipped(1))
    two.take(shipped(10))
    for said in (one.report(TEN_MS + REPORT_MS), two.report(TEN_MS)):
        hear(region, said)
        hear(region, said)
    assert region.came(STOCK_TOPIC, TEN_MS) == (4, 18)
    assert region.shortfalls(heartbeat(4, 18), TEN_MS + HOUR_MS) == []


def heartbeat(facts: int, units: int, hour: str = rfc3339(TEN_MS)) -> Any:
    """What the source says of the hour from ten on."""
    totals = {STOCK_TOPIC: {hour: [facts, units]}}
    return parse_heartbeat({"source": "ims", "region": "uk", "watermark": rfc3339(TEN_MS), "totals": totals})


def test_an_hour_of_which_not_all_came_is_named_once_it_is_over() -> None:
    """Facts or units short; a running hour is not judged, and an hour that is none is passed over."""
    one, region = Partition(1), Arrivals()
    one.take(shipped(3))
    hear(region, one.report(TEN_MS))
    assert region.shortfalls(heartbeat(2, 9), TEN_MS + HOUR_MS - 1) == []
    [short] = region.shortfalls(heartbeat(2, 9), TEN_MS + HOUR_MS)
    assert (short.source, short.topic, short.expected_facts, short.facts) == ("ims", STOCK_TOPIC, 2, 1)
    assert (short.expected_units, short.units) == (9, 3)
    assert region.shortfalls(heartbeat(2, 9, "ten"), TEN_MS + HOUR_MS) == []


def test_a_partition_reports_what_changed_and_not_more_often_than_needed() -> None:
    """Nothing new: nothing is said; within ten seconds: not yet, and nothing is lost by waiting."""
    one = Partition(1)
    one.take(shipped(3, 7))
    first = one.report(TEN_MS)
    assert [type(partial) for partial in first] == [SourceCounted, SourceNumbered]
    assert one.report(TEN_MS + REPORT_MS) == []
    one.take(shipped(5))
    assert one.report(TEN_MS + REPORT_MS - 1) == []
    [counted] = one.report(TEN_MS + REPORT_MS)
    assert isinstance(counted, SourceCounted)
    assert (counted.facts, counted.units) == (2, 8)


def test_rows_keep_two_days_of_hours() -> None:
    """Older hours are let go; a fact of such an hour is not counted as if its hour were new."""
    one = Partition(1)
    for hour in range(KEPT_HOURS + 5):
        one.take(shipped(1), at_ms=TEN_MS + hour * HOUR_MS)
    one.take(shipped(1), at_ms=TEN_MS)
    [row] = one.rows.values()
    assert len(row.hours) == KEPT_HOURS
    assert min(row.hours) == TEN_MS + 5 * HOUR_MS


@given(st.lists(st.integers(0, 5000), max_size=60, unique=True), st.integers(1, 8), st.randoms(use_true_random=False))
def test_missing_numbers_are_named_whatever_the_partitions(
    lost: list[int], partitions: int, chance: random.Random
) -> None:
    """Numbers spread over partitions, told in any order and twice: what is left out is exactly what is missing."""
    start, end = 3000, 9000
    missing = {start + 1 + seq for seq in lost}
    numbers = [seq for seq in range(start, end + 1) if seq not in missing]
    parts = [Partition(at) for at in range(partitions)]
    for part in parts:
        part.take(*(shipped_cache(seq) for seq in numbers if seq % 7 % partitions == part.number))
    said = [partial for part in parts for partial in part.report(TEN_MS) if isinstance(partial, SourceNumbered)]
    said += said[: len(said) // 2]
    chance.shuffle(said)
    region = Arrivals()
    numbered(region, [start])
    hear(region, said)
    assert region.gaps(TEN_MS + GRACE_MS, GRACE_MS) == []
    gaps = region.gaps(TEN_MS + GRACE_MS + MINUTE_MS, GRACE_MS)
    assert {seq for gap in gaps for seq in range(gap.first_seq, gap.last_seq + 1)} == missing
    assert all(b.first_seq > a.last_seq + 1 for a, b in itertools.pairwise(gaps))
    numbered(region, sorted(missing) or [start])
    assert region.gaps(TEN_MS + GRACE_MS + MINUTE_MS, GRACE_MS) == []


_KNOWN: dict[int, Fact] = {}


def shipped_cache(seq: int) -> Fact:
    """The same parcel for the same number: building one costs more than all that is tested."""
    if seq not in _KNOWN:
        _KNOWN[seq] = msgspec.structs.replace(_KNOWN.setdefault(-1, shipped(1)), source_seq=seq)
    return _KNOWN[seq]


def test_a_gap_counts_once_later_numbers_have_waited() -> None:
    """A number may be under way in another partition: it is missing when a higher one was there for the grace."""
    region = Arrivals()
    numbered(region, [1, 2])
    numbered(region, [9], TEN_MS + 2 * MINUTE_MS)
    assert region.gaps(TEN_MS + 6 * MINUTE_MS, GRACE_MS) == []
    assert region.gaps(TEN_MS + 8 * MINUTE_MS, GRACE_MS) == [Gap(3, 8)]


def test_what_a_region_remembers_is_bounded() -> None:
    """A number that never comes is given up in the end, counted as lost; a wild number names a wild gap, no more."""
    region = Arrivals()
    numbered(region, [1])
    numbered(region, [block * BLOCK for block in range(1, MOST_BLOCKS + 10)])
    assert len(region.blocks) <= MOST_BLOCKS
    assert region.lost > 0
    numbered(region, [2**61])
    assert len(region.blocks) <= MOST_BLOCKS
    assert region.gaps(TEN_MS + GRACE_MS + MINUTE_MS, GRACE_MS)[-1].last_seq == 2**61 - 1


@pytest.mark.parametrize(
    ("fact", "units"),
    [
        (Wire().stock("counted", TEN, node="N1", quantities={"sellable": 4, "damaged": 2}), 6),
        (Wire().stock("adjusted", TEN, node="N1", state="sellable", delta=-3, reason="lost"), -3),
        (Wire().stock("returned", TEN, node="N1", quantity=2), 2),
        (Wire().reservation("R1/1", 1, "FIRM", TEN, open=4, released=1), 5),
        (Wire().receipt("P1/1", 1, "PLANNED", TEN, node="N1", expected=40), 40),
        (Wire().damage("D1", 1, TEN, node="N1", reported=7, reversed=2), 7),
    ],
)
def test_units_in_control_totals(fact: tuple[str, dict[str, Any]], units: int) -> None:
    """A fact carries what its source counts, whatever it changes."""
    found = decode(fact[0], msgspec.json.encode(fact[1]))
    assert units_of(found) == units  # type: ignore[arg-type]

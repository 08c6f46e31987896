"""The retail replay: its facts are valid, in order, complete and the same every time."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import msgspec
import pytest

from atp.domain import fold
from atp.domain.decoding import decode
from atp.domain.facts import FACT_TYPES, Fact, LineState, Receipt, Reservation, Stage, StockShipped
from atp.domain.freshness import parse_heartbeat
from atp.domain.intake import Admitted, Duplicate, Horizons
from atp.domain.nodes import parse_node
from atp.domain.policy import parse_policy
from atp.domain.refusals import Refusal
from atp.domain.times import HOUR_MS, from_ms
from atp.sources.online_retail import OnlineRetail, quarter
from atp.sources.retail_outbox import Record
from atp.sources.retail_rows import rows_of
from atp.sources.retail_time import uk_minute_ms
from atp.sources.retail_world import COUNTRIES, HEARTBEATS_TOPIC, NODES_TOPIC, POLICIES_TOPIC, region_of

# Seven weeks: longer than the opening stock lasts, so that receipts are needed.
SPAN = ("2011-07-04", "2011-08-21")


@pytest.fixture(scope="module")
def replay() -> OnlineRetail:
    """A replay of seven weeks."""
    return OnlineRetail(*SPAN)


@pytest.fixture(scope="module")
def records(replay: OnlineRetail) -> list[Record]:
    """Its records."""
    return list(replay.records())


@pytest.fixture(scope="module")
def facts(records: list[Record]) -> list[Fact]:
    """Its facts, decoded and validated as the worker does."""
    decoded = [decode(topic, value) for topic, _, value, _ in records if topic in FACT_TYPES]
    assert not [fact for fact in decoded if isinstance(fact, Refusal)]
    return [fact for fact in decoded if not isinstance(fact, Refusal)]


def of_topic(records: Iterable[Record], wanted: str) -> list[bytes]:
    """Values of one topic."""
    return [value for topic, _, value, _ in records if topic == wanted]


def _types(family: str, names: str) -> set[str]:
    return {f"{family}.{name}" for name in names.split()}


def stated_units(fact: dict[str, Any]) -> int:
    """The units of a fact, as control totals count them."""
    if "quantities" in fact:
        return sum(fact["quantities"].values())
    names = ("delta", "quantity", "requested", "expected", "reported")
    return next(int(fact[name]) for name in names if name in fact)


def digest(records: Iterable[Record]) -> str:
    """One hash over everything in some records."""
    whole = hashlib.sha256()
    for topic, key, value, recorded_ms in records:
        whole.update(b"|".join((topic.encode(), key, value, str(recorded_ms).encode())))
    return whole.hexdigest()


def folded(records: Iterable[Record]) -> tuple[fold.State, list[Duplicate | Refusal], int]:
    """(state, outcomes that were no admission, facts after which a shelf was negative) of a fold of records."""
    state, horizons, negative = fold.State.in_memory(), Horizons(), 0
    strange: list[Duplicate | Refusal] = []
    for topic, _, value, recorded_ms in records:
        if topic in FACT_TYPES:
            fact = decode(topic, value)
            outcome = fact if isinstance(fact, Refusal) else fold.apply(fact, state, horizons, recorded_ms)
            if not isinstance(outcome, Admitted):
                strange.append(outcome)
            elif outcome.fact.node is not None:
                shelf = state.stock.nodes.get((outcome.fact.sku, outcome.fact.node))
                negative += shelf is not None and min(shelf.on_hand) < 0
    return state, strange, negative


def test_records_come_in_the_order_in_which_they_were_recorded(records: list[Record]) -> None:
    """The whole merged stream is sorted by recorded_at, and every value says the time that its record says."""
    times = [recorded_ms for *_, recorded_ms in records]
    assert times == sorted(times)
    stamped = [(msgspec.json.decode(r[2])["recorded_at"], r[3]) for r in records[1000:50_000:97]]
    assert all(datetime.fromisoformat(text) == from_ms(ms) for text, ms in stamped)


def test_a_fact_is_recorded_at_most_ninety_seconds_after_it_occurred(facts: list[Fact]) -> None:
    """No fact is recorded before it occurred, nor more than 90 seconds after."""
    delays = [fact.recorded_at - fact.occurred_at for fact in facts]
    assert timedelta(0) <= min(delays)
    assert max(delays) < timedelta(seconds=90)


def test_keys_are_skus_and_identities_are_unique(records: list[Record], facts: list[Fact]) -> None:
    """A fact's key is its SKU, no event_id occurs twice."""
    keys = [key.decode() for topic, key, _, _ in records if topic in FACT_TYPES]
    assert keys == [fact.sku for fact in facts]
    assert len({fact.event_id for fact in facts}) == len(facts)


def test_source_sequences_have_no_gap(facts: list[Fact]) -> None:
    """source_seq counts 1, 2, 3… within each source and region, in order of the stream."""
    last: defaultdict[tuple[str, str | None], int] = defaultdict(int)
    for fact in facts:
        stream = (fact.source, fact.region)
        assert fact.source_seq == last[stream] + 1
        last[stream] += 1


def test_a_fold_of_the_replay_refuses_nothing_and_never_falls_below_zero(
    replay: OnlineRetail, records: list[Record]
) -> None:
    """Every fact is admitted, no shelf is ever negative, and what remains is what the plan says."""
    state, strange, negative = folded(records)
    assert strange == []
    assert negative == 0
    shelves = state.stock.nodes.values()  # type: ignore[attr-defined]
    assert sum(shelf.on_hand[0] for shelf in shelves) == replay.manifest()["units"]["closing"]


def test_every_reservation_ends_closed_and_consumes_what_its_parcels_carried(facts: list[Fact]) -> None:
    """Versions of a line count up, its last one is CLOSED, and its parcels carry exactly what it consumed."""
    lines: dict[tuple[str, int], Reservation] = {}
    parcels: defaultdict[tuple[str | None, int | None], int] = defaultdict(int)
    for fact in facts:
        if isinstance(fact, Reservation):
            before = lines.get((fact.reservation_id, fact.line))
            assert fact.version == (before.version + 1 if before else 1)
            lines[fact.reservation_id, fact.line] = fact
        elif isinstance(fact, StockShipped):
            parcels[fact.reservation_id, fact.line] += fact.quantity
    assert {line.state for line in lines.values()} == {LineState.CLOSED}
    assert all(parcels[key] == line.consumed for key, line in lines.items())


def test_receipts_are_marked_as_derived_and_end_on_the_shelf(facts: list[Fact]) -> None:
    """Every receipt names a derived source; all but the cancelled ones bring what they received to a state."""
    last = {(f.receipt_id, f.line): f for f in facts if isinstance(f, Receipt)}
    assert len(last) > 500
    assert {fact.source for fact in last.values()} == {"derived:purchasing"}
    arrived = [fact for fact in last.values() if fact.stage is not Stage.CANCELLED]
    assert all(fact.put_away > 0 and fact.put_away + fact.held == fact.received for fact in arrived)


def test_the_replay_has_every_kind_of_fact(replay: OnlineRetail) -> None:
    """Soft and firm, extended, short, released, cancelled, split, held, over, closed short: all of them occur."""
    expected = {
        *_types("reservation", "placed extended confirmed allocated shipped released cancelled short"),
        *_types("receipt", "planned confirmed shipped arrived received put_away held closed_short over cancelled"),
        *_types("stock", "counted adjusted moved shipped returned"),
        *_types("damage", "reported written_off"),
        "source.alive",
    }
    assert expected <= set(replay.manifest()["facts"])


def test_two_replays_are_equal_byte_for_byte(records: list[Record]) -> None:
    """Nothing in a replay depends on a clock, on chance or on the order of a hash table."""
    again = OnlineRetail(*SPAN)
    assert digest(again.records()) == digest(records)


def test_one_replay_can_be_read_twice(replay: OnlineRetail, records: list[Record]) -> None:
    """Reading the records changes nothing in the plan behind them."""
    assert digest(replay.records()) == digest(records)


def test_a_limit_stops_the_stream(records: list[Record]) -> None:
    """`limit` gives the first records of the same stream."""
    assert list(OnlineRetail(*SPAN, limit=500).records()) == records[:500]


def test_facts_are_the_decoded_records(replay: OnlineRetail, records: list[Record], facts: list[Fact]) -> None:
    """facts() gives structs for facts and plain documents for references, policies and heartbeats."""
    given = list(islice(replay.facts(), 5000))
    assert [topic for topic, _, _ in given] == [topic for topic, *_ in records[:5000]]
    structs = [fact for topic, _, fact in given if topic in FACT_TYPES]
    assert structs == facts[: len(structs)]


def test_references_and_policies_come_first_and_are_valid(records: list[Record]) -> None:
    """Each region has two or three nodes and its own time zone, and the domain accepts all documents."""
    nodes = [parse_node(msgspec.json.decode(value)) for value in of_topic(records, NODES_TOPIC)]
    policies = [parse_policy(msgspec.json.decode(value)) for value in of_topic(records, POLICIES_TOPIC)]
    per_region = {region: sum(node.region == region for node in nodes) for region in COUNTRIES}
    assert set(per_region.values()) <= {2, 3}
    assert {"default", *(f"region:{region}" for region in COUNTRIES)} <= {policy.scope for policy in policies}
    head = {topic for topic, *_ in records[: len(nodes) + len(policies)]}
    assert head == {NODES_TOPIC, POLICIES_TOPIC}


def test_heartbeats_are_hourly_and_their_totals_are_those_of_the_stream(records: list[Record]) -> None:
    """The control totals of a source, region and hour equal the facts that were sent in that hour."""
    beats = [parse_heartbeat(msgspec.json.decode(value)) for value in of_topic(records, HEARTBEATS_TOPIC)]
    told = {
        (beat.source, beat.region, topic, hour): list(total)
        for beat in beats
        for topic, hours in beat.totals.items()
        for hour, total in hours.items()
    }
    counted: defaultdict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for topic, _, value, recorded_ms in records:
        if topic in FACT_TYPES:
            fact = msgspec.json.decode(value)
            hour = datetime.fromtimestamp(recorded_ms // HOUR_MS * 3600, UTC)
            total = counted[fact["source"], fact["region"], topic, f"{hour:%Y-%m-%dT%H}:00:00.000Z"]
            total[:] = total[0] + 1, total[1] + stated_units(fact)
    assert told == counted
    watermarks = sorted({beat.watermark for beat in beats})
    assert {b - a for a, b in pairwise(watermarks)} == {timedelta(hours=1)}


def test_uk_minutes_become_utc() -> None:
    """Minutes are UK wall-clock time: an hour ahead of UTC in summer, even on the day on which clocks change."""
    assert from_ms(uk_minute_ms("2011-07-01 12:30:00")) == datetime(2011, 7, 1, 11, 30, tzinfo=UTC)
    assert from_ms(uk_minute_ms("2011-10-30 12:30:00")) == datetime(2011, 10, 30, 12, 30, tzinfo=UTC)
    assert from_ms(uk_minute_ms("2011-12-01 12:30:00")) == datetime(2011, 12, 1, 12, 30, tzinfo=UTC)


def test_rows_of_a_minute_keep_their_order_within_the_minute() -> None:
    """The busiest minute, 1,114 rows, is spread in file order without leaving the minute."""
    minute_ms = uk_minute_ms("2011-10-31 14:41:00")
    rows = [row for row in rows_of("2011-10-31", "2011-10-31") if minute_ms <= row.time_ms < minute_ms + 60_000]
    assert len(rows) == 1114
    assert [row.time_ms for row in rows] == sorted({row.time_ms for row in rows})


def test_every_country_has_a_region() -> None:
    """Known countries go to the region that serves them, all others to the rest of the world."""
    found = [region_of(c) for c in ("United Kingdom", "EIRE", "Austria", "Netherlands", "Malta", "Unspecified")]
    assert found == ["uk", "ireland", "dach", "france-benelux", "south", "rest"]


@pytest.mark.slow
def test_the_christmas_quarter_folds_without_refusal() -> None:
    """What the demonstration replays: the last quarter, nothing refused, nothing negative, all delivered."""
    replay = quarter()
    state, strange, negative = folded(replay.records())
    assert (strange, negative) == ([], 0)
    shelves = state.stock.nodes.values()  # type: ignore[attr-defined]
    assert sum(shelf.on_hand[0] for shelf in shelves) == replay.manifest()["units"]["closing"]

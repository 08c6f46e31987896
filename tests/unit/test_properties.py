"""Laws of the pure core, for whatever history Hypothesis can think of.

ATP_PROPERTY_EXAMPLES=5000 searches further and at random; without it the same examples are tried every time.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from unittest import mock

import msgspec
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from atp.domain.decoding import decode
from atp.domain.facts import DAMAGES_TOPIC, FACT_TYPES, RECEIPTS_TOPIC, RESERVATIONS_TOPIC, STOCK_TOPIC
from atp.domain.fold import apply
from atp.domain.intake import Admitted, Duplicate, misplaced
from atp.domain.record import content_bytes, record_bytes
from atp.domain.refusals import Refusal
from atp.domain.reservations import QUARTER_MS
from atp.domain.times import to_ms
from tests.unit.builders import Fact, Product, Wire
from tests.unit.fact_histories import DAY_ONE, NODES, NOW, STATES, History, histories, products

FURTHER = os.environ.get("ATP_PROPERTY_EXAMPLES")


def law(examples: int) -> settings:
    """Repeatable, and bounded by the number of examples rather than by the clock."""
    return settings(
        max_examples=int(FURTHER) if FURTHER else examples,
        derandomize=FURTHER is None,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def fresh(product: Product) -> Product:
    """An empty product in the same world."""
    found = Product(product.now)
    found.world = product.world
    return found


def told(product: Product, history: Iterable[tuple[str, Fact]]) -> Product:
    """The product after a history."""
    found = fresh(product)
    found.take_all(history)
    return found


def contents(product: Product, now: datetime = NOW) -> dict[str, bytes]:
    """The canonical content of every record, as published."""
    return {region: content_bytes(found.content) for region, found in product.reckonings(now).items()}


@contextmanager
def tail_of(entries: int) -> Iterator[None]:
    """Journals that seal their tail after so many entries, and merge every two chunks."""
    with mock.patch("atp.domain.stock.TAIL_ENTRIES", entries), mock.patch("atp.domain.journal.MERGED_CHUNKS", 2):
        yield


# --- the law of order


@given(products(), histories(), st.data())
@law(250)
def test_state_is_a_function_of_the_set_of_facts(product: Product, history: History, data: st.DataObject) -> None:
    """However often and in whatever order a conflict-free history arrives, the records are the same."""
    repeated = history + data.draw(st.lists(st.sampled_from(history), max_size=8) if history else st.just([]))
    shuffled = data.draw(st.permutations(repeated))
    with tail_of(3):
        assert contents(told(product, shuffled)) == contents(told(product, history))


@given(products(), histories(), st.data())
@law(120)
def test_the_size_of_the_journals_tail_changes_nothing(
    product: Product, history: History, data: st.DataObject
) -> None:
    """Sealing, re-dating across chunks and counting over them give what one long list gives."""
    shuffled = data.draw(st.permutations(history))
    with tail_of(10_000):
        expected = told(product, shuffled)
    with tail_of(3):
        found = told(product, shuffled)
    assert contents(found) == contents(expected)


@given(products(), st.lists(histories(counts=3), min_size=3, max_size=5), st.data())
@law(60)
def test_pruned_journals_answer_like_whole_ones(
    product: Product, chapters: list[History], data: st.DataObject
) -> None:
    """Over weeks, chunks older than the window are dropped; nothing that is still admitted misses them."""
    story = []
    for number, chapter in enumerate(chapters):
        for topic, value in data.draw(st.permutations(chapter)):
            story.append((topic, moved(value, timedelta(hours=37 * number), f"c{number}")))
    product.now = NOW + timedelta(days=30)
    results = []
    for entries in (3, 10_000):
        with tail_of(entries):
            found = fresh(product)
            outcomes = [type(found.take(topic, value)) for topic, value in story]
            results.append((outcomes, contents(found, product.now)))
    assert results[0] == results[1]


def moved(value: Fact, by: timedelta, prefix: str) -> Fact:
    """The same fact later; documents go on, events are new ones."""
    instants = {
        name: (datetime.fromisoformat(value[name]) + by).isoformat()
        for name in ("occurred_at", "recorded_at", "as_of", "expires_at")
        if name in value
    }
    versions = {"version": value["version"] + 6 * int(prefix[1:])} if "version" in value else {}
    return {**value, **instants, **versions, "event_id": f"{prefix}-{value['event_id']}"}


def test_an_effect_at_the_edge_of_the_window_is_found_by_the_oldest_legal_count() -> None:
    """What a count may still bring into doubt is not pruned, wherever chunks end."""
    edge = DAY_ONE + timedelta(hours=72, milliseconds=500)
    found = []
    for entries in (3, 10_000):
        with tail_of(entries):
            product, wire = Product(edge), Wire()
            product.node("N1", "uk")
            near = [(DAY_ONE - timedelta(minutes=1), 1), (DAY_ONE - timedelta(minutes=2), 1), (DAY_ONE, -1)]
            for at, delta in [*near, *[(edge, 1)] * 3]:
                body = {"node": "N1", "state": "sellable", "delta": delta, "reason": "found"}
                product.take_all([wire.stock("adjusted", at, **body)])
            as_of = DAY_ONE + timedelta(milliseconds=700)
            body = {"node": "N1", "quantities": {"sellable": 10}}
            product.take_all([wire.stock("counted", as_of, recorded=edge, **body)])
            found.append(product.records()["uk"])
    assert found[0] == found[1]
    assert found[0]["on_hand"]["sellable"] == 10 - 1 + 3


def test_small_tails_are_sealed() -> None:
    """The patches that the properties above rely on take hold: two chunks of three, merged."""
    product, wire = Product(NOW), Wire()
    with tail_of(3):
        for _ in range(7):
            body = {"node": "N1", "state": "sellable", "delta": 1, "reason": "found"}
            product.take_all([wire.stock("adjusted", DAY_ONE, **body)])
    assert [len(chunk.entries) for chunk in product.state.stock.chunks.values()] == [6]


# --- what ATP means


@given(products(), histories())
@law(80)
def test_atp_now_is_the_largest_promise_that_leaves_no_bucket_negative(product: Product, history: History) -> None:
    """Promise unit by unit as real demand due now: it holds up to ATP_0 and breaks a bucket at the next one."""
    before = told(product, history).reckonings().get("uk")
    assume(before is not None)
    atp = before.waterfall.atp[0]
    if atp < 0:
        assert (before.content.atp, before.content.shortage) == (0, -atp)
        assert min(before.waterfall.projected) == atp
        return
    assert (before.content.atp, before.content.shortage) == (atp, 0)
    for promised in {0, 1, atp // 2, atp - 1, atp, atp + 1, atp + 2} - {-1}:
        wire = Wire()
        wire.built = 1000
        promise = wire.reservation("NEW/1", 1, "FIRM", NOW, open=promised)
        projected = told(product, [*history, promise]).reckonings()["uk"].waterfall.projected
        assert all(units >= 0 for units in projected) is (promised <= atp)


@given(products(), histories())
@law(80)
def test_every_bucket_is_the_least_of_what_follows(product: Product, history: History) -> None:
    """ATP_k = min(P_k … P_H), the published buckets say the same, and no channel gets more than its ATP."""
    for found in told(product, history).reckonings().values():
        projected, atp = found.waterfall.projected, found.waterfall.atp
        assert list(atp) == [min(projected[at:]) for at in range(len(projected))]
        today = NOW.astimezone(product.world.policies.resolve("S", "uk").calendar.zone).date()
        buckets = {bucket.date: bucket.atp for bucket in found.content.buckets}
        shown = [max(0, units) for units in atp]
        changes = [at for at in range(len(shown)) if at == 0 or shown[at] != shown[at - 1]]
        assert buckets == {(today + timedelta(days=at)).isoformat(): shown[at] for at in changes}
        for channel in found.content.channels.values():
            assert 0 <= channel.conservative <= channel.confident <= found.content.atp
            assert channel.sellable in (channel.confident, channel.conservative)


@given(products(), histories(counts=0))
@law(150)
def test_units_are_conserved(product: Product, history: History) -> None:
    """Without counts, what a node holds is what crossed its outside border; moves and holds only shift it."""
    expected: Counter[str] = Counter()
    tops: dict[object, Fact] = {}
    for topic, value in history:
        kind, node = value["type"], value.get("node")
        if kind == "stock.adjusted":
            expected[node] += value["delta"]
        elif kind == "stock.returned":
            expected[node] += value["quantity"]
        elif kind == "stock.shipped":
            expected[node] -= value["quantity"]
        elif topic in (RECEIPTS_TOPIC, DAMAGES_TOPIC):
            document = (topic, value.get("receipt_id") or value["damage_id"], value.get("line"))
            tops[document] = max(value, tops.get(document, value), key=lambda fact: fact["version"])
    for value in tops.values():
        expected[value["node"]] += value.get("received", 0) - value.get("written_off", 0)
    with tail_of(3):
        nodes = told(product, history).state.stock.nodes
    assert {node: sum(stock.on_hand) for (_, node), stock in nodes.items() if sum(stock.on_hand)} == {
        node: units for node, units in expected.items() if units
    }


@given(products(), histories(), st.sampled_from(["uk", "de"]))
@law(60)
def test_reservations_are_the_sum_of_the_highest_versions(product: Product, history: History, region: str) -> None:
    """Reserved units are the open ones of each line's highest version; SOFT from its expiry on counts nothing."""
    tops: dict[object, Fact] = {}
    for topic, value in history:
        if topic == RESERVATIONS_TOPIC:
            key = (value["reservation_id"], value["line"])
            tops[key] = max(value, tops.get(key, value), key=lambda fact: fact["version"])
    expected = dict.fromkeys(("soft", "firm", "allocated", "backordered"), 0)
    regions = {node: found.region for node, found in product.world.nodes.items()}
    for value in tops.values():
        assert value["requested"] == value["open"] + value["consumed"] + value["released"]
        where = regions.get(value["node"]) if value["state"] == "ALLOCATED" else value["region"]
        live = value["state"] != "SOFT" or datetime.fromisoformat(value["expires_at"]) > NOW
        if where == region and live and value["state"] != "CLOSED":
            expected[value["state"].lower()] += value["open"]
    record = told(product, history).records().get(region)
    assert (record["reserved"] if record else dict.fromkeys(expected, 0)) == expected


# --- versions, time, enrichment


@given(products(), histories(), st.data())
@law(80)
def test_a_lower_version_of_a_reservation_changes_no_demand(
    product: Product, history: History, data: st.DataObject
) -> None:
    """Reserved units and projected demand stay as the highest version said, whatever comes below it."""
    found = told(product, history)
    lines = [value for topic, value in history if topic == RESERVATIONS_TOPIC]
    assume(lines)
    top = data.draw(st.sampled_from(lines))
    known = [v["version"] for v in lines if (v["reservation_id"], v["line"]) == (top["reservation_id"], top["line"])]
    free = [version for version in range(1, top["version"]) if version not in known]
    assume(free)
    before = found.reckonings()
    body = {"open": 7, "consumed": 0, "released": 0, "requested": 7, "state": "FIRM", "region": top["region"]}
    late = {**top, **body, "event_id": "late", "version": free[-1]}
    outcome = found.take(RESERVATIONS_TOPIC, late)
    assert not isinstance(outcome, Refusal)
    for region, then in before.items():
        now = found.reckonings()[region]
        assert now.content.reserved == then.content.reserved
        assert list(now.waterfall.demand) == list(then.waterfall.demand)


@given(products(), histories(), st.data())
@law(60)
def test_repeats_and_conflicts_of_a_version_change_nothing(
    product: Product, history: History, data: st.DataObject
) -> None:
    """The same version again is a duplicate, under a new event_id too; with another body it is refused."""
    documents = [line for line in history if "version" in line[1]]
    assume(documents)
    found = told(product, history)
    before = contents(found)
    topic, value = data.draw(st.sampled_from(documents))
    again = {**value, "event_id": "again", "correlation_id": "other", "backfill": value.get("backfill", False)}
    assert isinstance(found.take(topic, again), Duplicate)
    units = {
        RESERVATIONS_TOPIC: ("released", "requested"),
        RECEIPTS_TOPIC: ("expected",),
        DAMAGES_TOPIC: ("reported",),
    }
    other = {**again, "event_id": "other", **{name: value[name] + 1 for name in units[topic]}}
    assert isinstance(found.take(topic, other), Refusal)
    assert contents(found) == before


@given(products(), histories(), st.lists(st.integers(-60, 2000), min_size=1, max_size=4))
@law(80)
def test_reckoning_depends_on_now_only(product: Product, history: History, minutes: list[int]) -> None:
    """Having looked at other times, before or after, changes nothing of what is seen at a time."""
    found, last = told(product, history), NOW + timedelta(minutes=minutes[-1])
    for minute in minutes:
        contents(found, NOW + timedelta(minutes=minute))
    assert contents(found, last) == contents(told(product, history), last)


@given(products(), histories(), st.integers(0, 2 * 24 * 60))
@law(100)
def test_a_record_holds_until_it_says(product: Product, history: History, minutes: int) -> None:
    """Within one day and up to `valid_until_ms` time changes nothing, so nobody has to look earlier."""
    found, later = told(product, history), NOW + timedelta(minutes=minutes)
    for region, reckoning in found.reckonings().items():
        day = product.world.policies.resolve("S", region).calendar.day(to_ms(NOW))
        until_ms = min(reckoning.valid_until_ms, day.end_ms)
        assert until_ms > to_ms(NOW)
        for at_ms in {min(to_ms(later), until_ms - 1), until_ms - 1}:
            at = NOW + timedelta(milliseconds=at_ms - to_ms(NOW))
            assert found.reckonings(at)[region].content == reckoning.content


@given(products(), histories(), st.lists(st.binary(max_size=30), max_size=4))
@law(25)
def test_substitutions_never_touch_atp(product: Product, history: History, noise: list[bytes]) -> None:
    """Enrichment is no fact of the core: whatever it says is refused there, and every record stays as it was."""
    found = told(product, history)
    before = contents(found)
    rule = json.dumps({"sku": "S", "substitute": "T", "from": "2024-03-12"}).encode()
    for value in [rule, *noise]:
        outcome = decode("merchandising.substitutions.v1", value)
        assert isinstance(outcome, Refusal)
        assert outcome.reason.value == "UNKNOWN_TOPIC"
    assert contents(found) == before


# --- no input breaks the core

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["S", "1.0", "sellable", "FIRM", "2024-03-12T10:00:00Z", "2024-03-12", "reservation.placed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EXTREMES = st.sampled_from(
    [
        -1,
        0,
        1,
        10**12,
        10**12 + 1,
        2**31 + 1,
        2**63,
        "",
        "\x00",
        "\x1f",
        "N\x1f1",
        "é" * 64,
        "x" * 129,
        "0001-01-01T00:00:00+14:00",
        "0001-01-01",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31",
        "1969-12-31T23:59:59.999Z",
        "2024-03-12T10:00:00",
        "2024-03-14T12:04:59.999Z",
        "2.0",
        None,
    ]
)


def published(product: Product) -> None:
    """Every record can be written, whatever was taken."""
    for (sku,), head in product.state.heads.items():
        for region, found in product.reckonings(sku=sku).items():
            record = record_bytes(sku, region, 1, head.as_of_ms, to_ms(NOW), content_bytes(found.content), b"{}")
            msgspec.json.decode(record)


@given(st.sampled_from([*FACT_TYPES, "other"]), st.binary(max_size=80) | JSON.map(lambda v: json.dumps(v).encode()))
@example(STOCK_TOPIC, b"[" * 100_000)
@example(STOCK_TOPIC, b'{"a":' * 100_000)
@example(STOCK_TOPIC, b'{"type":"stock.returned","quantity":' + b"9" * 5000 + b"}")
@example(STOCK_TOPIC, b'{"type":"stock.returned","sku":"\\ud800"}')
@example(RESERVATIONS_TOPIC, b'{"schema_version":"2.0"}')
@law(400)
def test_no_bytes_break_the_decoder(topic: str, value: bytes) -> None:
    """Whatever the bytes of a record, the answer is a fact or a refusal with a reason and a sentence."""
    outcome = decode(topic, value)
    assert isinstance(outcome, Refusal)
    assert outcome.message
    assert isinstance(decode(topic, None), Refusal)


@given(products(), histories(counts=2), st.data())
@law(250)
def test_no_mutation_of_a_fact_breaks_the_core(product: Product, history: History, data: st.DataObject) -> None:
    """Facts with fields changed at random are taken, known or refused by name; records can still be written."""
    assume(history)
    for _ in range(data.draw(st.integers(1, 6))):
        topic, value = data.draw(st.sampled_from(history))
        changes = data.draw(st.dictionaries(st.sampled_from(sorted(value)), EXTREMES | JSON, max_size=3))
        gone = data.draw(st.sets(st.sampled_from(sorted(value)), max_size=1))
        mutant = {name: item for name, item in {**value, **changes}.items() if name not in gone}
        at = data.draw(st.integers(0, len(history)))
        history = [*history[:at], (topic, mutant), *history[at:]]
    found = fresh(product)
    horizons = product.world.policies.horizons()
    with tail_of(3):
        for topic, value in history:
            fact = decode(topic, json.dumps(value).encode())
            outcome = fact
            if not isinstance(fact, Refusal):
                assert misplaced(fact, fact.sku) is None
                outcome = apply(fact, found.state, horizons, to_ms(NOW))
            assert isinstance(outcome, Admitted | Duplicate | Refusal)
            if isinstance(outcome, Refusal):
                assert outcome.message
    published(found)


@given(histories())
@law(25)
def test_the_histories_are_what_they_claim(history: History) -> None:
    """Guards the tests above: the generated histories are free of conflicts and cover nodes, states and types."""
    assert len({value["event_id"] for _, value in history}) == len(history)
    for _, value in history:
        assert value.get("node", "N1") in NODES
        assert set(value.get("quantities", {})) <= set(STATES)
        assert to_ms(datetime.fromisoformat(value["recorded_at"])) <= to_ms(NOW)
    assert 24 * 60 * 60_000 % QUARTER_MS == 0

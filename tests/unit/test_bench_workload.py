"""The benchmark measures what it says only if its inputs are valid and repeatable."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import msgspec

from atp.domain.facts import FACT_TYPES, RESERVATIONS_TOPIC, STOCK_TOPIC, Reservation
from bench.workload import Record, Workload

COUNT = 30_000


def _facts(count: int, seed: int = 1) -> list[Record]:
    return list(itertools.islice(Workload(COUNT, seed, skus=500), count))


def test_every_fact_of_the_workload_is_valid() -> None:
    """Each fact decodes as its topic's type, is recorded in order, and its line adds up."""
    decoders = {topic: msgspec.json.Decoder(type_) for topic, type_ in FACT_TYPES.items()}
    before_ms = 0
    for record in _facts(COUNT):
        fact = decoders[record.topic].decode(record.value)
        assert fact.occurred_at <= fact.recorded_at
        assert round(fact.recorded_at.timestamp() * 1000) == record.recorded_ms >= before_ms
        before_ms = record.recorded_ms
        if isinstance(fact, Reservation):
            assert fact.requested == fact.open + fact.consumed + fact.released


def test_reservation_versions_grow_by_one() -> None:
    """A line's versions are 1, 2, 3 …: its life is whole."""
    versions: dict[str, list[int]] = defaultdict(list)
    for record in _facts(COUNT):
        if record.topic == RESERVATIONS_TOPIC:
            fact = msgspec.json.decode(record.value)
            versions[fact["reservation_id"]].append(fact["version"])
    assert all(found == list(range(1, len(found) + 1)) for found in versions.values())


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Two runs compare because their inputs are equal; another seed gives others."""
    assert _facts(2000) == _facts(2000)
    assert _facts(2000) != _facts(2000, seed=2)


def test_all_four_topics_have_their_share() -> None:
    """Stock and reservations dominate; receipts and damages are there."""
    share = {topic: count / COUNT for topic, count in Counter(r.topic for r in _facts(COUNT)).items()}
    assert share.keys() == FACT_TYPES.keys()
    assert share[STOCK_TOPIC] > 0.35
    assert share[RESERVATIONS_TOPIC] > 0.35

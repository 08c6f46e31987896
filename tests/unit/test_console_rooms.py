"""What the console's rooms show: pure functions of the documents that were kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from atp import topics
from atp.domain.times import rfc3339
from atp.facade.console import freshness, kept, modes, reconciliation
from atp.facade.documents import COURSE_KEPT, Documents, by_key

NOW_MS = 1_800_000_000_000
EXCEPTION = {
    "exception_id": "x-1", "sku": "S", "region": "uk", "node": "n1", "reservation_id": None, "line": None,
    "kind": "stock", "source": "wms", "snapshot_id": "s1", "as_of": "2026-01-05T10:00:00Z", "cause": "LOST_UNITS",
    "owner": "inventory management", "state": "PROPOSED", "units": 12, "over_promised_units": 12,
    "ours": {"sellable": 20}, "theirs": {"sellable": 8}, "opened_at": "2026-01-05T10:01:00Z",
    "updated_at": "2026-01-05T10:01:00Z", "history": [], "correction": None,
}  # fmt: skip
VERDICT = {
    "type": "snapshot.judged", "event_id": "e", "region": "uk", "source": "wms", "kind": "stock", "snapshot_id": "s1",
    "as_of": "2026-01-05T10:00:00Z", "outcome": "DRIFT", "keys": 20, "drifting_keys": 2, "units": 100,
    "drifted_units": 14, "over_promised_units": 14, "judged_at": "2026-01-05T10:02:00Z", "policy_version": 1,
}  # fmt: skip
BALANCE = {
    "type": "source.balanced", "event_id": "b", "region": "uk", "source": "wms", "gaps": [[5, 7]], "lost": 0,
    "shortfalls": [], "judged_at": "2026-01-05T10:02:00Z",
}  # fmt: skip


def stamp(ago_ms: int) -> str:
    """An instant before now."""
    return rfc3339(NOW_MS - ago_ms)


class Message:
    """A record as a follower hands it on."""

    def __init__(self, topic: str, key: str, value: Any, partition: int = 0, offset: int = 0) -> None:
        self._topic, self._key, self._partition, self._offset = topic, key.encode(), partition, offset
        self._value = None if value is None else msgspec.json.encode(value)

    def topic(self) -> str:
        """Its topic."""
        return self._topic

    def key(self) -> bytes:
        """Its key."""
        return self._key

    def value(self) -> bytes | None:
        """Its value; None: a deletion."""
        return self._value

    def partition(self) -> int:
        """Its partition."""
        return self._partition

    def offset(self) -> int:
        """Its offset."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """When it was written."""
        return 1, NOW_MS


@pytest.fixture
def documents() -> Documents:
    """What the console keeps; nothing is read."""
    return Documents({}, kept.STATES, kept.EVENTS, kept.COURSES)


def test_a_settled_exception_is_not_kept(documents: Documents) -> None:
    """It takes its place until it is VERIFIED or REJECTED; then nothing of it stays in memory."""
    topic = topics.EXCEPTIONS.name
    for state, left in (
        ("OPEN", ["x-1"]),
        ("APPLIED", ["x-1"]),
        ("VERIFIED", []),
        ("OPEN", ["x-1"]),
        ("REJECTED", []),
    ):
        documents.take(Message(topic, "x-1", {**EXCEPTION, "state": state}))
        assert list(documents.of(topic)) == left


def test_of_results_the_latest_of_a_source_and_kind_is_kept(documents: Documents) -> None:
    """A topic of facts, keyed by region, becomes a row per region, source and kind; balances have their own."""
    for value in (VERDICT, BALANCE, {**VERDICT, "kind": "reservations"}, {**VERDICT, "outcome": "CLEAN"}):
        documents.take(Message(topics.RESULTS.name, "uk", value))
    found = documents.of(topics.RESULTS.name)
    assert {name: row.get("outcome") for name, row in found.items()} == {
        "uk|wms|stock": "CLEAN", "uk|wms|": None, "uk|wms|reservations": "DRIFT"
    }  # fmt: skip


def test_a_partition_that_begins_anew_takes_only_its_own_with_it(documents: Documents) -> None:
    """What came from the other partitions of the topic stays, documents and events alike."""
    for topic in (topics.EXCEPTIONS.name, topics.MODE_CHANGES.name):
        for partition in (0, 1):
            documents.take(Message(topic, f"x-{partition}", {**EXCEPTION}, partition))
        documents.forget((topic, 1))
    assert list(documents.of(topics.EXCEPTIONS.name)) == ["x-0"]
    assert [event.partition for event in documents.events(topics.MODE_CHANGES.name)] == [0]


def test_the_course_of_a_document_is_bounded() -> None:
    """Only the latest samples stay, in their order, however long the product runs."""
    found = Documents({}, {"t": by_key}, (), {"t": lambda document: document["n"]})
    for number in range(COURSE_KEPT + 10):
        found.take(Message("t", "k", {"n": number}))
    assert found.course("t", "k") == list(range(10, COURSE_KEPT + 10))


def test_a_channel_may_suffer_from_several_kinds_at_once() -> None:
    """Late and wrong at once are told as two; a row that names only its cause is understood too."""
    both = {"region": "uk", "channel": "web", "mode": "CONSERVATIVE", "degradation": ["DELAYED", "UNTRUSTED"]}
    held = {"region": "uk", "channel": "app", "mode": "SUSPENDED", "causes": ["OPERATOR", "DRIFT"],
            "degradation": ["UNTRUSTED"], "cause": "OPERATOR", "since": stamp(0)}  # fmt: skip
    bare = {"region": "uk", "channel": "store", "mode": "CONSERVATIVE", "cause": "STALE_SOURCE"}
    documents = {"1": both, "2": held, "3": bare, "4": {"region": "uk"}}
    rows = modes.rows({}, documents, lambda _key: NOW_MS - 5, lambda _region, _channel: "PRODUCT")
    assert {row["channel"]: (row["kinds"], row["since"]) for row in rows} == {
        "web": (["DELAYED", "UNTRUSTED"], stamp(5)),
        "app": (["UNTRUSTED", "OPERATOR"], stamp(0)),
        "store": (["DELAYED"], stamp(5)),
    }


def region(name: str, ago_ms: int, **sources: Any) -> dict[str, Any]:
    """A region's freshness."""
    figures = {"target_ms": 300_000, "target_share": 0.95, "good_checks": 8, "checks": 10, "budget_left": -3.0}
    return {
        "region": name,
        "as_of": stamp(ago_ms),
        "state": "SPENT",
        "policy_version": 1,
        **figures,
        "sources": sources,
    }


def test_freshness_has_a_row_per_region_and_says_when_nobody_measures() -> None:
    """Six missed checks in a row mean that nobody measures; the course of a source is seconds behind, by check."""
    late = {"watermark": stamp(90_000), "silent": True, "facts": 4, "in_time": 3, "lag_p50_ms": 5, "lag_p95_ms": 9}
    documents = {"uk": region("uk", 1_000, wms=late), "dach": region("dach", 60_001), "x": {"region": "x"}}
    courses = {"uk": [freshness.behind_s(document) for document in documents.values()]}
    dach, uk = freshness.rows(documents, courses, NOW_MS)
    assert (dach["region"], dach["measured"], uk["measured"]) == ("dach", False, True)
    assert (uk["budget_left"], uk["target_s"]) == (-3.0, 300)
    [source] = uk["sources"]
    assert (source["source"], source["silent"], source["behind_s"]) == ("wms", True, [89])
    assert freshness.unmeasured(documents, NOW_MS) == ["dach"]


def test_an_instant_that_is_none_is_left_out() -> None:
    """A document that nobody can read must not stop the console."""
    assert freshness.rows({"uk": region("uk", 0) | {"as_of": "noon"}}, {}, NOW_MS) == []
    assert (
        freshness.behind_s(region("uk", 0, wms={"watermark": "noon", "silent": False, "facts": 0, "in_time": 0}))
        == {}
    )


def test_exceptions_that_wait_for_a_person_come_first() -> None:
    """PROPOSED before all others, by units promised too many; the older one first; unreadable ones count."""
    told = [("a", "APPLIED", 99), ("b", "PROPOSED", 1), ("c", "PROPOSED", 7), ("d", "OPEN", 0)]
    documents = {
        name: {**EXCEPTION, "exception_id": name, "state": state, "over_promised_units": over}
        for name, state, over in told
    }
    found = reconciliation.exceptions({**documents, "odd": {"state": "LOST"}})
    assert [row["exception_id"] for row in found["rows"]] == ["c", "b", "d", "a"]
    assert (found["count"], found["proposed"], found["rows"][0]["about"]) == (5, 2, "n1")


def test_an_exception_of_a_line_names_reservation_and_line() -> None:
    """A node where stock drifts, reservation and line where demand does."""
    line = {**EXCEPTION, "node": None, "reservation_id": "o7", "line": 2, "kind": "reservations"}
    assert reconciliation.exceptions({"x": line})["rows"][0]["about"] == "o7/2"


def test_drift_joins_the_verdict_with_what_did_not_arrive() -> None:
    """A row per source and kind; a source that only lacks facts has a row too; a missing snapshot has no figures."""
    missing = {**VERDICT, "source": "oms", "kind": "reservations", "snapshot_id": "", "outcome": "MISSING"}
    rows = reconciliation.drift({"1": VERDICT, "2": BALANCE, "3": missing, "4": {**BALANCE, "source": "ims"}})
    assert [(row["source"], row["outcome"], row["missing"]) for row in rows] == [
        ("ims", None, ["numbers 5 to 7"]),
        ("oms", "MISSING", []),
        ("wms", "DRIFT", ["numbers 5 to 7"]),
    ]
    assert (rows[2]["drifting_keys"], rows[2]["keys"], rows[2]["over_promised_units"]) == (2, 20, 14)

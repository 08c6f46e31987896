"""The reckoning against figures worked out by hand, and against its own law of order."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.oracle.histories import facts_of, random_history, shuffled_with_duplicates
from tests.oracle.reckoning import (
    DAMAGES,
    HEARTBEATS,
    MODES,
    RECEIPTS,
    RESERVATIONS,
    STOCK,
    ceil_of_deviations,
    reckon,
    variance,
)

CASES = Path(__file__).parents[1] / "cases"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
NODES = (
    {"node": "n1", "region": "east", "kind": "dc", "trusted": True},
    {"node": "n2", "region": "east", "kind": "store", "trusted": False},
    {"node": "w1", "region": "west", "kind": "dc", "trusted": True},
)
Line = dict[str, Any]


def at(minutes: float) -> str:
    """So many minutes after noon, on the wire."""
    return (NOON + timedelta(minutes=minutes)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def day(offset: int) -> str:
    """So many days from the day of noon."""
    return (NOON.date() + timedelta(days=offset)).isoformat()


class Log:
    """A log in the making; times are minutes from noon."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def fact(self, topic: str, kind: str, minutes: float, **body: Any) -> Log:
        """Any fact, recorded when it happened unless told otherwise."""
        value = {
            "event_id": f"e{len(self.lines)}",
            "type": kind,
            "schema_version": "1.0",
            "source": "test",
            "sku": "A",
            "occurred_at": at(minutes),
            "recorded_at": at(minutes),
            **body,
        }
        self.lines.append({"topic": topic, "key": "A", "value": value})
        return self

    def counted(self, as_of: float, node: str = "n1", **quantities: int) -> Log:
        """A count."""
        return self.fact(STOCK, "stock.counted", as_of, node=node, as_of=at(as_of), quantities=quantities)

    def adjusted(self, minutes: float, delta: int, node: str = "n1", **more: Any) -> Log:
        """An adjustment of sellable."""
        body = {"node": node, "state": "sellable", "delta": delta, "reason": "r", **more}
        return self.fact(STOCK, "stock.adjusted", minutes, **body)

    def moved(self, minutes: float, origin: str, target: str, quantity: int) -> Log:
        """A move inside n1."""
        body = {"node": "n1", "from_state": origin, "to_state": target, "quantity": quantity, "reason": "r"}
        return self.fact(STOCK, "stock.moved", minutes, **body)

    def shipped(self, minutes: float, quantity: int, reservation_id: str | None = None) -> Log:
        """What WMS says of a shipment."""
        pair = {"reservation_id": reservation_id, "line": 1} if reservation_id else {}
        return self.fact(STOCK, "stock.shipped", minutes, node="n1", quantity=quantity, **pair)

    def line(self, minutes: float, name: str, version: int, state: str, opened: int, **more: Any) -> Log:
        """A reservation line after a fact; what is not open or consumed is released."""
        body = {"region": "east", "channel": "web", "consumed": 0, "released": 0, **more}
        body["requested"] = more.get("requested", opened + body["consumed"] + body["released"])
        return self.fact(
            RESERVATIONS,
            more.pop("kind", "reservation.placed"),
            minutes,
            reservation_id=name,
            line=1,
            version=version,
            state=state,
            open=opened,
            **{field: content for field, content in body.items() if field != "kind"},
        )

    def receipt(self, minutes: float, name: str, version: int, stage: str, expected: int, **more: Any) -> Log:
        """A receipt line after a fact."""
        body = {"node": "n1", "received": 0, "put_away": 0, "held": 0, "eta": day(0), **more}
        return self.fact(
            RECEIPTS,
            "receipt.planned",
            minutes,
            receipt_id=name,
            line=1,
            version=version,
            stage=stage,
            expected=expected,
            **body,
        )

    def damage(self, minutes: float, version: int, reported: int, **more: Any) -> Log:
        """A damage document after a fact."""
        body = {"node": "n1", "to_state": "damaged", "reversed": 0, "written_off": 0, **more}
        return self.fact(
            DAMAGES, "damage.reported", minutes, damage_id="D", version=version, reported=reported, **body
        )

    def reckoned(self, now: float = 60, region: str = "east", **default: Any) -> dict[str, Any]:
        """The record of A in a region under a default policy; nothing may have been refused."""
        policies = [{"scope": "default", "version": 7, **default}]
        records, refusals = reckon(self.lines, NOON + timedelta(minutes=now), policies, NODES)
        assert refusals == []
        return next(record for record in records if record["region"] == region)

    def refused(self, now: float = 60) -> list[str]:
        """The reasons for which facts were refused."""
        return [refusal["reason"] for refusal in reckon(self.lines, NOON + timedelta(minutes=now))[1]]


def test_a_whole_record() -> None:
    """The record of a count, a ship, an order and an inbound line has every canonical field."""
    log = Log().counted(0, sellable=40, damaged=2).shipped(1, 5)
    log.line(2, "R", 1, "FIRM", 4).receipt(3, "P", 1, "IN_TRANSIT", 10, eta=day(2))
    channel = {
        "mode": "CONFIDENT",
        "confidence": "HIGH",
        "reasons": [],
        "sellable": 31,
        "confident": 31,
        "conservative": 31,
    }
    assert log.reckoned(channels=["web"]) == {
        "schema_version": "1.0",
        "sku": "A",
        "region": "east",
        "on_hand": {
            "sellable": 35,
            "receiving": 0,
            "qc_hold": 0,
            "damaged": 2,
            "quarantine": 0,
            "return_hold": 0,
        },
        "reserved": {"soft": 0, "firm": 4, "allocated": 0, "backordered": 0},
        "atp": 31,
        "shortage": 0,
        "buckets": [{"date": day(0), "atp": 31}, {"date": day(2), "atp": 40}],
        "channels": {"web": channel},
        "flags": [],
        "policy_version": 7,
    }


def test_a_count_supersedes_what_lies_before_it_state_by_state() -> None:
    """A move before the count of sellable alone keeps its leg in the state that was not counted."""
    log = Log().counted(0, sellable=20, quarantine=0).moved(10, "sellable", "quarantine", 3)
    log.counted(20, sellable=18).adjusted(5, 100).counted(15, sellable=999)
    on_hand = log.reckoned()["on_hand"]
    assert (on_hand["sellable"], on_hand["quarantine"]) == (18, 3)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_a_late_lower_version_redates_its_share(order: tuple[int, ...]) -> None:
    """Damage of 4 before the count and of 3 more after it lowers the count by 3 in any order of arrival."""
    parts = Log().damage(0, 1, 4).counted(10, sellable=50, damaged=9).damage(20, 2, 7).lines
    log = Log()
    log.lines = [parts[index] for index in order]
    on_hand = log.reckoned()["on_hand"]
    assert (on_hand["sellable"], on_hand["damaged"]) == (47, 12)


def test_reversed_and_written_off_damage() -> None:
    """Of 9 damaged units 2 come back and 3 leave the building."""
    log = Log().counted(0, sellable=50).damage(1, 1, 9).damage(2, 2, 9, reversed=2)
    on_hand = log.damage(3, 3, 9, reversed=2, written_off=3).reckoned()["on_hand"]
    assert (on_hand["sellable"], on_hand["damaged"]) == (43, 4)


@pytest.mark.parametrize(
    ("milliseconds", "sellable", "flags"),
    [
        (-1001, 97, []),
        (-1000, 97, ["AMBIGUOUS"]),
        (0, 97, ["AMBIGUOUS"]),
        (1000, 97, ["AMBIGUOUS"]),
        (1001, 102, []),
    ],
)
def test_doubt_takes_the_lower_outcome(milliseconds: int, sellable: int, flags: list[str]) -> None:
    """Near the count −3 is taken and +5 is not; the flag needs more units in doubt than tolerated."""
    log = Log().counted(0, sellable=100).adjusted(10, -3).adjusted(milliseconds / 60_000, 5)
    assert log.reckoned()["on_hand"]["sellable"] == sellable
    assert log.reckoned()["flags"] == flags
    assert log.reckoned(drift_units_tolerance=5)["flags"] == []


@pytest.mark.parametrize(
    ("origin", "target", "sellable"),
    [("sellable", "qc_hold", 6), ("qc_hold", "sellable", 10)],
)
def test_the_paired_leg_follows_the_choice(origin: str, target: str, sellable: int) -> None:
    """A move in doubt between two counted states comes on top with both its legs or with none."""
    log = Log().counted(0, sellable=10, qc_hold=10).moved(0.005, origin, target, 4)
    on_hand = log.reckoned()["on_hand"]
    assert (on_hand["sellable"], on_hand["qc_hold"]) == (sellable, 20 - sellable)


def test_doubt_outside_sellable_goes_by_strict_order() -> None:
    """A return just after the count of return_hold is on top of it, and still in doubt."""
    log = Log().counted(0, return_hold=1)
    log.fact(STOCK, "stock.returned", 0.005, node="n1", quantity=2)
    record = log.reckoned()
    assert record["on_hand"]["return_hold"] == 3
    assert record["flags"] == ["AMBIGUOUS"]


def test_a_negative_state_is_published_raw() -> None:
    """Three units shipped of two leave −1 on hand, a shortage beside ATP 0, and low confidence."""
    record = Log().counted(0, sellable=2).shipped(1, 3).reckoned()
    assert record["on_hand"]["sellable"] == -1
    assert (record["atp"], record["shortage"], record["flags"]) == (0, 1, ["NEGATIVE"])
    assert record["channels"]["web"]["confidence"] == "LOW"
    assert record["channels"]["web"]["reasons"] == ["NEGATIVE"]


def oms_ship() -> Log:
    """20 on hand, a line of 8 of which OMS says 5 have shipped."""
    log = Log().counted(0, sellable=20).line(1, "R", 1, "ALLOCATED", 8, node="n1")
    return log.line(10, "R", 2, "ALLOCATED", 3, consumed=5, node="n1", kind="reservation.shipped")


def test_what_oms_shipped_is_held_until_wms_says_so() -> None:
    """ATP is 12 before, between and after the two sides of a shipment."""
    assert oms_ship().reckoned()["atp"] == 12
    assert oms_ship().shipped(11, 2, "R").reckoned()["atp"] == 12
    both = oms_ship().shipped(9, 2, "R").shipped(12, 3, "R").reckoned()
    assert (both["atp"], both["on_hand"]["sellable"]) == (12, 15)


@pytest.mark.parametrize(("as_of", "atp"), [(9, 7), (10, 12), (20, 12)])
def test_a_count_settles_the_hold(as_of: float, atp: int) -> None:
    """A count of 15 at or after the OMS ship has seen it; one before has not."""
    assert oms_ship().counted(as_of, sellable=15).reckoned()["atp"] == atp


def test_superseded_ships_still_pair() -> None:
    """A ship older than the count moves nothing any more and still ends the hold."""
    assert oms_ship().shipped(5, 5, "R").counted(8, sellable=15).reckoned()["atp"] == 12


@pytest.mark.parametrize(("now", "soft", "atp"), [(14.999, 4, 6), (15, 0, 10), (30, 0, 10)])
def test_a_soft_line_counts_nothing_from_its_expiry(now: float, soft: int, atp: int) -> None:
    """No timer has to fire for the four units to be free again."""
    record = Log().counted(0, sellable=10).line(0, "R", 1, "SOFT", 4, expires_at=at(15)).reckoned(now)
    assert (record["reserved"]["soft"], record["atp"]) == (soft, atp)


@pytest.mark.parametrize(("confirmed", "flags"), [(14, []), (16, ["LATE_CONFIRM"])])
def test_a_late_confirm_counts_and_is_flagged(confirmed: float, flags: list[str]) -> None:
    """OMS's word stands after the expiry too, as demand and with a flag while the line is open."""
    log = Log().counted(0, sellable=3).line(0, "R", 1, "SOFT", 4, expires_at=at(15))
    record = log.line(confirmed, "R", 2, "FIRM", 4, kind="reservation.confirmed").reckoned()
    assert (record["shortage"], record["flags"]) == (1, flags)
    closed = log.line(30, "R", 3, "CLOSED", 0, released=4, kind="reservation.cancelled").reckoned()
    assert closed["flags"] == []


def test_allocated_demand_belongs_to_the_region_of_its_node() -> None:
    """An order of the east allocated to a western node is western demand, and both regions have a record."""
    log = Log().counted(0, sellable=10).line(0, "R", 1, "ALLOCATED", 4, node="w1")
    assert log.reckoned()["reserved"]["allocated"] == 0
    west = log.reckoned(region="west")
    assert (west["reserved"]["allocated"], west["shortage"]) == (4, 4)


def test_a_promise_never_starves_a_later_bucket() -> None:
    """15 due on day 3 leave 2 of 20 − 3 now, and supply of day 3 would be there for them."""
    log = Log().counted(0, sellable=20).line(0, "R1", 1, "FIRM", 3)
    log.line(0, "R2", 1, "FIRM", 15, due_date=day(3))
    log.line(0, "R3", 1, "FIRM", 100, due_date=day(14))
    assert log.reckoned()["buckets"] == [{"date": day(0), "atp": 2}]
    log.receipt(1, "P", 1, "IN_TRANSIT", 10, eta=day(3))
    assert log.reckoned()["buckets"] == [{"date": day(0), "atp": 11}]
    assert log.reckoned()["reserved"]["firm"] == 118


def test_weighted_supply_is_floored_once_per_bucket() -> None:
    """Three confirmed units on three lines are 1.5 units, so one."""
    log = Log().counted(0, sellable=0)
    for name in "PQR":
        log.receipt(1, name, 1, "CONFIRMED", 1, eta=day(1))
    assert log.reckoned()["buckets"] == [{"date": day(0), "atp": 0}, {"date": day(1), "atp": 1}]


@pytest.mark.parametrize(
    ("eta", "tomorrow", "flags"),
    [
        (0, None, []),
        (-1, 45, ["OVERDUE_RECEIPT"]),
        (-3, 11, ["OVERDUE_RECEIPT"]),
        (-4, None, []),
    ],
)
def test_overdue_supply_decays(eta: int, tomorrow: int | None, flags: list[str]) -> None:
    """100 units in transit count 90·0.5^d tomorrow while d ≤ 3 days overdue, then nothing."""
    record = Log().counted(0, sellable=0).receipt(1, "P", 1, "IN_TRANSIT", 100, eta=day(eta)).reckoned()
    assert record["flags"] == flags
    assert record["atp"] == (90 if eta == 0 else 0)
    assert [bucket["atp"] for bucket in record["buckets"][1:]] == ([] if tomorrow is None else [tomorrow])


def test_received_units_and_the_remainder_of_the_line() -> None:
    """Of 20 expected 12 came: 5 sellable, 3 held, 4 to be put away, 8 more counted in full, however late."""
    log = Log().receipt(0, "P", 1, "CONFIRMED", 20, eta=day(-9))
    log.receipt(1, "P", 2, "RECEIVED", 20, received=12, eta=day(-9))
    log.receipt(2, "P", 3, "PUT_AWAY", 20, received=12, put_away=5, eta=day(-9))
    record = log.receipt(3, "P", 4, "QC_HOLD", 20, received=12, put_away=5, held=3, eta=day(-9)).reckoned()
    on_hand = record["on_hand"]
    assert (on_hand["sellable"], on_hand["receiving"], on_hand["qc_hold"]) == (5, 4, 3)
    assert (record["atp"], record["flags"]) == (5 + 4 + 8, [])
    assert log.reckoned(receiving_weight=0.3)["atp"] == 5 + 1 + 8
    closed = log.receipt(4, "P", 5, "CLOSED_SHORT", 20, received=12, put_away=5, held=3).reckoned()
    assert closed["atp"] == 5 + 4


def test_channels_share_by_protection_priority_and_quota() -> None:
    """Of 50, a channel leaves what equal or higher priorities still protect, and keeps to its quota."""
    log = Log().counted(0, sellable=56).line(0, "R", 1, "FIRM", 6, channel="app")
    channels = log.reckoned(
        protections={"web": 10, "app": 15, "store": 4},
        priorities={"web": 1, "app": 2, "store": 2},
        quotas={"app": 20},
        safety_stock=5,
    )["channels"]
    confident = {name: channel["confident"] for name, channel in channels.items()}
    assert confident == {"web": 45, "app": 14, "store": 45 - 10 - 9, "marketplace": 45 - 10 - 9 - 4}


def test_the_conservative_figure() -> None:
    """No inbound, no untrusted node and a buffer: 30 − 10 − ⌈20 · 12.5 %⌉ = 17, where confident says 87."""
    log = Log().counted(0, sellable=30, receiving=10).counted(0, "n2", sellable=40)
    log.line(0, "R1", 1, "FIRM", 10, due_date=day(1)).line(0, "R2", 1, "ALLOCATED", 3, node="n2")
    log.receipt(0, "P", 1, "ARRIVED", 20)
    web = log.reckoned(buffer_percent=12.5, buffer_units=2, drift_z=0)["channels"]["web"]
    assert (web["confident"], web["conservative"], web["sellable"]) == (87, 17, 87)


def test_drift_of_counts_feeds_the_buffer() -> None:
    """Drifts 20, −2 and 0 have σ ≈ 9.93, so two of them are a buffer of 20."""
    log = Log().counted(0, sellable=20).adjusted(1, 5).counted(2, sellable=23).counted(3, sellable=23)
    assert log.reckoned()["channels"]["web"]["conservative"] == 3
    assert log.reckoned(drift_z=0)["channels"]["web"]["conservative"] == 23


def test_deviations_are_rounded_up_exactly() -> None:
    """σ is 0 under three drifts, and a whole number of deviations is not rounded further."""
    assert variance([5, 9]) == 0
    assert variance([0, 6, 3]) == 6
    assert ceil_of_deviations(2.0, variance([0, 3, 0, 3])) == 3
    assert ceil_of_deviations(2.0, variance([0, 6, 3])) == 5


@pytest.mark.parametrize(
    ("mode", "cause", "expected"),
    [
        ("CONFIDENT", "RESTORED", ("HIGH", [], 20)),
        ("CONSERVATIVE", "DRIFT", ("LOW", [], 13)),
        ("CONSERVATIVE", "OPERATOR", ("LOW", ["OPERATOR"], 13)),
        ("SUSPENDED", "OPERATOR", ("LOW", ["OPERATOR"], 0)),
    ],
)
def test_the_mode_picks_the_figure(mode: str, cause: str, expected: tuple[str, list[str], int]) -> None:
    """Confident, conservative or nothing, for the one channel the mode is about."""
    log = Log().counted(0, sellable=20)
    value = {"region": "east", "channel": "web", "mode": mode, "cause": cause}
    log.lines.append({"topic": MODES, "key": "east|web", "value": value})
    channels = log.reckoned(buffer_units=7)["channels"]
    web = channels["web"]
    assert (web["confidence"], web["reasons"], web["sellable"]) == expected
    assert (channels["app"]["mode"], channels["app"]["sellable"]) == ("CONFIDENT", 20)


@pytest.mark.parametrize(
    ("watermark", "reasons"),
    [(55, []), (54.99, ["STALE_SOURCE"]), (None, ["STALE_SOURCE"])],
)
def test_a_region_is_stale_by_its_heartbeats(watermark: float | None, reasons: list[str]) -> None:
    """A required source must have been heard of within 300 s before now, which is minute 60."""
    log = Log().counted(0, sellable=20)
    if watermark is not None:
        for minutes in (watermark, 1):
            value = {"type": "source.alive", "source": "ims", "region": "east", "watermark": at(minutes)}
            log.lines.append({"topic": HEARTBEATS, "key": "ims|east", "value": value})
    record = log.reckoned(required_sources=["ims"], buffer_units=7)
    assert record["channels"]["web"]["reasons"] == reasons
    assert record["channels"]["web"]["sellable"] == (13 if reasons else 20)
    assert record["flags"] == []


def test_the_most_specific_policy_wins_field_by_field() -> None:
    """Each scope overrides the ones before it, maps as a whole, and the highest version is named."""
    scopes = ("default", "region:east", "channel:web", "region:east|channel:web", "sku:A")
    log = Log().counted(0, sellable=100)
    for number in range(1, len(scopes) + 1):
        policies = [
            {"scope": scope, "version": 10 - step, "safety_stock": 10 * (step + 1)}
            for step, scope in enumerate(scopes[:number])
        ]
        policies.append({"scope": "sku:B", "version": 99, "safety_stock": 1})
        [record] = reckon(log.lines, NOON, policies, NODES)[0]
        assert record["channels"]["web"]["confident"] == 100 - 10 * number
        assert record["policy_version"] == 10
    west = Log().counted(0, "w1", sellable=100).reckoned(region="west")
    assert west["channels"]["web"]["confident"] == 100


def test_late_facts_from_a_backfill_are_flagged() -> None:
    """The flag lasts for correction_hours of the record, and a repeated fact does not raise it."""
    log = Log().counted(0, sellable=10).adjusted(1, 1, backfill=True)
    assert log.reckoned(60)["flags"] == ["BACKFILL"]
    assert log.reckoned(24 * 60 + 1)["flags"] == []
    repeated = Log().counted(0, sellable=10)
    again = {**repeated.lines[0]["value"], "backfill": True, "recorded_at": at(30)}
    repeated.lines.append({"topic": STOCK, "value": again})
    assert repeated.reckoned(60)["flags"] == []


def test_duplicates_have_no_effect() -> None:
    """The same event, or the same document version under another event, is taken once."""
    log = Log().adjusted(0, 10).damage(1, 1, 4)
    again = {**log.lines[1]["value"], "event_id": "again", "recorded_at": at(2), "backfill": True}
    log.lines += [log.lines[0], {"topic": DAMAGES, "value": again}]
    record = log.reckoned()
    assert (record["on_hand"]["sellable"], record["flags"]) == (6, [])


def test_the_first_of_two_contradictions_stands() -> None:
    """Another body for a known event, version or document is refused."""
    log = Log().adjusted(0, 10, event_id="x").adjusted(0, 11, event_id="x")
    log.damage(1, 1, 4).damage(1, 1, 5).damage(2, 2, 5, node="n2").damage(2, 2, 5, to_state="quarantine")
    log.line(3, "R", 1, "FIRM", 1).line(3, "R", 1, "FIRM", 2)
    expected = ["EVENT_CONFLICT", "VERSION_CONFLICT", "DOCUMENT_CHANGED", "DOCUMENT_CHANGED"]
    assert log.refused() == [*expected, "VERSION_CONFLICT"]


def test_what_cannot_be_is_refused() -> None:
    """Broken sums, broken fields and unknown majors are named as such, in that precedence."""
    log = Log().line(0, "R", 1, "FIRM", 1, requested=2).receipt(0, "P", 1, "RECEIVED", 1, put_away=1)
    log.adjusted(0, 0).adjusted(0, 1, schema_version="2.0").adjusted(0, 1, sku="").shipped(0, -1)
    log.adjusted(0, 1, schema_version="1.9", colour="red")
    assert log.refused() == ["QUANTITY_MISMATCH"] * 2 + [
        "SCHEMA_INVALID",
        "UNKNOWN_VERSION",
        "SCHEMA_INVALID",
        "SCHEMA_INVALID",
    ]


def test_the_future_is_refused() -> None:
    """Five minutes between occurred_at, recorded_at and now are allowed, not more."""
    log = Log().adjusted(5, 1, recorded_at=at(0)).adjusted(5.001, 1, recorded_at=at(0))
    log.adjusted(60, 1, recorded_at=at(65)).adjusted(60, 1, recorded_at=at(65.001))
    assert log.refused(60) == ["FUTURE", "FUTURE"]


def test_what_is_older_than_the_journal_is_refused() -> None:
    """Age is measured against the stream of the SKU, and a refused fact does not move it."""
    log = Log().adjusted(0, 1, recorded_at=at(0)).adjusted(-72 * 60, 1).adjusted(-72 * 60 - 0.001, 1)
    log.adjusted(59, 0).adjusted(-72 * 60, 1).adjusted(-99 * 60, 1, sku="B")
    log.line(-72 * 60, "R", 1, "FIRM", 1).line(-30 * 24 * 60 - 1, "R", 2, "FIRM", 1)
    log.line(-30 * 24 * 60 - 1, "S", 1, "FIRM", 1)
    assert log.refused() == ["TOO_OLD", "SCHEMA_INVALID", "TOO_OLD"]


def test_a_node_that_is_not_known_yet() -> None:
    """Its state is kept, and published when its reference is there."""
    log = Log().counted(0, "new", sellable=5)
    assert reckon(log.lines, NOON, (), NODES) == ([], [])
    reference = {"topic": "reference.nodes.v1", "value": {"node": "new", "region": "east", "trusted": True}}
    [record] = reckon([*log.lines, reference], NOON, (), NODES)[0]
    assert record["on_hand"]["sellable"] == 5


@pytest.mark.parametrize(("zone", "today"), [("UTC", day(0)), ("Asia/Tokyo", day(1))])
def test_days_are_those_of_the_region(zone: str, today: str) -> None:
    """At 16:00 UTC it is tomorrow in Tokyo: a line placed at noon uses yesterday's quota there."""
    log = Log().counted(0, sellable=10).line(0, "R", 1, "FIRM", 4)
    record = log.reckoned(240, time_zone=zone, quotas={"web": 5})
    assert record["buckets"][0]["date"] == today
    assert record["channels"]["web"]["confident"] == (1 if zone == "UTC" else 5)


# ------------------------------------------------------------------ published worked tables


def case(name: str) -> dict[str, Any]:
    """A golden file."""
    loaded: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return loaded


def schedule(on_hand: int, horizon: int, supply: dict[int, int], demand: dict[int, int]) -> list[int]:
    """ATP on every day of the horizon, from supply and demand by day that count in full."""
    log = Log().counted(0, sellable=on_hand)
    for offset, quantity in supply.items():
        log.receipt(0, f"P{offset}", 1, "IN_TRANSIT", quantity, eta=day(offset))
    for offset, quantity in demand.items():
        log.line(0, f"R{offset}", 1, "FIRM", quantity, due_date=day(offset))
    record = log.reckoned(horizon_days=horizon, stage_weights={"IN_TRANSIT": 1})
    steps = {bucket["date"]: bucket["atp"] for bucket in record["buckets"]}
    days: list[int] = []
    for offset in range(horizon):
        days.append(steps[day(offset)] if day(offset) in steps else days[-1])
    return days


def test_the_change_schedule_of_another_system() -> None:
    """Every step of the seven-day change schedule gives the published ATP row."""
    for step in case("d365_inventory_visibility_change_schedule")["cases"]:
        rows = step["expect"]
        supply = {n: row["scheduled_supply"] for n, row in enumerate(rows) if row["scheduled_supply"]}
        demand = {n: row["scheduled_demand"] for n, row in enumerate(rows) if row["scheduled_demand"]}
        found = schedule(rows[0]["on_hand"], len(rows), supply, demand)
        assert found == [row["atp"] for row in rows]


def test_the_chronology_of_another_system() -> None:
    """ATP is the least of what the chronology has still to come, over all published ranges."""
    single, ranges = case("erpnet_atp")["cases"][:2]
    for example in (single, ranges):
        given = example["given"]
        first = date.fromisoformat(given["chronology"][0]["date"])
        supply: dict[int, int] = {}
        demand: dict[int, int] = {}
        for row in given["chronology"]:
            offset = (date.fromisoformat(row["date"]) - first).days
            supply |= {offset: row["receipt"]} if row["receipt"] else {}
            demand |= {offset: row["issue"]} if row["issue"] else {}
        opening = given["current_stock"] + given["net_unexecuted_before_first_date"]
        found = schedule(opening, 37, supply, demand)
        expected = example["expect"]
        if "atp" in expected:
            assert found[0] == expected["atp"][first.isoformat()]
        for start, end, quantity in expected.get("atp_ranges", []):
            begin, finish = (date.fromisoformat(edge) - first for edge in (start, end))
            assert found[begin.days : finish.days + 1] == [quantity] * (finish.days - begin.days + 1)


def test_the_cumulative_figure_of_another_system() -> None:
    """The running total of ATP at replenishments is our bucket figure."""
    [example] = case("jde_cumulative_atp")["cases"]
    given = example["given"]
    supply = {n: units for n, units in enumerate(given["planned_receipts"]) if units}
    demand = {n: units for n, units in enumerate(given["sales_orders"]) if units}
    found = schedule(given["beginning_available"], 8, supply, demand)
    assert found == example["expect"]["catp"]


# ------------------------------------------------------------------ the law of order


@pytest.mark.parametrize("block", range(20))
def test_the_law_of_order(block: int) -> None:
    """A conflict-free set of facts gives the same records in any order and any number of copies."""
    for seed in range(block * 10, block * 10 + 10):
        rng = Random(seed)
        history = random_history(rng)
        records, refusals = reckon(history)
        assert refusals == [], seed
        for _ in range(2):
            assert reckon(shuffled_with_duplicates(history, rng)) == (records, []), seed


def test_histories_stay_inside_the_journal_window() -> None:
    """No two times of a history lie 72 hours apart, and one seed is one history."""
    for seed in range(50):
        history = random_history(Random(seed))
        assert history == random_history(Random(seed))
        times = [
            datetime.fromisoformat(line["value"][name])
            for line in facts_of(history)
            for name in ("occurred_at", "recorded_at", "as_of")
            if name in line["value"]
        ]
        assert max(times) - min(times) < timedelta(hours=72)


def test_hostile_histories_meet_every_refusal() -> None:
    """Every reason code is drawn over some seeds."""
    drawn = [reckon(random_history(Random(seed), hostile=True))[1] for seed in range(40)]
    assert {refusal["reason"] for refusals in drawn for refusal in refusals} == {
        "SCHEMA_INVALID",
        "UNKNOWN_VERSION",
        "QUANTITY_MISMATCH",
        "FUTURE",
        "TOO_OLD",
        "EVENT_CONFLICT",
        "VERSION_CONFLICT",
        "DOCUMENT_CHANGED",
    }


@pytest.mark.parametrize("seed", range(10))
def test_what_is_refused_leaves_no_trace(seed: int) -> None:
    """The records are those of the log without the refused facts."""
    history = random_history(Random(seed), skus=1, hostile=True)
    now = max(datetime.fromisoformat(line["value"]["recorded_at"]) for line in facts_of(history))
    records, refusals = reckon(history, now)
    kept: list[Line] = []
    for line in history:
        if not reckon([*facts_of(kept), line], now)[1]:
            kept.append(line)
    assert len(kept) == len(history) - len(refusals)
    assert reckon(kept, now) == (records, [])

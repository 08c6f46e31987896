"""The reckoning: ATP computed the slow, obvious way from the whole log.

It shares no code with the product. Nothing is kept up to date on the way: facts are admitted one by one in
log order, and every published figure is then worked out afresh from the list of admitted facts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

STOCK = "inventory.stock.v1"
RESERVATIONS = "oms.reservations.v1"
RECEIPTS = "purchasing.receipts.v1"
DAMAGES = "wms.damages.v1"
FACT_TOPICS = (STOCK, RESERVATIONS, RECEIPTS, DAMAGES)
HEARTBEATS = "sources.heartbeats.v1"
NODES = "reference.nodes.v1"
POLICIES = "atp.policies.v1"
MODES = "atp.modes.v1"

STATES = ("sellable", "receiving", "qc_hold", "damaged", "quarantine", "return_hold")
LINE_STATES = ("SOFT", "FIRM", "ALLOCATED", "BACKORDERED", "CLOSED")
COMING_STAGES = ("PLANNED", "CONFIRMED", "IN_TRANSIT")
HERE_STAGES = ("RECEIVED", "PUT_AWAY", "QC_HOLD")
ENDED_STAGES = ("CLOSED_SHORT", "OVER", "CANCELLED")
STAGES = (*COMING_STAGES, "ARRIVED", *HERE_STAGES, *ENDED_STAGES)
TYPES = {
    STOCK: ("stock.counted", "stock.adjusted", "stock.moved", "stock.shipped", "stock.returned"),
    RESERVATIONS: (
        "reservation.placed",
        "reservation.extended",
        "reservation.confirmed",
        "reservation.allocated",
        "reservation.shipped",
        "reservation.released",
        "reservation.cancelled",
        "reservation.expired",
        "reservation.short",
    ),
    RECEIPTS: (
        "receipt.planned",
        "receipt.confirmed",
        "receipt.shipped",
        "receipt.arrived",
        "receipt.received",
        "receipt.put_away",
        "receipt.held",
        "receipt.closed_short",
        "receipt.over",
        "receipt.cancelled",
    ),
    DAMAGES: ("damage.reported", "damage.reversed", "damage.written_off"),
}
CLOCK_TOLERANCE = timedelta(minutes=5)

DEFAULTS: dict[str, Any] = {
    "time_zone": "UTC",
    "required_sources": [],
    "lead_time_days": None,
    "channels": ["web", "app", "store", "marketplace"],
    "horizon_days": 14,
    "safety_stock": 0,
    "buffer_units": 0,
    "buffer_percent": 0,
    "drift_z": 2.0,
    "stage_weights": {"PLANNED": 0, "CONFIRMED": 0.5, "IN_TRANSIT": 0.9, "ARRIVED": 1},
    "receiving_weight": 1,
    "overdue_days": 3,
    "overdue_decay": 0.5,
    "journal_hours": 72,
    "memory_days": 30,
    "ambiguity_ms": 1000,
    "correction_hours": 24,
    "drift_units_tolerance": 0,
    "heartbeat_timeout_s": 300,
    "protections": {},
    "priorities": {},
    "quotas": {},
}


class RefusedError(Exception):
    """This fact is refused, for the reason given."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# --------------------------------------------------------------------------- reading a fact


@dataclass(frozen=True)
class Fact:
    """One valid fact; `body` is what two facts must share to be the same one."""

    topic: str
    event_id: str
    recorded: datetime
    backfill: bool
    body: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.body[name]

    @property
    def at(self) -> datetime:
        """The time the fact speaks of: as_of for a count, occurred_at otherwise."""
        when: datetime = self["as_of"] if self["type"] == "stock.counted" else self["occurred_at"]
        return when

    @property
    def order(self) -> tuple[datetime, datetime, str]:
        """Facts are ordered by their time, ties by recorded_at, then event_id."""
        return self.at, self.recorded, self.event_id

    @property
    def document(self) -> tuple[Any, ...] | None:
        """The versioned document line the fact is about, or None for a stock fact."""
        if self.topic == RESERVATIONS:
            return RESERVATIONS, self["sku"], self["reservation_id"], self["line"]
        if self.topic == RECEIPTS:
            return RECEIPTS, self["sku"], self["receipt_id"], self["line"]
        if self.topic == DAMAGES:
            return DAMAGES, self["sku"], self["damage_id"]
        return None


def parse_time(value: object) -> datetime:
    """An RFC 3339 time with an offset, as UTC."""
    if not isinstance(value, str):
        raise RefusedError("SCHEMA_INVALID")
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise RefusedError("SCHEMA_INVALID") from None
    if moment.tzinfo is None:
        raise RefusedError("SCHEMA_INVALID")
    return moment.astimezone(UTC)


def parse_date(value: object) -> date:
    """A calendar date."""
    if not isinstance(value, str) or len(value) != len("2011-11-25"):
        raise RefusedError("SCHEMA_INVALID")
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise RefusedError("SCHEMA_INVALID") from None


def text(value: object, longest: int | None = None) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value or (longest is not None and len(value) > longest):
        raise RefusedError("SCHEMA_INVALID")
    return value


def integer(value: object, least: int | None = None) -> int:
    """A whole number (true and false are not)."""
    if type(value) is not int or (least is not None and value < least):
        raise RefusedError("SCHEMA_INVALID")
    return value


def one_of(value: object, allowed: Iterable[str]) -> str:
    """One of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise RefusedError("SCHEMA_INVALID")
    return value


def read_fact(topic: str, value: object) -> Fact:
    """The fact in this value, or RefusedError with SCHEMA_INVALID, UNKNOWN_VERSION or QUANTITY_MISMATCH."""
    if not isinstance(value, dict):
        raise RefusedError("SCHEMA_INVALID")
    major, dot, minor = text(value.get("schema_version")).partition(".")
    if not (dot and major.isdigit() and minor.isdigit()):
        raise RefusedError("SCHEMA_INVALID")
    if int(major) != 1:
        raise RefusedError("UNKNOWN_VERSION")

    def optional(name: str, read: Any, *arguments: Any) -> Any:
        return None if value.get(name) is None else read(value[name], *arguments)

    event_id = text(value.get("event_id"), 128)
    recorded = parse_time(value.get("recorded_at"))
    backfill = value.get("backfill", False)
    if not isinstance(backfill, bool):
        raise RefusedError("SCHEMA_INVALID")
    optional("source_seq", integer)
    optional("correlation_id", text)
    body: dict[str, Any] = {
        "type": one_of(value.get("type"), TYPES[topic]),
        "source": text(value.get("source")),
        "sku": text(value.get("sku"), 64),
        "region": optional("region", text),
        "node": optional("node", text),
        "occurred_at": parse_time(value.get("occurred_at")),
    }
    if topic == STOCK:
        read_stock(body, value, optional)
    elif topic == RESERVATIONS:
        read_reservation(body, value, optional)
    elif topic == RECEIPTS:
        read_receipt(body, value, optional)
    else:
        read_damage(body, value)
    return Fact(topic, event_id, recorded, backfill, body)


def read_stock(body: dict[str, Any], value: dict[str, Any], optional: Any) -> None:
    """The body of a stock fact."""
    text(body["node"])
    kind = body["type"]
    if kind == "stock.counted":
        body["as_of"] = parse_time(value.get("as_of"))
        quantities = value.get("quantities")
        if not isinstance(quantities, dict):
            raise RefusedError("SCHEMA_INVALID")
        body["quantities"] = {one_of(state, STATES): integer(n) for state, n in quantities.items()}
    elif kind == "stock.adjusted":
        body["state"] = one_of(value.get("state"), STATES)
        body["delta"] = integer(value.get("delta"))
        body["reason"] = text(value.get("reason"))
        if body["delta"] == 0:
            raise RefusedError("SCHEMA_INVALID")
    elif kind == "stock.moved":
        body["from_state"] = one_of(value.get("from_state"), STATES)
        body["to_state"] = one_of(value.get("to_state"), STATES)
        body["quantity"] = integer(value.get("quantity"), 1)
        body["reason"] = text(value.get("reason"))
        if body["from_state"] == body["to_state"]:
            raise RefusedError("SCHEMA_INVALID")
    elif kind == "stock.shipped":
        body["quantity"] = integer(value.get("quantity"), 1)
        body["reservation_id"] = optional("reservation_id", text)
        body["line"] = optional("line", integer)
    else:
        body["quantity"] = integer(value.get("quantity"), 1)
        body["order_id"] = optional("order_id", text)


def read_reservation(body: dict[str, Any], value: dict[str, Any], optional: Any) -> None:
    """The body of a reservation fact: the line after it."""
    text(body["region"])
    body["reservation_id"] = text(value.get("reservation_id"))
    body["line"] = integer(value.get("line"))
    body["version"] = integer(value.get("version"), 1)
    body["channel"] = text(value.get("channel"))
    body["state"] = one_of(value.get("state"), LINE_STATES)
    for name in ("requested", "open", "consumed", "released"):
        body[name] = integer(value.get(name), 0)
    body["expires_at"] = optional("expires_at", parse_time)
    body["due_date"] = optional("due_date", parse_date)
    if body["state"] == "SOFT" and body["expires_at"] is None:
        raise RefusedError("SCHEMA_INVALID")
    if (body["state"] == "ALLOCATED" or body["type"] == "reservation.shipped") and body["node"] is None:
        raise RefusedError("SCHEMA_INVALID")
    if body["requested"] != body["open"] + body["consumed"] + body["released"]:
        raise RefusedError("QUANTITY_MISMATCH")


def read_receipt(body: dict[str, Any], value: dict[str, Any], optional: Any) -> None:
    """The body of a receipt fact: the line after it."""
    text(body["node"])
    body["receipt_id"] = text(value.get("receipt_id"))
    body["line"] = integer(value.get("line"))
    body["version"] = integer(value.get("version"), 1)
    body["stage"] = one_of(value.get("stage"), STAGES)
    for name in ("expected", "received", "put_away", "held"):
        body[name] = integer(value.get(name), 0)
    body["eta"] = parse_date(value.get("eta"))
    body["supplier"] = optional("supplier", text)
    if body["put_away"] + body["held"] > body["received"]:
        raise RefusedError("QUANTITY_MISMATCH")


def read_damage(body: dict[str, Any], value: dict[str, Any]) -> None:
    """The body of a damage fact: the document after it."""
    text(body["node"])
    body["damage_id"] = text(value.get("damage_id"))
    body["version"] = integer(value.get("version"), 1)
    body["from_state"] = one_of(value.get("from_state") or "sellable", STATES)
    body["to_state"] = one_of(value.get("to_state"), ("damaged", "quarantine"))
    for name in ("reported", "reversed", "written_off"):
        body[name] = integer(value.get(name), 0)
    if body["from_state"] == body["to_state"]:
        raise RefusedError("SCHEMA_INVALID")
    if body["reversed"] + body["written_off"] > body["reported"]:
        raise RefusedError("QUANTITY_MISMATCH")


# --------------------------------------------------------------------------- policy


class Policies:
    """Policy documents by scope; every field is looked up on its own."""

    def __init__(self, documents: Iterable[dict[str, Any]]) -> None:
        self.by_scope = {document["scope"]: document for document in documents}

    def get(self, field: str, sku: str, region: str | None = None, channel: str | None = None) -> Any:
        """The value from the most specific scope that names the field."""
        scopes = ["default"]
        if region is not None:
            scopes.append(f"region:{region}")
        if channel is not None:
            scopes += [f"channel:{channel}", f"region:{region}|channel:{channel}"]
        scopes.append(f"sku:{sku}")
        found = DEFAULTS[field]
        for scope in scopes:
            document = self.by_scope.get(scope, {})
            if field in document:
                found = {**found, **document[field]} if field == "stage_weights" else document[field]
        return found

    def time_zone(self, region: str) -> ZoneInfo:
        """The zone of the region's days: never a matter of the SKU."""
        zone = DEFAULTS["time_zone"]
        for scope in ("default", f"region:{region}"):
            zone = self.by_scope.get(scope, {}).get("time_zone", zone)
        return ZoneInfo(zone)

    def version(self, sku: str, region: str, channels: Iterable[str]) -> int:
        """The highest version among the documents that apply to this record."""
        scopes = ["default", f"region:{region}", f"sku:{sku}"]
        for channel in channels:
            scopes += [f"channel:{channel}", f"region:{region}|channel:{channel}"]
        return max((self.by_scope[s].get("version", 0) for s in scopes if s in self.by_scope), default=0)


def exact(number: float) -> Fraction:
    """The decimal number as it is written."""
    return Fraction(str(number))


# --------------------------------------------------------------------------- admission


def admit(
    lines: Iterable[tuple[str, Any]], now: datetime, policies: Policies
) -> tuple[list[Fact], dict[str, datetime], list[dict[str, Any]]]:
    """Accepted facts in log order, the stream time of every SKU, and the refusals."""
    accepted: list[Fact] = []
    seen: list[Fact] = []  # accepted facts and their duplicates
    stream: dict[str, datetime] = {}
    refusals: list[dict[str, Any]] = []
    for topic, value in lines:
        try:
            fact = read_fact(topic, value)
            check_time(fact, now, stream.get(fact["sku"]), accepted, policies)
            if not is_duplicate(fact, accepted, seen):
                accepted.append(fact)
        except RefusedError as refused:
            event_id = value.get("event_id") if isinstance(value, dict) else None
            refusals.append({"topic": topic, "event_id": event_id, "reason": refused.reason})
            continue
        seen.append(fact)
        stream[fact["sku"]] = max(stream.get(fact["sku"], fact.recorded), fact.recorded)
    return accepted, stream, refusals


def check_time(
    fact: Fact, now: datetime, stream_time: datetime | None, accepted: list[Fact], policies: Policies
) -> None:
    """Refuse what comes from the future, or from before what we can still place."""
    latest = max(fact.at, fact["occurred_at"])
    if latest > fact.recorded + CLOCK_TOLERANCE or fact.recorded > now + CLOCK_TOLERANCE:
        raise RefusedError("FUTURE")
    if stream_time is None:
        return
    if fact.topic == RESERVATIONS:
        known = any(other.document == fact.document for other in accepted)
        limit = timedelta(days=policies.get("memory_days", fact["sku"]))
        if not known and fact.at < stream_time - limit:
            raise RefusedError("TOO_OLD")
    elif fact.at < stream_time - timedelta(hours=policies.get("journal_hours", fact["sku"])):
        raise RefusedError("TOO_OLD")


def is_duplicate(fact: Fact, accepted: list[Fact], seen: list[Fact]) -> bool:
    """Whether the fact is already known; RefusedError when it contradicts a known one."""
    for other in seen:
        if (other["sku"], other.event_id) == (fact["sku"], fact.event_id):
            if other.body == fact.body:
                return True
            raise RefusedError("EVENT_CONFLICT")
    if fact.document is None:
        return False
    siblings = [other for other in accepted if other.document == fact.document]
    for other in siblings:
        if other["version"] == fact["version"]:
            if other.body == fact.body:
                return True
            raise RefusedError("VERSION_CONFLICT")
    if fact.topic == DAMAGES:
        for other in siblings:
            if any(other[name] != fact[name] for name in ("node", "from_state", "to_state")):
                raise RefusedError("DOCUMENT_CHANGED")
    return False


# --------------------------------------------------------------------------- stock


@dataclass(frozen=True)
class Effect:
    """What one fact, or one version of a document, does to the states of a node, at one time."""

    node: str
    at: datetime
    legs: dict[str, int]


def documents(facts: Iterable[Fact], topic: str) -> list[list[Fact]]:
    """The known versions of every document line of a topic, lowest first."""
    grouped: dict[Any, list[Fact]] = {}
    for fact in facts:
        if fact.topic == topic:
            grouped.setdefault(fact.document, []).append(fact)
    return [sorted(versions, key=lambda fact: fact["version"]) for versions in grouped.values()]


def increments(versions: list[Fact], of: Any) -> Iterator[tuple[Fact, int]]:
    """By how much each known version raises the cumulative figure over the known version below it."""
    before = 0
    for fact in versions:
        yield fact, of(fact) - before
        before = of(fact)


def stock_effects(facts: list[Fact]) -> list[Effect]:
    """Every effect of these facts (all of one SKU), in no particular order."""
    effects = []
    for fact in facts:
        if fact["type"] == "stock.adjusted":
            legs = {fact["state"]: fact["delta"]}
        elif fact["type"] == "stock.moved":
            legs = {fact["from_state"]: -fact["quantity"], fact["to_state"]: fact["quantity"]}
        elif fact["type"] == "stock.shipped":
            legs = {"sellable": -fact["quantity"]}
        elif fact["type"] == "stock.returned":
            legs = {"return_hold": fact["quantity"]}
        else:
            continue
        effects.append(Effect(fact["node"], fact.at, legs))
    for versions in documents(facts, RECEIPTS):
        receiving = increments(versions, lambda f: f["received"] - f["put_away"] - f["held"])
        sellable = increments(versions, lambda f: f["put_away"])
        held = increments(versions, lambda f: f["held"])
        for (fact, r), (_, s), (_, h) in zip(receiving, sellable, held, strict=True):
            effects.append(Effect(fact["node"], fact.at, {"receiving": r, "sellable": s, "qc_hold": h}))
    for versions in documents(facts, DAMAGES):
        taken = increments(versions, lambda f: f["reported"] - f["reversed"])
        given = increments(versions, lambda f: f["reported"] - f["reversed"] - f["written_off"])
        for (fact, out), (_, into) in zip(taken, given, strict=True):
            effects.append(Effect(fact["node"], fact.at, {fact["from_state"]: -out, fact["to_state"]: into}))
    return [Effect(e.node, e.at, {state: n for state, n in e.legs.items() if n != 0}) for e in effects]


def counts(facts: list[Fact], node: str, state: str) -> list[Fact]:
    """The counts that name this state at this node, oldest first."""
    found = [
        fact
        for fact in facts
        if fact["type"] == "stock.counted" and fact["node"] == node and state in fact["quantities"]
    ]
    return sorted(found, key=lambda fact: fact.order)


def in_doubt(effect: Effect, baselines: dict[str, Fact], ambiguity: timedelta) -> set[str]:
    """The states whose leg lies so near the as_of of its baseline that it cannot be placed."""
    return {s for s in effect.legs if s in baselines and abs(effect.at - baselines[s].at) <= ambiguity}


def placed_after(effect: Effect, baselines: dict[str, Fact], ambiguity: timedelta) -> dict[str, int]:
    """The legs of the effect that come on top of their baselines."""
    doubtful = in_doubt(effect, baselines, ambiguity)
    kept = {}
    for state, delta in effect.legs.items():
        if state not in baselines:
            after = True
        elif state in doubtful and "sellable" in doubtful:
            after = effect.legs["sellable"] < 0
        else:
            after = effect.at > baselines[state].at
        if after:
            kept[state] = delta
    return kept


@dataclass(frozen=True)
class NodeStock:
    """The state of one node, and how many of its units are in doubt."""

    quantities: dict[str, int]
    doubt: int


def node_stock(facts: list[Fact], node: str, ambiguity: timedelta) -> NodeStock:
    """The latest counts of the node and everything that came after them."""
    baselines = {state: found[-1] for state in STATES if (found := counts(facts, node, state))}
    quantities = {s: baselines[s]["quantities"][s] if s in baselines else 0 for s in STATES}
    doubt = 0
    for effect in stock_effects(facts):
        if effect.node == node:
            for state, delta in placed_after(effect, baselines, ambiguity).items():
                quantities[state] += delta
            doubtful = in_doubt(effect, baselines, ambiguity)
            doubt += max((abs(effect.legs[state]) for state in doubtful), default=0)
    return NodeStock(quantities, doubt)


def sellable_drifts(facts: list[Fact], node: str, since: datetime, ambiguity: timedelta) -> list[int]:
    """Counted minus ours, for every count of sellable at the node since then."""
    effects = [effect for effect in stock_effects(facts) if effect.node == node]
    found = counts(facts, node, "sellable")
    drifts = []
    for index, count in enumerate(found):
        previous = {"sellable": found[index - 1]} if index else {}
        ours = sum(earlier["quantities"]["sellable"] for earlier in previous.values())
        for effect in effects:
            if effect.at <= count.at:
                ours += placed_after(effect, previous, ambiguity).get("sellable", 0)
        if count.at >= since:
            drifts.append(count["quantities"]["sellable"] - ours)
    return drifts


def variance(drifts: list[int]) -> Fraction:
    """The population variance; 0 with fewer than three."""
    if len(drifts) < 3:
        return Fraction(0)
    mean = Fraction(sum(drifts), len(drifts))
    return sum(((drift - mean) ** 2 for drift in drifts), Fraction(0)) / len(drifts)


def ceil_of_deviations(z: float, squared: Fraction) -> int:
    """⌈z · σ⌉ without any rounding on the way."""
    if z <= 0:
        return 0
    wanted = exact(z) ** 2 * squared
    least = 0
    while least * least < wanted:
        least += 1
    return least


# --------------------------------------------------------------------------- one record


@dataclass(frozen=True)
class World:
    """All that a record is worked out from."""

    facts: list[Fact]
    stream: dict[str, datetime]
    now: datetime
    policies: Policies
    nodes: dict[str, dict[str, Any]]
    modes: dict[tuple[str, str], dict[str, Any]]
    watermarks: dict[tuple[str, str], datetime]

    def region_of(self, node: str | None) -> str | None:
        """The region the reference gives the node, or None while it is unknown."""
        return self.nodes[node]["region"] if node in self.nodes else None


def demand_region(world: World, line: Fact) -> str | None:
    """The region that carries the demand of a line."""
    return world.region_of(line["node"]) if line["state"] == "ALLOCATED" else line["region"]


def expired(world: World, line: Fact) -> bool:
    """A soft line counts nothing from the instant of its expiry."""
    return bool(line["state"] == "SOFT" and line["expires_at"] <= world.now)


def open_units(world: World, line: Fact) -> int:
    """The units the line still demands."""
    if line["state"] == "CLOSED" or expired(world, line):
        return 0
    return int(line["open"])


def confirmed_late(versions: list[Fact]) -> bool:
    """Whether a version still demanded something after the expiry of the soft version below it."""
    return any(
        below["state"] == "SOFT" and above["open"] > 0 and above.at > below["expires_at"]
        for below, above in itertools.pairwise(versions)
    )


def hold(world: World, facts: list[Fact], versions: list[Fact], region: str) -> int:
    """The units of a line that OMS has shipped from a region's nodes and WMS has not.

    Each shipment belongs to the node that its version names (or the last one named before it), and a count of
    that node settles it; a line that never named a node holds in its own region.
    """
    line = versions[-1]
    shipped = sum(
        fact["quantity"]
        for fact in facts
        if fact["type"] == "stock.shipped"
        and (fact["reservation_id"], fact["line"]) == (line["reservation_id"], line["line"])
    )
    unsettled = 0
    for fact, n in increments(versions, lambda f: f["consumed"]):
        if n <= 0:
            continue
        named = [v["node"] for v in versions if v["version"] <= fact["version"] and v["node"] is not None]
        node = named[-1] if named else None
        counted = counts(facts, node, "sellable") if node is not None else []
        if (line["region"] if node is None else world.region_of(node)) != region:
            continue
        unsettled += n if not counted or fact.at > counted[-1].at else 0
    return max(0, min(line["consumed"] - shipped, unsettled))


def reckon_record(world: World, sku: str, region: str) -> dict[str, Any]:
    """The canonical record of a SKU in a region."""
    facts = [fact for fact in world.facts if fact["sku"] == sku]

    def policy(field: str, channel: str | None = None) -> Any:
        return world.policies.get(field, sku, region, channel)

    zone = world.policies.time_zone(region)
    today = world.now.astimezone(zone).date()
    days = policy("horizon_days")
    if policy("lead_time_days") is not None:
        days = min(days, policy("lead_time_days"))
    horizon = max(0, days - 1)
    flags = set()

    # Stock.
    ambiguity = timedelta(milliseconds=policy("ambiguity_ms"))
    nodes = sorted(node for node in world.nodes if world.region_of(node) == region)
    stock = {node: node_stock(facts, node, ambiguity) for node in nodes}
    on_hand = {state: sum(s.quantities[state] for s in stock.values()) for state in STATES}
    if any(s.doubt > policy("drift_units_tolerance") for s in stock.values()):
        flags.add("AMBIGUOUS")
    if any(n < 0 for s in stock.values() for n in s.quantities.values()):
        flags.add("NEGATIVE")

    # Demand.
    reserved = {"soft": 0, "firm": 0, "allocated": 0, "backordered": 0}
    demand = [0] * (horizon + 1)
    demand_at_untrusted = 0
    holds = 0
    used: dict[str, int] = {}
    trusted = {node for node in nodes if world.nodes[node].get("trusted", True)}
    for versions in documents(facts, RESERVATIONS):
        line = versions[-1]
        units = open_units(world, line)
        if demand_region(world, line) == region:
            if line["state"] != "CLOSED":
                reserved[line["state"].lower()] += units
            due = max(0, (line["due_date"] - today).days) if line["due_date"] is not None else 0
            if due <= horizon:
                demand[due] += units
                if line["state"] == "ALLOCATED" and line["node"] not in trusted:
                    demand_at_untrusted += units
            if units > 0 and confirmed_late(versions):
                flags.add("LATE_CONFIRM")
        holds += hold(world, facts, versions, region)
        business_date = versions[0].at.astimezone(zone).date()
        if line["region"] == region and business_date == today and not expired(world, line):
            counted = line["requested"] - line["released"]
            used[line["channel"]] = used.get(line["channel"], 0) + counted

    # Supply.
    weighted = [Fraction(0)] * (horizon + 1)
    for versions in documents(facts, RECEIPTS):
        line = versions[-1]
        remainder = max(0, line["expected"] - line["received"])
        if world.region_of(line["node"]) != region or line["stage"] in ENDED_STAGES:
            continue
        weight = exact(1 if line["stage"] in HERE_STAGES else policy("stage_weights")[line["stage"]])
        bucket = 0
        if line["stage"] in COMING_STAGES:
            bucket = (line["eta"] - today).days
            if bucket < 0:
                overdue = -bucket
                if overdue > policy("overdue_days"):
                    continue
                if remainder > 0 and weight > 0:
                    flags.add("OVERDUE_RECEIPT")
                bucket = 1
                weight *= exact(policy("overdue_decay")) ** overdue
        if bucket <= horizon:
            weighted[bucket] += remainder * weight
    supply = [math.floor(units) for units in weighted]

    # ATP.
    receiving = math.floor(exact(policy("receiving_weight")) * on_hand["receiving"])
    projected = []
    for k in range(horizon + 1):
        before = projected[-1] if k else on_hand["sellable"] + receiving - holds
        projected.append(before + supply[k] - demand[k])
    atp = [min(projected[k:]) for k in range(horizon + 1)]
    published = [max(0, quantity) for quantity in atp]
    buckets = [
        {"date": (today + timedelta(days=k)).isoformat(), "atp": quantity}
        for k, quantity in enumerate(published)
        if k == 0 or quantity != published[k - 1]
    ]

    # Flags that say where the figures come from.
    for fact in facts:
        owner = fact["region"] if fact.topic == RESERVATIONS else world.region_of(fact["node"])
        recent = fact.recorded > world.now - timedelta(hours=policy("correction_hours"))
        if fact.backfill and owner == region and recent:
            flags.add("BACKFILL")
    reasons = flags & {"AMBIGUOUS", "NEGATIVE"}
    oldest = world.now - timedelta(seconds=policy("heartbeat_timeout_s"))
    for source in policy("required_sources"):
        if (source, region) not in world.watermarks or world.watermarks[source, region] < oldest:
            reasons.add("STALE_SOURCE")

    # Channels.
    since = world.stream[sku] - timedelta(hours=policy("journal_hours"))
    drifts = [drift for node in nodes for drift in sellable_drifts(facts, node, since, ambiguity)]
    sellable_at_trusted = sum(stock[node].quantities["sellable"] for node in trusted)
    base = sellable_at_trusted - (sum(demand) - demand_at_untrusted) - holds
    names = policy("channels")

    def priority(name: str) -> float:
        return policy("priorities", name).get(name, math.inf)

    def unconsumed(name: str) -> int:
        return max(0, policy("protections", name).get(name, 0) - used.get(name, 0))

    channels = {}
    for name in names:
        withheld = min(policy("safety_stock", name), max(0, on_hand["sellable"] - demand[0]))
        others = [other for other in names if other != name and priority(other) <= priority(name)]
        protected = sum(unconsumed(other) for other in others)
        quotas = policy("quotas", name)
        quota_left = quotas[name] - used.get(name, 0) if name in quotas else math.inf
        buffer = max(
            policy("buffer_units", name),
            math.ceil(base * exact(policy("buffer_percent", name)) / 100),
            ceil_of_deviations(policy("drift_z", name), variance(drifts)),
        )
        confident = max(0, min(quota_left, atp[0] - withheld - protected))
        careful = max(0, min(quota_left, base - withheld - protected - buffer))
        conservative = min(confident, careful)
        mode = world.modes.get((region, name), {})
        setting = mode.get("mode", "CONFIDENT")
        sellable = conservative if reasons or setting == "CONSERVATIVE" else confident
        channels[name] = {
            "mode": setting,
            "confidence": "LOW" if reasons or setting != "CONFIDENT" else "HIGH",
            "reasons": sorted(reasons | set(mode.get("causes") or ({"OPERATOR"} & {mode.get("cause")}))),
            "sellable": 0 if setting == "SUSPENDED" else sellable,
            "confident": confident,
            "conservative": conservative,
        }
    return {
        "schema_version": "1.0",
        "sku": sku,
        "region": region,
        "on_hand": on_hand,
        "reserved": reserved,
        "atp": published[0],
        "shortage": max(0, -atp[0]),
        "buckets": buckets,
        "channels": channels,
        "flags": sorted(flags),
        "policy_version": world.policies.version(sku, region, names),
    }


# --------------------------------------------------------------------------- the whole log


def latest_recorded(lines: list[dict[str, Any]]) -> datetime:
    """The highest recorded_at that can be read among the facts of the log."""
    found = []
    for line in lines:
        value = line.get("value")
        if line["topic"] in FACT_TOPICS and isinstance(value, dict) and "recorded_at" in value:
            try:
                found.append(parse_time(value["recorded_at"]))
            except RefusedError:
                continue
    return max(found, default=datetime.now(UTC))


def reckon(
    lines: Iterable[dict[str, Any]],
    now: datetime | None = None,
    policies: Iterable[dict[str, Any]] = (),
    nodes: Iterable[dict[str, Any]] = (),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The canonical records by key, and the refused facts in log order.

    Control lines hold for the whole log: of several documents with one key the last one counts.
    """
    log = list(lines)
    now = now if now is not None else latest_recorded(log)
    documents_found = {document["scope"]: document for document in policies}
    references = {node["node"]: node for node in nodes}
    modes: dict[tuple[str, str], dict[str, Any]] = {}
    watermarks: dict[tuple[str, str], datetime] = {}
    candidates = []
    for line in log:
        topic, value = line["topic"], line.get("value")
        if topic in FACT_TOPICS:
            candidates.append((topic, value))
        elif value is None:  # a compacted key is taken back
            for kept in (documents_found, references):
                kept.pop(line["key"], None)
            modes.pop(tuple(str(line["key"]).split("|")), None)
        elif topic == POLICIES:
            documents_found[value["scope"]] = value
        elif topic == NODES:
            references[value["node"]] = value
        elif topic == MODES:
            modes[value["region"], value["channel"]] = value
        elif topic == HEARTBEATS:
            key = value["source"], value["region"]
            watermark = parse_time(value["watermark"])
            watermarks[key] = max(watermarks.get(key, watermark), watermark)
    policy = Policies(documents_found.values())
    facts, stream, refusals = admit(candidates, now, policy)
    world = World(facts, stream, now, policy, references, modes, watermarks)
    keys = {(fact["sku"], world.region_of(fact["node"])) for fact in facts}
    keys |= {(fact["sku"], fact["region"]) for fact in facts if fact.topic == RESERVATIONS}
    records = [reckon_record(world, sku, region) for sku, region in keys if region is not None]
    return sorted(records, key=lambda record: f"{record['sku']}|{record['region']}"), refusals

"""Random histories of facts, realistic enough to be wrong about.

A history is a list of {"topic", "key", "value"} lines in the order of the log. It is conflict-free and spans
less than the journal window unless `hostile` facts are asked for. Everything hangs on the given generator, so
one seed is one history.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from .reckoning import (
    DAMAGES,
    FACT_TOPICS,
    HEARTBEATS,
    MODES,
    NODES,
    POLICIES,
    RECEIPTS,
    RESERVATIONS,
    STATES,
    STOCK,
)

Line = dict[str, Any]
CHANNELS = ("web", "app", "store", "marketplace")
HOURS = 60  # what happens, happens within this; what is recorded late, within ten hours more
OFFSETS_MS = (-1500, -1001, -1000, -999, -300, -1, 0, 1, 300, 999, 1000, 1001, 1500)
STARTS = (
    datetime(2026, 3, 10, 5, tzinfo=UTC),
    datetime(2026, 3, 27, 21, tzinfo=UTC),  # clocks go forward in London inside the history
    datetime(2026, 11, 26, 13, 30, tzinfo=UTC),
    datetime(2027, 12, 30, 2, tzinfo=UTC),
)
ZONES = ("UTC", "Europe/London", "America/New_York", "Asia/Tokyo")


def iso(moment: datetime) -> str:
    """The time as the wire has it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(moment: datetime) -> datetime:
    """The time, cut to milliseconds."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class History:
    """A history in the making."""

    def __init__(self, rng: Random, skus: int, cross_region: float, lost: float) -> None:
        self.rng = rng
        self.start = rng.choice(STARTS)
        self.last = self.start + timedelta(hours=HOURS)
        self.skus = [f"SKU-{n}" for n in range(1, skus + 1)]
        self.regions = {
            region: [f"{region}-{n}" for n in range(1, rng.randint(2, 3) + 1)] for region in ("east", "west")
        }
        self.cross_region = cross_region
        self.lost = lost
        self.lines: list[Line] = []
        self.anchors: dict[tuple[str, str], list[datetime]] = {}
        self.events = 0
        self.documents = 0

    # ------------------------------------------------------------------ small choices

    def chance(self, share: float) -> bool:
        """True this often."""
        return self.rng.random() < share

    def moment(self, sku: str, node: str | None, after: datetime | None = None) -> datetime:
        """A time for something to happen, quite often right beside a count."""
        earliest = after or self.start
        anchors = [at for at in self.anchors.get((sku, node or ""), []) if at >= earliest]
        if anchors and self.chance(0.15):
            at = self.rng.choice(anchors) + timedelta(milliseconds=self.rng.choice(OFFSETS_MS))
        elif after is None:
            at = self.start + timedelta(seconds=self.rng.uniform(0, HOURS * 3600))
        else:
            reach = self.rng.choice((0, 0.4, 30, 600, 3600, 20000))
            at = after + timedelta(seconds=reach * self.rng.random())
        return milliseconds(min(self.last, max(earliest, at)))

    def day(self, *offsets: int) -> str:
        """A date so many days from the last day of the history."""
        found: date = self.last.date() + timedelta(days=self.rng.choice(offsets))
        return found.isoformat()

    def document_id(self, prefix: str) -> str:
        """The next free document identity."""
        self.documents += 1
        return f"{prefix}-{self.documents}"

    def node(self) -> tuple[str, str]:
        """A region and one of its nodes."""
        region = self.rng.choice(sorted(self.regions))
        return region, self.rng.choice(self.regions[region])

    # ------------------------------------------------------------------ facts

    def edges(self) -> None:
        """A few facts exactly at the bounds that the rules name, and a millisecond beside them."""
        rng = self.rng
        now = max(datetime.fromisoformat(line["value"]["recorded_at"]) for line in facts_of(self.lines))

        def beside(moment: datetime) -> datetime:
            return moment + timedelta(milliseconds=rng.choice((-1, 0, 1)))

        sku = rng.choice(self.skus)
        region, node = self.node()
        line: dict[str, Any] = {"region": region, "line": 1, "version": 1, "channel": rng.choice(CHANNELS)}
        units = rng.randint(1, 6)
        if self.chance(0.5):  # a soft line that expires now
            line |= {"reservation_id": self.document_id("R"), "state": "SOFT", "expires_at": iso(beside(now))}
            line |= {"requested": units, "open": units, "consumed": 0, "released": 0}
            told = self.emit(RESERVATIONS, "reservation.placed", "oms", sku, now - timedelta(minutes=10), **line)
            told["value"]["recorded_at"] = iso(now)
        anchors = self.anchors.get((sku, node), [])
        if anchors and self.chance(0.5):  # an OMS ship at the as_of of a count, without its WMS ship
            line |= {"reservation_id": self.document_id("R"), "state": "CLOSED", "expires_at": None, "node": node}
            line |= {"requested": units, "open": 0, "consumed": units, "released": 0}
            told = self.emit(RESERVATIONS, "reservation.shipped", "oms", sku, beside(max(anchors)), **line)
            told["value"]["recorded_at"] = iso(min(now, max(anchors) + timedelta(seconds=1)))
        body = {"node": rng.choice(self.regions[region]), "state": "sellable", "reason": "found"}
        if self.chance(0.5):  # a backfill that leaves the correction window now
            recorded = beside(now - timedelta(hours=rng.choice((2, 24))))
            late = self.emit(STOCK, "stock.adjusted", "ims", rng.choice(self.skus), recorded, delta=1, **body)
            late["value"] |= {"recorded_at": iso(recorded), "backfill": True}
        if self.chance(0.5):  # a clock as far ahead as we bear
            ahead = self.emit(STOCK, "stock.adjusted", "ims", rng.choice(self.skus), now, delta=2, **body)
            ahead["value"]["recorded_at"] = iso(now - timedelta(minutes=5))

    def emit(self, topic: str, kind: str, source: str, sku: str, occurred: datetime, **body: Any) -> Line:
        """Put one fact into the history."""
        self.events += 1
        delay = self.rng.choice((0, 0, 0.05, 2, 2, 60, 600, 3 * 3600, 9 * 3600)) * self.rng.random()
        if self.chance(0.05):
            delay = -self.rng.uniform(0, 299)  # a clock that runs ahead
        recorded = milliseconds(occurred + timedelta(seconds=delay))
        value = {
            "event_id": f"e{self.rng.randrange(10**6):06d}-{self.events}",
            "type": kind,
            "schema_version": self.rng.choice(("1.0", "1.0", "1.1")),
            "source": source,
            "source_seq": self.events,
            "sku": sku,
            "occurred_at": iso(occurred),
            "recorded_at": iso(recorded),
            **{name: field for name, field in body.items() if field is not None},
        }
        if delay > 600 and self.chance(0.3):
            value["backfill"] = True
        if self.chance(0.3):
            value["correlation_id"] = f"c{self.events}"
        line = {"topic": topic, "key": sku, "value": value}
        self.lines.append(line)
        return line

    def count(self, sku: str, node: str, as_of: datetime, found: dict[str, int] | None = None) -> None:
        """A count as of some time in the past of the fact."""
        quantities = found
        if quantities is None:
            named = self.rng.sample(STATES[1:], self.rng.randint(0, 3))
            quantities = {state: self.rng.randint(0, 25) for state in named}
            if self.chance(0.85):
                quantities["sellable"] = self.rng.randint(0, 120)
        occurred = as_of + timedelta(seconds=self.rng.choice((0, 1, 90, 1800)))
        self.anchors.setdefault((sku, node), []).append(as_of)
        self.emit(
            STOCK,
            "stock.counted",
            "ims",
            sku,
            milliseconds(occurred),
            node=node,
            as_of=iso(as_of),
            quantities=quantities,
        )

    def counts(self, sku: str, node: str) -> None:
        """Mostly an opening count; then a few counts, some at the very same time."""
        if self.chance(0.8):
            quantities = {state: self.rng.randint(10, 40) for state in STATES}
            quantities["sellable"] = self.rng.randint(20, 150)
            self.count(sku, node, self.start, quantities)
        for _ in range(self.rng.choice((0, 0, 1, 1, 2, 3))):
            as_of = self.moment(sku, node)
            self.count(sku, node, as_of)
            if self.chance(0.2):
                self.count(sku, node, as_of)

    def movement(self, sku: str) -> None:
        """An adjustment, a move, a return or a shipment that no reservation asked for."""
        region, node = self.node()
        at = self.moment(sku, node)
        given = region if self.chance(0.5) else None
        kind = self.rng.choice(("adjusted", "moved", "moved", "returned", "shipped"))
        body: dict[str, Any]
        if kind == "adjusted":
            delta = self.rng.choice((-1, 1)) * self.rng.randint(1, 15)
            body = {"state": self.rng.choice((*STATES, "sellable")), "delta": delta, "reason": "found"}
        elif kind == "moved":
            pair = self.rng.choice(
                (
                    ("receiving", "sellable"),
                    ("qc_hold", "sellable"),
                    ("return_hold", "sellable"),
                    ("sellable", "quarantine"),
                    ("sellable", "qc_hold"),
                    ("return_hold", "damaged"),
                )
            )
            body = {"from_state": pair[0], "to_state": pair[1], "quantity": self.rng.randint(1, 8)}
            body["reason"] = "put right"
        elif kind == "returned":
            body = {"quantity": self.rng.randint(1, 3)}
            if self.chance(0.5):
                body["order_id"] = self.document_id("ORD")
        else:
            body = {"quantity": self.rng.randint(1, 6)}
        source = "wms" if kind in ("shipped", "moved") else "ims"
        self.emit(STOCK, f"stock.{kind}", source, sku, at, node=node, region=given, **body)

    def reservation(self, sku: str) -> None:
        """The life of a reservation line, or the part of it that reached us."""
        rng = self.rng
        region, node = self.node()
        if self.chance(self.cross_region):
            other = next(name for name in self.regions if name != region)
            node = rng.choice(self.regions[other])
        reservation_id, line = self.document_id("R"), rng.randint(1, 2)
        requested = rng.randint(1, 12)
        state, opened, consumed, released, version = "", requested, 0, 0, 0
        channel = rng.choice(CHANNELS)
        due = None if self.chance(0.5) else self.day(-2, -1, 0, 0, 1, 1, 2, 3, 6, 13, 14, 20)
        expires: datetime | None = None
        at = self.moment(sku, node)
        shipments: list[tuple[str, datetime, int]] = []

        def tell(kind: str, where: str | None = None) -> None:
            nonlocal version
            version += 1
            if self.chance(self.lost):
                return
            self.emit(
                RESERVATIONS,
                f"reservation.{kind}",
                "oms",
                sku,
                at,
                region=region,
                node=where,
                reservation_id=reservation_id,
                line=line,
                version=version,
                channel=channel,
                state=state,
                requested=requested,
                open=opened,
                consumed=consumed,
                released=released,
                expires_at=iso(expires) if state == "SOFT" and expires else None,
                due_date=due,
            )

        def later() -> None:
            nonlocal at
            at = self.moment(sku, node, at)

        state = "SOFT" if self.chance(0.6) else "FIRM"
        expires = milliseconds(at + timedelta(seconds=rng.choice((900, 900, 7200, 90000))))
        tell("placed")
        while opened > 0 and not self.chance(0.15):
            later()
            if state == "SOFT":
                step = rng.choice(("extended", "confirmed", "confirmed", "confirmed", "expired", "cancelled"))
                if step == "expired":
                    at = max(at, expires)
                elif self.chance(0.25):  # past the known expiry
                    at = milliseconds(expires + timedelta(seconds=rng.choice((0, 0.001, rng.uniform(0.001, 4000)))))
                if at > self.last:
                    break
                if step == "extended":
                    expires = milliseconds(max(at, expires) + timedelta(seconds=900))
                elif step == "confirmed":
                    state = "FIRM"
                else:
                    state, opened, released = "CLOSED", 0, released + opened
                tell(step)
            elif state == "ALLOCATED":
                step = rng.choice(
                    (*["shipped"] * 6, "allocated", "short", "short", "released", "released", "cancelled")
                )
                if step == "shipped":
                    units = opened if self.chance(0.6) else rng.randint(1, opened)
                    opened, consumed = opened - units, consumed + units
                    state = "ALLOCATED" if opened else "CLOSED"
                    shipments.append((node, at, units))
                    tell(step, node)
                elif step == "allocated":  # the rest comes from somewhere else
                    node = rng.choice(next(nodes for nodes in self.regions.values() if node in nodes))
                    tell(step, node)
                elif step == "short":
                    state = "BACKORDERED"
                    tell(step)
                else:
                    units = opened if step == "cancelled" else rng.randint(1, opened)
                    opened, released = opened - units, released + units
                    state = "ALLOCATED" if opened else "CLOSED"
                    tell(step, node)
            else:
                step = rng.choice(("allocated", "allocated", "allocated", "released", "cancelled", "short"))
                if step == "allocated":
                    state = "ALLOCATED"
                    tell(step, node)
                elif step == "short":
                    state = "BACKORDERED"
                    tell(step)
                else:
                    units = opened if step == "cancelled" else rng.randint(1, opened)
                    opened, released = opened - units, released + units
                    state = state if opened else "CLOSED"
                    tell(step)
        for origin, told, units in shipments:
            self.shipment(sku, origin, told, units, reservation_id, line)

    def shipment(self, sku: str, node: str, told: datetime, units: int, order: str, line: int) -> None:
        """What WMS says of a shipment OMS knows: before it, after it, in parts, or nothing yet."""
        parts = [units] if units == 1 or self.chance(0.7) else [1, units - 1]
        for part in parts:
            if self.chance(0.2):
                continue
            at = told + timedelta(seconds=self.rng.choice((-3600, -60, -0.5, 0, 0.5, 60, 3600)))
            if self.chance(0.2):
                at = self.moment(sku, node)
            at = milliseconds(min(self.last, max(self.start, at)))
            self.emit(
                STOCK,
                "stock.shipped",
                "wms",
                sku,
                at,
                node=node,
                quantity=part,
                reservation_id=order,
                line=line,
            )

    def receipt(self, sku: str) -> None:
        """The life of an inbound line."""
        rng = self.rng
        _, node = self.node()
        receipt_id, line = self.document_id("PO"), rng.randint(1, 3)
        expected = rng.randint(1, 60)
        received = put_away = held = version = 0
        eta = self.day(-6, -4, -3, -2, -1, 0, 1, 2, 4, 13, 20)
        at = self.moment(sku, node)

        def tell(kind: str, stage: str) -> None:
            nonlocal version, at
            version += 1
            at = self.moment(sku, node, at)
            if self.chance(self.lost):
                return
            self.emit(
                RECEIPTS,
                f"receipt.{kind}",
                "purchasing",
                sku,
                at,
                node=node,
                receipt_id=receipt_id,
                line=line,
                version=version,
                stage=stage,
                expected=expected,
                received=received,
                put_away=put_away,
                held=held,
                eta=eta,
                supplier="S1" if version % 2 else None,
            )

        coming = [
            ("planned", "PLANNED"),
            ("confirmed", "CONFIRMED"),
            ("shipped", "IN_TRANSIT"),
            ("arrived", "ARRIVED"),
        ]
        for kind, stage in coming[rng.randint(0, 2) :]:
            if stage == "IN_TRANSIT" and self.chance(0.3):
                expected = max(1, expected + rng.randint(-5, 5))  # the ASN replaces the order
                eta = self.day(-2, -1, 0, 1, 3)
            tell(kind, stage)
            if self.chance(0.4):
                if self.chance(0.15):
                    tell("cancelled", "CANCELLED")
                return
        while received < expected and not self.chance(0.2):
            received += rng.randint(1, expected - received)
            if self.chance(0.2):  # received and put away in one breath
                put_away += rng.randint(1, received - put_away - held)
            tell("received", "RECEIVED")
            while received > put_away + held and not self.chance(0.25):
                units = rng.randint(1, received - put_away - held)
                if self.chance(0.7):
                    put_away += units
                    tell("put_away", "PUT_AWAY")
                else:
                    held += units
                    tell("held", "QC_HOLD")
        if self.chance(0.3):
            if received < expected:
                tell("closed_short", "CLOSED_SHORT")
            else:
                received += rng.randint(0, 3)
                tell("over", "OVER")

    def damage(self, sku: str) -> None:
        """A damage report that grows, is taken back in part, or is written off."""
        rng = self.rng
        _, node = self.node()
        damage_id = self.document_id("D")
        from_state = rng.choice((None, None, "sellable", "receiving", "return_hold"))
        to_state = rng.choice(("damaged", "quarantine"))
        reported, back, gone, version = rng.randint(1, 9), 0, 0, 0
        at = self.moment(sku, node)
        kind = "reported"
        while True:
            version += 1
            if not self.chance(self.lost):
                self.emit(
                    DAMAGES,
                    f"damage.{kind}",
                    "wms",
                    sku,
                    at,
                    node=node,
                    damage_id=damage_id,
                    version=version,
                    from_state=from_state,
                    to_state=to_state,
                    reported=reported,
                    reversed=back,
                    written_off=gone,
                )
            if self.chance(0.4):
                return
            at = self.moment(sku, node, at)
            kind = rng.choice(("reported", "reversed", "written_off"))
            rest = reported - back - gone
            if kind == "reported" or rest == 0:
                kind = "reported"
                reported += rng.randint(1, 5)
            elif kind == "reversed":
                back += rng.randint(1, rest)
            else:
                gone += rng.randint(1, rest)

    # ------------------------------------------------------------------ control

    def policies(self) -> None:
        """A default policy and whatever else this shop has."""
        rng = self.rng

        def some(fields: dict[str, Callable[[], Any]], share: float) -> dict[str, Any]:
            return {name: draw() for name, draw in fields.items() if self.chance(share)}

        def units(most: int) -> dict[str, int]:
            return {name: rng.randint(0, most) for name in CHANNELS if self.chance(0.5)}

        by_channel: dict[str, Callable[[], Any]] = {
            "safety_stock": lambda: rng.choice((0, 3, 10, 500)),
            "buffer_units": lambda: rng.choice((0, 2, 7)),
            "buffer_percent": lambda: rng.choice((0, 5, 12.5, 33)),
            "drift_z": lambda: rng.choice((0, 0.1, 1.0, 2.0)),
        }
        maps: dict[str, Callable[[], Any]] = {
            "protections": lambda: units(12),
            "priorities": lambda: {name: rng.randint(1, 3) for name in CHANNELS if self.chance(0.7)},
            "quotas": lambda: units(20),
        }
        shared: dict[str, Callable[[], Any]] = {
            "horizon_days": lambda: rng.choice((1, 2, 4, 14)),
            "lead_time_days": lambda: rng.choice((0, 1, 3, 30)),
            "stage_weights": lambda: rng.choice(({"PLANNED": 0.25}, {"CONFIRMED": 0.55, "IN_TRANSIT": 0.7})),
            "receiving_weight": lambda: rng.choice((0, 0.5, 0.35, 1)),
            "overdue_days": lambda: rng.choice((0, 1, 3, 5)),
            "overdue_decay": lambda: rng.choice((0.5, 0.9)),
            "drift_units_tolerance": lambda: rng.choice((0, 2, 5)),
            "correction_hours": lambda: rng.choice((2, 24)),
        }
        everywhere = {
            **some(by_channel, 0.4),
            **some(maps, 0.4),
            **some(shared, 0.3),
            "required_sources": ["ims", "oms"] if self.chance(0.5) else [],
        }
        channels = rng.choice((list(CHANNELS), ["web", "store"]))
        scopes: dict[str, dict[str, Any]] = {"default": {**everywhere, "channels": channels}}
        for region in self.regions:
            scopes[f"region:{region}"] = {
                **some(by_channel, 0.2),
                **some(maps, 0.3),
                **some(shared, 0.2),
                "time_zone": rng.choice(ZONES),
            }
        channel = rng.choice(CHANNELS)
        scopes[f"channel:{channel}"] = some(by_channel, 0.5)
        scopes[f"region:east|channel:{channel}"] = some(by_channel, 0.5)
        scopes[f"sku:{rng.choice(self.skus)}"] = {
            **some(by_channel, 0.2),
            **some(maps, 0.3),
            **some(shared, 0.2),
        }
        for scope, fields in scopes.items():
            if self.chance(0.85):
                value = {"scope": scope, "version": rng.randint(1, 40), **fields}
                self.lines.append({"topic": POLICIES, "key": scope, "value": value})

    def reference(self) -> None:
        """The nodes, and the modes of some channels."""
        for region, nodes in self.regions.items():
            for node in nodes:
                if self.chance(0.05):
                    continue  # its reference has not come yet
                kind, trusted = self.rng.choice(("dc", "store")), self.chance(0.8)
                value = {"node": node, "region": region, "kind": kind, "trusted": trusted}
                self.lines.append({"topic": NODES, "key": node, "value": value})
            for channel in CHANNELS:
                if self.chance(0.3):
                    value = {
                        "region": region,
                        "channel": channel,
                        "mode": self.rng.choice(("CONFIDENT", "CONSERVATIVE", "SUSPENDED")),
                        "cause": self.rng.choice(("OPERATOR", "STALE_SOURCE", "RESTORED")),
                    }
                    self.lines.append({"topic": MODES, "key": f"{region}|{channel}", "value": value})

    def heartbeats(self) -> None:
        """Signs of life of the sources of some regions, fresh or stale."""
        now = max(datetime.fromisoformat(line["value"]["recorded_at"]) for line in facts_of(self.lines))
        for region in self.regions:
            for source in ("ims", "oms"):
                for _ in range(self.rng.choice((0, 1, 1, 2))):
                    age = self.rng.choice((0, 10, 299, 300, 301, 4000))
                    watermark = iso(now - timedelta(seconds=age))
                    value = {"type": "source.alive", "source": source, "region": region}
                    value |= {"watermark": watermark, "totals": {}}
                    self.lines.append({"topic": HEARTBEATS, "key": f"{source}|{region}", "value": value})


def facts_of(lines: list[Line]) -> list[Line]:
    """The lines that are facts."""
    return [line for line in lines if line["topic"] in FACT_TOPICS]


def random_history(
    rng: Random,
    *,
    skus: int = 3,
    size: int = 4,
    control: bool = True,
    cross_region: float = 0.05,
    lost: float = 0.05,
    hostile: bool = False,
) -> list[Line]:
    """A history over a few SKUs, in the order of recorded_at.

    `size`: how many documents of each kind a SKU may have. `control`: with policies and heartbeats (the node
    reference and the modes are always there). `cross_region`: share of reservations fulfilled from a node of
    another region. `lost`: share of versions that never came. `hostile`: with facts that must be refused.
    """
    history = History(rng, skus, cross_region, lost)
    for sku in history.skus:
        for nodes in history.regions.values():
            for node in nodes:
                history.counts(sku, node)
        for make, most in (
            (history.movement, 3 * size),
            (history.reservation, 2 * size),
            (history.receipt, size),
            (history.damage, size),
        ):
            for _ in range(rng.randint(0, most)):
                make(sku)
    if not history.lines:
        history.movement(history.skus[0])
    history.edges()
    if hostile:
        add_hostile_facts(history)
    facts = sorted(history.lines, key=lambda line: str(line["value"]["recorded_at"]))
    if control:
        history.policies()
        history.heartbeats()
    history.reference()
    control_lines = [line for line in history.lines if line["topic"] not in FACT_TOPICS]
    place = rng.randint(0, len(facts)) if rng.random() < 0.3 else 0
    return facts[:place] + control_lines + facts[place:]


def shuffled_with_duplicates(history: list[Line], rng: Random) -> list[Line]:
    """The same set of lines in another order, some of them several times.

    A repeated document version may come under another event_id and correlation; a repeated stock fact is the
    same event.
    """
    lines = [copy.deepcopy(line) for line in history]
    for line in facts_of(history):
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            again = copy.deepcopy(line)
            again["value"]["correlation_id"] = f"again-{rng.randrange(10**6)}"
            if line["topic"] != STOCK and rng.random() < 0.3:
                again["value"]["event_id"] = f"again-{rng.randrange(10**12)}"
            lines.append(again)
    rng.shuffle(lines)
    return lines


# ---------------------------------------------------------------------------------- facts to be refused


def add_hostile_facts(history: History) -> None:
    """Spoil the history: for some facts, a bad sibling somewhere after or before it."""
    rng = history.rng
    originals = facts_of(history.lines)
    for n, line in enumerate(rng.sample(originals, max(1, len(originals) // 5))):
        bad = copy.deepcopy(line)
        value = bad["value"]
        recorded = datetime.fromisoformat(value["recorded_at"]) + timedelta(seconds=rng.randint(-600, 600))
        value["recorded_at"] = iso(min(recorded, history.last))
        spoil = rng.choice(SPOILERS)
        spoil(rng, bad, f"hostile-{n}", history)
        history.lines.append(bad)


def same_event(_rng: Random, line: Line, _event_id: str, history: History) -> None:
    """The same event_id with another body."""
    line["value"]["source"] = "impostor"
    line["value"]["occurred_at"] = line["value"]["recorded_at"]
    if "as_of" in line["value"]:
        line["value"]["as_of"] = iso(history.start)


def same_version(_rng: Random, line: Line, event_id: str, _history: History) -> None:
    """Another event that claims the same version of the document, with another source."""
    line["value"]["event_id"] = event_id
    line["value"]["source"] = "impostor"
    line["value"]["occurred_at"] = line["value"]["recorded_at"]
    if line["topic"] == STOCK and line["value"]["type"] == "stock.counted":
        line["value"]["as_of"] = line["value"]["occurred_at"]


def other_document(rng: Random, line: Line, event_id: str, history: History) -> None:
    """A damage document that moves to another node or another state."""
    same_version(rng, line, event_id, history)
    if line["topic"] == DAMAGES:
        line["value"]["version"] += 50
        if rng.random() < 0.5:
            is_damaged = line["value"]["to_state"] == "damaged"
            line["value"]["to_state"] = "quarantine" if is_damaged else "damaged"
        else:
            nodes = [node for nodes in history.regions.values() for node in nodes]
            line["value"]["node"] = rng.choice([node for node in nodes if node != line["value"]["node"]])


def too_old(rng: Random, line: Line, event_id: str, history: History) -> None:
    """Something from before the journal, or an unknown line from before memory."""
    value = line["value"]
    value["event_id"] = event_id
    recorded = datetime.fromisoformat(value["recorded_at"])
    if line["topic"] == RESERVATIONS:
        value["reservation_id"] = f"OLD-{event_id}"
        value["occurred_at"] = iso(recorded - timedelta(days=rng.choice((29, 34, 60))))
    else:
        value["occurred_at"] = iso(recorded - timedelta(hours=rng.choice((73, 140, 500))))
        if "as_of" in value:
            value["as_of"] = value["occurred_at"]
    for name in ("receipt_id", "damage_id"):
        if name in value:
            value[name] = f"OLD-{event_id}"
    del history


def future(rng: Random, line: Line, event_id: str, _history: History) -> None:
    """Something that had not happened when it was recorded."""
    value = line["value"]
    value["event_id"] = event_id
    recorded = datetime.fromisoformat(value["recorded_at"])
    value["occurred_at"] = iso(recorded + timedelta(seconds=rng.choice((300.001, 301, 7200))))
    if "as_of" in value:
        value["as_of"] = value["occurred_at"]


def broken_sum(rng: Random, line: Line, event_id: str, history: History) -> None:
    """Quantities that do not add up."""
    value = line["value"]
    value["event_id"] = event_id
    if line["topic"] == RESERVATIONS:
        value["open"] += rng.randint(1, 3)
    elif line["topic"] == RECEIPTS:
        value["held"] = value["received"] - value["put_away"] + 1
    else:
        bad_schema(rng, line, event_id, history)


def bad_schema(rng: Random, line: Line, event_id: str, _history: History) -> None:
    """A field that is missing, or is not what it should be; or a version from after our time."""
    value = line["value"]
    value["event_id"] = event_id
    kind = rng.randrange(6)
    if kind == 0:
        value["schema_version"] = "2.0"
    elif kind == 1:
        del value[rng.choice(("type", "source", "occurred_at"))]
    elif kind == 2:
        value["type"] = "stock.vanished"
    elif kind == 3:
        value["occurred_at"] = "yesterday"
    elif kind == 4:
        value["event_id"] = "x" * 129
    else:
        wrong = {
            "stock.counted": ("quantities", {"lost": 1}),
            "stock.adjusted": ("delta", 0),
            "stock.moved": ("quantity", 0),
            "stock.shipped": ("quantity", -1),
            "stock.returned": ("quantity", 1.5),
        }
        name, content = wrong.get(value["type"], ("version", 0))
        value[name] = content


SPOILERS = (same_event, same_version, other_document, too_old, future, broken_sum, bad_schema)

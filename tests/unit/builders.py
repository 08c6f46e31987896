"""Facts as they are on the wire, and a small product around the pure core, for tests that read like stories."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from atp.domain.availability import Content, Reckoning
from atp.domain.decoding import decode
from atp.domain.facts import DAMAGES_TOPIC, RECEIPTS_TOPIC, RESERVATIONS_TOPIC, STOCK_TOPIC
from atp.domain.fold import State, World, apply, reckon
from atp.domain.freshness import parse_heartbeat
from atp.domain.intake import Admitted, Duplicate
from atp.domain.modes import parse_mode
from atp.domain.nodes import parse_node
from atp.domain.policy import parse_policy
from atp.domain.record import content_bytes
from atp.domain.refusals import Refusal
from atp.domain.times import FOREVER_MS, to_ms

SKU = "S"
Fact = dict[str, Any]
Outcome = Admitted | Duplicate | Refusal


def stamp(instant: datetime) -> str:
    """An instant as it is on the wire."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(content: Content) -> dict[str, Any]:
    """The content of a record as a reader of the topic sees it."""
    found: dict[str, Any] = msgspec.json.decode(content_bytes(content))
    return found


class Product:
    """State, world and clock; facts go in, records come out."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.state = State.in_memory()
        self.world = World()

    def policy(self, scope: str = "default", **fields: Any) -> None:
        """Set the policy of a scope."""
        self.world.policies.put(parse_policy({"scope": scope, **fields}))

    def node(self, node: str, region: str, trusted: bool = True) -> None:
        """Publish the reference of a node."""
        self.world.nodes[node] = parse_node({"node": node, "region": region, "trusted": trusted})

    def mode(self, region: str, channel: str, mode: str, cause: str = "") -> None:
        """Set the mode of a channel."""
        found = parse_mode({"region": region, "channel": channel, "mode": mode, "cause": cause})
        self.world.modes[region, channel] = found

    def alive(self, source: str, region: str, watermark: datetime) -> None:
        """Take a heartbeat."""
        document = {"source": source, "region": region, "watermark": stamp(watermark)}
        self.world.watermarks.put(parse_heartbeat(document))

    @property
    def compared_ms(self) -> int:
        """Up to here facts were held against snapshots."""
        return -FOREVER_MS

    def take(self, topic: str, value: Fact) -> Outcome:
        """Decode, judge and apply one fact."""
        fact = decode(topic, msgspec.json.encode(value))
        if isinstance(fact, Refusal):
            return fact
        return apply(fact, self.state, self.world.policies.horizons(), to_ms(self.now), self.compared_ms)

    def take_all(self, facts: Iterable[tuple[str, Fact]]) -> None:
        """Take facts none of which may be refused."""
        for topic, value in facts:
            outcome = self.take(topic, value)
            assert not isinstance(outcome, Refusal), f"{value}: {outcome}"

    def reckonings(self, now: datetime | None = None, sku: str = SKU) -> dict[str, Reckoning]:
        """Every record of a SKU with the figures behind it, by region."""
        now_ms = to_ms(now or self.now)
        return dict(reckon(sku, self.state, self.world, self.world.policies.horizons(), now_ms))

    def records(self, now: datetime | None = None, sku: str = SKU) -> dict[str, dict[str, Any]]:
        """The content of every record of a SKU, by region."""
        return {region: plain(found.content) for region, found in self.reckonings(now, sku).items()}


class Wire:
    """Builds facts with fresh identities, as (topic, value)."""

    def __init__(self, sku: str = SKU) -> None:
        self.sku = sku
        self.built = 0

    def envelope(self, at: datetime, source: str, recorded: datetime | None = None) -> Fact:
        """What every fact carries."""
        self.built += 1
        return {
            "event_id": f"e{self.built}",
            "schema_version": "1.0",
            "source": source,
            "sku": self.sku,
            "occurred_at": stamp(at),
            "recorded_at": stamp(recorded or at),
        }

    def stock(self, kind: str, at: datetime, recorded: datetime | None = None, **body: Any) -> tuple[str, Fact]:
        """A stock fact: counted, adjusted, moved, shipped or returned."""
        if kind == "counted":
            body.setdefault("as_of", stamp(at))
        return STOCK_TOPIC, {**self.envelope(at, "ims", recorded), "type": f"stock.{kind}", **body}

    def reservation(
        self, line: str, version: int, state: str, at: datetime, recorded: datetime | None = None, **body: Any
    ) -> tuple[str, Fact]:
        """A version of a reservation line; `requested` is what its parts add up to."""
        name, number = line.split("/")
        parts = {"open": 0, "consumed": 0, "released": 0, **body}
        word = {"SOFT": "placed", "FIRM": "confirmed", "ALLOCATED": "allocated", "BACKORDERED": "short"}
        kind = word.get(state, "shipped" if parts["consumed"] else "cancelled")
        return RESERVATIONS_TOPIC, {
            **self.envelope(at, "oms", recorded),
            "type": f"reservation.{kind}",
            "region": "uk",
            "channel": "web",
            "reservation_id": name,
            "line": int(number),
            "version": version,
            "state": state,
            "requested": parts["open"] + parts["consumed"] + parts["released"],
            **parts,
        }

    def receipt(
        self, line: str, version: int, stage: str, at: datetime, recorded: datetime | None = None, **body: Any
    ) -> tuple[str, Fact]:
        """A version of a receipt line."""
        name, number = line.split("/")
        words = {"PLANNED": "planned", "CONFIRMED": "confirmed", "IN_TRANSIT": "shipped", "QC_HOLD": "held"}
        return RECEIPTS_TOPIC, {
            **self.envelope(at, "purchasing", recorded),
            "type": f"receipt.{words.get(stage, stage.lower())}",
            "receipt_id": name,
            "line": int(number),
            "version": version,
            "stage": stage,
            "expected": 0,
            "received": 0,
            "put_away": 0,
            "held": 0,
            "eta": at.date().isoformat(),
            **body,
        }

    def damage(
        self, name: str, version: int, at: datetime, recorded: datetime | None = None, **body: Any
    ) -> tuple[str, Fact]:
        """A version of a damage document."""
        parts = {"reported": 0, "reversed": 0, "written_off": 0, **body}
        kind = "written_off" if parts["written_off"] else "reversed" if parts["reversed"] else "reported"
        return DAMAGES_TOPIC, {
            **self.envelope(at, "wms", recorded),
            "type": f"damage.{kind}",
            "damage_id": name,
            "version": version,
            "to_state": "damaged",
            **parts,
        }


class Schedule:
    """A published table in our words: on-hand, dated supply at full weight, dated demand, one node."""

    def __init__(self, today: date, on_hand: int, days: int) -> None:
        self.noon = datetime(today.year, today.month, today.day, 12, tzinfo=UTC)
        self.product = Product(self.noon)
        # the tables know no doubt about supply, and what is overdue is out
        self.product.policy(horizon_days=days, overdue_days=0, stage_weights={"CONFIRMED": 1})
        self.product.node("N1", "uk")
        self.wire = Wire()
        self._lines = 0
        self.product.take_all([self.wire.stock("counted", self.noon, node="N1", quantities={"sellable": on_hand})])

    def supply(self, units: int, due: date) -> None:
        """Goods expected on a day."""
        self._lines += 1
        body = {"node": "N1", "expected": units, "eta": due.isoformat()}
        self.product.take_all([self.wire.receipt(f"P{self._lines}/1", 1, "CONFIRMED", self.noon, **body)])

    def demand(self, units: int, due: date) -> str:
        """Units promised for a day; answers the line."""
        self._lines += 1
        line = f"R{self._lines}/1"
        body = {"open": units, "due_date": due.isoformat()}
        self.product.take_all([self.wire.reservation(line, 1, "FIRM", self.noon, **body)])
        return line

    def reckoned(self) -> Reckoning:
        """The record of the one region."""
        return self.product.reckonings()["uk"]

    def atp(self) -> list[int]:
        """ATP of every day of the horizon, never clamped."""
        return list(self.reckoned().waterfall.atp)

    def projected(self) -> list[int]:
        """What lies there at the end of every day, if all goes as planned."""
        return list(self.reckoned().waterfall.projected)


def by_period(start: date, supplies: list[int], demands: list[int], beginning: int = 0) -> Schedule:
    """A table of periods, one day each, the first one today."""
    schedule = Schedule(start, beginning, len(supplies))
    for at, (supply, demand) in enumerate(zip(supplies, demands, strict=True)):
        due = start + timedelta(days=at)
        if supply:
            schedule.supply(supply, due)
        if demand:
            schedule.demand(demand, due)
    return schedule

"""The source systems' facts: what happened in the world, said as the wire contract has it.

A fact goes to the post with the instant at which its source recorded it; when, and how often, it arrives is the
post's doing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from atp.domain.facts import (
    Damage,
    DamageState,
    Fact,
    LineState,
    Receipt,
    Reservation,
    Stage,
    StockCounted,
    StockMoved,
    StockReturned,
    StockShipped,
    StockState,
)
from atp.domain.times import from_ms
from atp.simulation.agenda import Agenda
from atp.simulation.oms import OrderLine
from atp.simulation.places import OMS, PURCHASING, Place
from atp.simulation.post import Post

VERSION = "1.0"


class Sources:
    """Says what happens; each method is one type of fact."""

    def __init__(self, agenda: Agenda, post: Post) -> None:
        self._agenda, self._post = agenda, post
        self._said = 0

    def _now(self) -> datetime:
        return from_ms(self._agenda.now_ms)

    def _id(self, source: str) -> str:
        self._said += 1
        return f"{source}-{self._said}"

    def _send(self, fact: Fact, region: str) -> None:
        self._post.send(fact, region, self._agenda.now_ms)

    def counted(self, sku: str, place: Place, quantities: dict[StockState, int]) -> None:
        """Somebody counted a shelf."""
        now = self._now()
        fact = StockCounted(
            event_id=self._id(place.owner), schema_version=VERSION, source=place.owner, sku=sku,
            occurred_at=now, recorded_at=now, node=place.node, as_of=now, quantities=dict(quantities),
        )  # fmt: skip
        self._send(fact, place.region)

    def returned(self, sku: str, place: Place, units: int) -> None:
        """A customer brought units back."""
        now = self._now()
        fact = StockReturned(
            event_id=self._id(place.owner), schema_version=VERSION, source=place.owner, sku=sku,
            occurred_at=now, recorded_at=now, node=place.node, quantity=units,
        )  # fmt: skip
        self._send(fact, place.region)

    def moved(self, sku: str, place: Place, source: StockState, target: StockState, units: int, reason: str) -> None:
        """Units changed their state."""
        now = self._now()
        fact = StockMoved(
            event_id=self._id(place.owner), schema_version=VERSION, source=place.owner, sku=sku,
            occurred_at=now, recorded_at=now, node=place.node,
            from_state=source, to_state=target, quantity=units, reason=reason,
        )  # fmt: skip
        self._send(fact, place.region)

    def shipped(self, line: OrderLine, place: Place, units: int) -> None:
        """A parcel left the node."""
        now = self._now()
        fact = StockShipped(
            event_id=self._id(place.owner), schema_version=VERSION, source=place.owner, sku=line.sku,
            occurred_at=now, recorded_at=now, node=place.node,
            quantity=units, reservation_id=line.reservation_id, line=1,
        )  # fmt: skip
        self._send(fact, place.region)

    def damaged(self, sku: str, place: Place, damage_id: str, units: int) -> None:
        """Units were found broken."""
        now = self._now()
        fact = Damage(
            event_id=self._id(place.owner), schema_version=VERSION, source=place.owner, sku=sku,
            occurred_at=now, recorded_at=now, node=place.node, type="damage.reported",
            damage_id=damage_id, version=1, to_state=DamageState.DAMAGED, reported=units, reversed=0, written_off=0,
        )  # fmt: skip
        self._send(fact, place.region)

    def reserved(self, line: OrderLine, what: str) -> None:
        """An order line changed; the fact states the line as it is now."""
        now = self._now()
        soft = line.state is LineState.SOFT
        fact = Reservation(
            event_id=self._id(OMS), schema_version=VERSION, source=OMS, sku=line.sku, region=line.region,
            node=line.node or None, occurred_at=now, recorded_at=now, type=f"reservation.{what}",  # type: ignore[arg-type]
            reservation_id=line.reservation_id, line=1, version=line.version, channel=line.channel, state=line.state,
            requested=line.requested, open=line.open, consumed=line.consumed, released=line.released,
            expires_at=from_ms(line.expires_ms) if soft else None,
        )  # fmt: skip
        self._send(fact, line.region)

    def received(
        self, sku: str, place: Place, receipt_id: str, step: tuple[int, str, Stage], units: tuple[int, int, int]
    ) -> None:
        """An inbound line moved on. `step`: version, type, stage; `units`: expected, received, put away."""
        now, (version, what, stage), (expected, received, put_away) = self._now(), step, units
        fact = Receipt(
            event_id=self._id(PURCHASING), schema_version=VERSION, source=PURCHASING, sku=sku,
            occurred_at=now, recorded_at=now, node=place.node, type=f"receipt.{what}",  # type: ignore[arg-type]
            receipt_id=receipt_id, line=1, version=version, stage=stage,
            expected=expected, received=received, put_away=put_away, held=0, eta=self._today(),
        )  # fmt: skip
        self._send(fact, place.region)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._agenda.now_ms / 1000, UTC).date()

"""Returns, adjustments, damages, receipts and counts → their facts.

The source states that units came back, were adjusted or were damaged; where a return was put, how a damage ended,
and every receipt and count is DERIVED, and says so in `correlation_id` (receipts: in `source`).
(Over 150 lines: one short renderer per document; apart they would hide what they share.)
"""

from __future__ import annotations

from typing import Any

import msgspec

from atp.domain.times import DAY_MS, HOUR_MS
from atp.sources.retail_documents import Adjustment, Count, DamageReport, InboundReceipt, Return
from atp.sources.retail_outbox import STREAMS, Outbox
from atp.sources.retail_supply import stage_gaps_ms
from atp.sources.retail_time import MAX_DELAY_MS, mix, wire_day, wire_time
from atp.sources.retail_world import INVENTORY, PURCHASING, WMS, Place

_encode = msgspec.json.Encoder().encode


class Sender:
    """Sends facts of one SKU at one node: what they have in common is said once."""

    def __init__(self, outbox: Outbox, source: str, sku: str, place: Place, chance: int) -> None:
        self._outbox = outbox
        self._source, self._sku, self._place = source, sku, place
        self._delay_ms = mix(chance) % MAX_DELAY_MS

    def send(self, kind: str, event_id: str, ms: int, units: int, derived: str = "", /, **body: Any) -> None:
        """Send a fact that occurred at `ms`; `derived` names the rule that invented it."""
        recorded_ms = ms + self._delay_ms
        fact: dict[str, Any] = {
            "event_id": event_id,
            "type": kind,
            "schema_version": "1.0",
            "source": self._source,
            "sku": self._sku,
            "region": self._place.region,
            "node": self._place.node,
            "occurred_at": wire_time(ms),
            "recorded_at": wire_time(recorded_ms),
        }
        if derived:
            fact["correlation_id"] = f"derived:{derived}"
        fact.update(body)
        stream = STREAMS[self._source, self._place.region]
        text = _encode(fact)[:-1].decode()
        self._outbox.add(recorded_ms, stream, kind, units, self._sku.encode(), text)


def render_return(back: Return, outbox: Outbox) -> None:
    """Units come back into return_hold; one to four days later they are sellable again, or damaged."""
    sender = Sender(outbox, INVENTORY, back.sku, back.place, back.position)
    name = f"{back.position}-{back.piece}"
    order = {"order_id": back.order} if back.order else {}
    sender.send("stock.returned", f"ret-{name}", back.start_ms, back.units, quantity=back.units, **order)
    move = {
        "from_state": "return_hold",
        "to_state": "sellable" if back.resold else "damaged",
        "quantity": back.units,
        "reason": "return inspected",
    }
    sender.send("stock.moved", f"disp-{name}", back.disposed_ms, back.units, "return-disposal", **move)


def render_adjustment(change: Adjustment, outbox: Outbox) -> None:
    """A manual adjustment, with the description of the source as its reason."""
    sender = Sender(outbox, INVENTORY, change.sku, change.place, change.position)
    body = {"state": "sellable", "delta": change.units, "reason": change.reason}
    sender.send("stock.adjusted", f"adj-{change.position}", change.start_ms, change.units, **body)


def render_damage(damage: DamageReport, outbox: Outbox) -> None:
    """The report, and how it ended."""
    sender = Sender(outbox, WMS, damage.sku, damage.place, damage.position)
    steps = [("reported", damage.start_ms, 0, 0)]
    if damage.reversed_units:
        steps.append(("reversed", damage.reversed_ms, damage.reversed_units, 0))
    rest = damage.units - damage.reversed_units
    if damage.written_off_ms and rest:
        steps.append(("written_off", damage.written_off_ms, damage.reversed_units, rest))
    for version, (what, ms, reversed_units, written_off) in enumerate(steps, 1):
        body = {
            "damage_id": f"DMG-{damage.position}",
            "version": version,
            "to_state": "quarantine" if damage.quarantine else "damaged",
            "reported": damage.units,
            "reversed": reversed_units,
            "written_off": written_off,
        }
        derived = "damage-outcome" if version > 1 else ""
        sender.send(f"damage.{what}", f"dmg-{damage.position}-{version}", ms, damage.units, derived, **body)


def render_count(count: Count, outbox: Outbox) -> None:
    """The opening count names every state; a cycle count names only what was counted, sellable."""
    name = f"{count.place.node}-{count.sku}-{count.number}"
    sender = Sender(outbox, INVENTORY, count.sku, count.place, count.start_ms + count.place.number + count.units)
    quantities = {"sellable": count.units}
    if count.number == 0:
        quantities |= dict.fromkeys(("receiving", "qc_hold", "damaged", "quarantine", "return_hold"), 0)
    derived = "cycle-count" if count.number else "opening-stock"
    body = {"as_of": wire_time(count.start_ms), "quantities": quantities}
    sender.send("stock.counted", f"cnt-{name}", count.start_ms, count.units, derived, **body)


# (type, stage, gap before it, expected, received, put away, held)
_Stage = tuple[str, str, int, int, int, int, int]


def _stages(receipt: InboundReceipt) -> list[_Stage]:
    planned, confirmed, shipped, arrived, received = stage_gaps_ms(receipt.chance)
    units, held = receipt.units, receipt.held
    came = units + held
    expected = came - receipt.surprise
    stages: list[_Stage] = [
        ("planned", "PLANNED", 0, expected, 0, 0, 0),
        ("confirmed", "CONFIRMED", planned, expected, 0, 0, 0),
        ("shipped", "IN_TRANSIT", confirmed, expected, 0, 0, 0),
        ("arrived", "ARRIVED", shipped, expected, 0, 0, 0),
        ("received", "RECEIVED", arrived, expected, came, 0, 0),
        ("put_away", "PUT_AWAY", received, expected, came, units, 0),
    ]
    if held:
        stages.append(("held", "QC_HOLD", HOUR_MS, expected, came, units, held))
    if receipt.surprise:
        end = ("closed_short", "CLOSED_SHORT") if receipt.surprise < 0 else ("over", "OVER")
        stages.append((*end, HOUR_MS, expected, came, units, 0))
    return stages


def render_receipt(receipt: InboundReceipt, outbox: Outbox) -> None:
    """The stages of an inbound line, the release of what was held, and a cancelled line beside a few."""
    _render_stages(receipt, 1, _stages(receipt), outbox)
    if receipt.cancelled:
        begun = _stages(receipt)[:2]
        expected = begun[0][3]
        _render_stages(receipt, 2, [*begun, ("cancelled", "CANCELLED", DAY_MS, expected, 0, 0, 0)], outbox)
    if receipt.held:
        _release(receipt, outbox)


def _render_stages(receipt: InboundReceipt, line: int, stages: list[_Stage], outbox: Outbox) -> None:
    sender = Sender(outbox, PURCHASING, receipt.sku, receipt.place, receipt.chance)
    ms = receipt.start_ms
    for version, (what, stage, gap_ms, expected, received, put_away, held) in enumerate(stages, 1):
        ms += gap_ms
        body = {
            "receipt_id": receipt.receipt_id,
            "line": line,
            "version": version,
            "stage": stage,
            "expected": expected,
            "received": received,
            "put_away": put_away,
            "held": held,
            "eta": wire_day(receipt.eta_ms),
            "supplier": f"derived-supplier-{receipt.chance % 40:02d}",
        }
        event_id = f"{receipt.receipt_id}-{line}-{version}"
        sender.send(f"receipt.{what}", event_id, ms, expected, **body)


def _release(receipt: InboundReceipt, outbox: Outbox) -> None:
    sender = Sender(outbox, INVENTORY, receipt.sku, receipt.place, receipt.chance)
    body = {
        "from_state": "qc_hold",
        "to_state": "damaged" if receipt.released_damaged else "sellable",
        "quantity": receipt.held,
        "reason": "quality control done",
    }
    event_id = f"qc-{receipt.receipt_id}"
    sender.send("stock.moved", event_id, receipt.released_ms, receipt.held, "qc-release", **body)

"""A sale line → the facts of its reservation and of its parcels.

The source states the sale and its cancellations. DERIVED: when it was confirmed and allocated, whether it was
SOFT first, when the parcel left, that some lines leave in two parcels, the due date of marketplace lines.
`line` is the row's position in the file, as an invoice may name a SKU many times.
"""

from __future__ import annotations

from atp.domain.times import DAY_MS, MINUTE_MS
from atp.sources.retail_documents import Line
from atp.sources.retail_outbox import STREAMS, Outbox
from atp.sources.retail_time import MAX_DELAY_MS, SECOND_MS, wire_day, wire_time
from atp.sources.retail_world import APP, MARKETPLACE, OMS, STORE, WEB, WMS

SOFT_TTL_MS = 15 * MINUTE_MS
# (time, what happens, units or expiry)
_Step = tuple[int, str, int]


def render_line(line: Line, outbox: Outbox) -> None:
    """All facts of a sale line."""
    steps, parcels = _before_shipping(line), line.parcels()
    shown_after_ms = 5 * SECOND_MS + (line.chance >> 32) % (55 if line.channel == STORE else 480) * SECOND_MS
    steps += [(ms + shown_after_ms, "shipped", units) for ms, units in parcels]
    if line.cancels:
        steps += [(ms, "released", units) for ms, units in line.cancels]
        steps.sort(key=_time_of)
    _render_reservation(line, steps, outbox)
    _render_parcels(line, parcels, outbox)


def _time_of(step: _Step) -> int:
    return step[0]


def _before_shipping(line: Line) -> list[_Step]:
    """Over the counter nothing is confirmed or allocated; elsewhere both are done within the hour."""
    placed_ms, chance = line.start_ms, line.chance
    if line.channel == STORE:
        return [(placed_ms, "placed", 0)]
    steps, ready_ms = [(placed_ms, "placed", 0)], placed_ms
    if line.channel in (WEB, APP) and (chance >> 16) % 100 < 40:
        expires_ms = placed_ms + SOFT_TTL_MS
        steps = [(placed_ms, "placed", expires_ms)]
        if (chance >> 24) % 100 < 12:
            ready_ms = expires_ms - MINUTE_MS
            steps.append((ready_ms, "extended", ready_ms + SOFT_TTL_MS))
        ready_ms += 30 * SECOND_MS + (chance >> 12) % (8 * MINUTE_MS)
        steps.append((ready_ms, "confirmed", 0))
    if line.short_ms:
        steps.append((line.short_ms, "short", 0))
        ready_ms = line.ship_ms - 8 * MINUTE_MS
    steps.append((ready_ms + MINUTE_MS + (chance >> 20) % (5 * MINUTE_MS), "allocated", 0))
    return steps


_STATE_AFTER = {"confirmed": "FIRM", "extended": "SOFT", "allocated": "ALLOCATED", "short": "BACKORDERED"}


class _Reservation:
    """A reservation line as its steps change it."""

    __slots__ = ("consumed", "expires", "open", "released", "state")

    def __init__(self, units: int) -> None:
        self.open, self.consumed, self.released = units, 0, 0
        self.state, self.expires = "FIRM", ""

    def take(self, what: str, amount: int) -> str:
        """Take a step; the name of the fact that says so (a line released to the last unit is cancelled)."""
        if what == "shipped":
            self.consumed += amount
            self.open -= amount
        elif what == "released":
            self.released += amount
            self.open -= amount
            what = "released" if self.open or self.consumed else "cancelled"
        else:
            self.state = _STATE_AFTER.get(what) or ("SOFT" if amount else "FIRM")
            self.expires = f',"expires_at":"{wire_time(amount)}"' if amount else ""
        if self.open == 0:
            self.state, self.expires = "CLOSED", ""
        return what


def _fixed_fields(line: Line) -> str:
    """What every version of a line says."""
    due = ""
    if line.channel == MARKETPLACE:
        due = f',"due_date":"{wire_day(line.start_ms + (line.chance >> 8) % 3 * DAY_MS)}"'
    return (
        f'"schema_version":"1.0","source":"{OMS}","sku":"{line.sku}","region":"{line.place.region}",'
        f'"reservation_id":"OR-{line.invoice}","line":{line.position},"channel":"{line.channel}",'
        f'"requested":{line.units}{due}'
    )


def _render_reservation(line: Line, steps: list[_Step], outbox: Outbox) -> None:
    """One fact per step; each states the whole line after it."""
    fixed, node, position = _fixed_fields(line), f',"node":"{line.place.node}"', line.position
    key, stream = line.sku.encode(), STREAMS[OMS, line.place.region]
    delay_ms = line.chance % (60 * SECOND_MS)
    after = _Reservation(line.units)
    for version, (ms, what, amount) in enumerate(steps, 1):
        what = after.take(what, amount)
        where = node if after.state == "ALLOCATED" or what == "shipped" else after.expires
        body = (
            f'{{"event_id":"oms-{position}-{version}","type":"reservation.{what}",{fixed},'
            f'"occurred_at":"{wire_time(ms)}","recorded_at":"{wire_time(ms + delay_ms)}",'
            f'"version":{version},"state":"{after.state}","open":{after.open},"consumed":{after.consumed},'
            f'"released":{after.released}{where}'
        )
        outbox.add(ms + delay_ms, stream, f"reservation.{what}", line.units, key, body)
        if after.open == 0:
            return


def _render_parcels(line: Line, parcels: list[tuple[int, int]], outbox: Outbox) -> None:
    region = line.place.region
    key, stream = line.sku.encode(), STREAMS[WMS, region]
    delay_ms = (line.chance >> 28) % MAX_DELAY_MS
    for number, (ms, units) in enumerate(parcels, 1):
        outbox.add(
            ms + delay_ms,
            stream,
            "stock.shipped",
            units,
            key,
            f'{{"event_id":"wms-{line.position}-{number}","type":"stock.shipped","schema_version":"1.0",'
            f'"source":"{WMS}","sku":"{line.sku}","region":"{region}","node":"{line.place.node}",'
            f'"occurred_at":"{wire_time(ms)}","recorded_at":"{wire_time(ms + delay_ms)}",'
            f'"quantity":{units},"reservation_id":"OR-{line.invoice}","line":{line.position}',
        )

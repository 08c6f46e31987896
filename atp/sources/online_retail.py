"""UCI Online Retail as a stream of facts: a year, or its Christmas peak, of a UK giftware seller.

What the source states: sales, cancellations, free goods, manual adjustments and damages, with SKU, units, minute,
customer and country. What is DERIVED (by rule and hash, never by chance): regions, nodes and channels; every step
between a sale and its parcel; opening stock, receipts (`source` "derived:purchasing") and counts (`correlation_id`
"derived:…"); heartbeats. Two replays of the same span are equal byte for byte, and none of their facts is refused.

A span opens with its own count of every shelf at its start; what happened before it is not known to it, so
cancellations of earlier sales come back without an order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec

from atp.domain.facts import FACT_TYPES, Fact
from atp.sources.retail_demand import Demand
from atp.sources.retail_documents import (
    Adjustment,
    Count,
    DamageReport,
    Document,
    InboundReceipt,
    Line,
    Return,
)
from atp.sources.retail_lines import render_line
from atp.sources.retail_outbox import Outbox, Record
from atp.sources.retail_papers import (
    render_adjustment,
    render_count,
    render_damage,
    render_receipt,
    render_return,
)
from atp.sources.retail_rows import FIRST_DAY, LAST_DAY, rows_of
from atp.sources.retail_supply import Supply
from atp.sources.retail_time import day_start_ms
from atp.sources.retail_totals import summary
from atp.sources.retail_world import NODES_TOPIC, POLICIES_TOPIC, node_references, policies

QUARTER_FIRST_DAY = "2011-09-09"
_RENDERERS: dict[type, Callable[[Any, Outbox], None]] = {
    Line: render_line,
    Return: render_return,
    Adjustment: render_adjustment,
    DamageReport: render_damage,
    InboundReceipt: render_receipt,
    Count: render_count,
}
_DECODERS = {topic: msgspec.json.Decoder(kind) for topic, kind in FACT_TYPES.items()}
_encode = msgspec.json.Encoder().encode


class OnlineRetail:
    """A replay of the days `first_day` to `last_day` (inclusive, `YYYY-MM-DD`, UK).

    `limit`: stop after that many records. `heartbeats`: hourly, per source and region.
    """

    def __init__(self, first_day: str, last_day: str, *, limit: int | None = None, heartbeats: bool = True) -> None:
        self.start_ms = day_start_ms(max(first_day, FIRST_DAY))
        self._limit, self._heartbeats = limit, heartbeats
        self.demand = Demand(rows_of(first_day, last_day))
        lines = self.demand.lines
        self.end_ms = lines[-1].start_ms if lines else self.start_ms
        self.supply = Supply(self.demand, self.start_ms, self.end_ms)
        self._sent: Counter[str] | None = None

    def records(self) -> Iterator[Record]:
        """(topic, key, value, recorded_at ms), all bytes encoded, in order of `recorded_at`."""
        return islice(self._records(), self._limit)

    def facts(self) -> Iterator[tuple[str, str, Fact | dict[str, Any]]]:
        """(topic, key, fact); references, policies and heartbeats come as plain documents."""
        for topic, key, value, _ in self.records():
            decoder = _DECODERS.get(topic)
            fact = decoder.decode(value) if decoder else msgspec.json.decode(value)
            yield topic, key.decode(), fact

    def manifest(self) -> dict[str, Any]:
        """Rows by kind, facts by type, what is derived, and the conservation of units, of the whole span."""
        if self._sent is None:
            for _ in self._records():
                pass
        assert self._sent is not None
        return summary(self.demand, self.supply, self._sent)

    def _records(self) -> Iterator[Record]:
        outbox = Outbox(self.start_ms, self._heartbeats)
        yield from _references(self.start_ms)
        for document in self._documents():
            yield from outbox.send_until(document.start_ms)
            _RENDERERS[type(document)](document, outbox)
        yield from outbox.send_rest()
        self._sent = outbox.sent

    def _documents(self) -> list[Document]:
        demand, supply = self.demand, self.supply
        documents: list[Document] = [
            *supply.counts,
            *supply.receipts,
            *demand.lines,
            *demand.returns,
            *demand.adjustments,
            *demand.damages,
        ]
        documents.sort(key=_start_of)
        return documents


def _start_of(document: Document) -> int:
    return document.start_ms


def _references(start_ms: int) -> Iterator[Record]:
    for node in node_references():
        yield NODES_TOPIC, node["node"].encode(), _encode(node), start_ms
    for policy in policies():
        yield POLICIES_TOPIC, policy["scope"].encode(), _encode(policy), start_ms


def quarter(*, full: bool = False, limit: int | None = None, heartbeats: bool = True) -> OnlineRetail:
    """The last quarter, the Christmas peak (2011-09-09 to 2011-12-09); `full`: the whole year."""
    first_day = FIRST_DAY if full else QUARTER_FIRST_DAY
    return OnlineRetail(first_day, LAST_DAY, limit=limit, heartbeats=heartbeats)

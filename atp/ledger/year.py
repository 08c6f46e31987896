"""A year of real retail closed day by day, and held against totals added up from the source's own rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from atp import topics
from atp.domain.fold import World
from atp.domain.ledger_close import final_ms
from atp.domain.ledger_rules import policy_of
from atp.domain.nodes import parse_node
from atp.domain.policy import parse_policy
from atp.domain.times import DAY_MS, rfc3339
from atp.ledger.gather import Gathered, Record
from atp.ledger.store import Manifest
from atp.sources.online_retail import OnlineRetail
from atp.sources.retail_rows import RowKind, rows_of
from atp.sources.retail_world import REGIONS, SOURCES, node_references, policies

_ADJUSTED = (RowKind.ADJUSTMENT_DOWN, RowKind.ADJUSTMENT_UP)
_SOLD = (RowKind.SALE, RowKind.FREE_GOODS, RowKind.CANCELLATION)


class RetailOrigin:
    """The facts of a span of Online Retail, with sources that stay alive until the last of it can be closed."""

    name = "Online Retail"

    def __init__(self, first_day: str, last_day: str) -> None:
        self.span = (first_day, last_day)
        self.source = OnlineRetail(first_day, last_day)
        self.close_ms = 0

    def world(self, upto: Mapping[str, int] | None = None) -> World:
        """Its nodes and policies."""
        world = World()
        for document in node_references():
            node = parse_node(document)
            world.nodes[node.node] = node
        for document in policies():
            world.policies.put(parse_policy(document))
        return world

    def records(self, upto: Mapping[str, int] | None = None) -> Iterator[Record]:
        """Its records; then a sign of life of every source two days after the last."""
        last_ms, seen = 0, Counter[str]()
        for topic, key, value, recorded_ms in self.source.records():
            last_ms = recorded_ms
            seen[topic] += 1
            yield Record(topic, key.decode(), value, topic, seen[topic])
        self.close_ms, beats = last_ms + 3 * DAY_MS, topics.HEARTBEATS.name
        for source in SOURCES:
            for region in REGIONS:
                beat = {"source": source, "region": region, "watermark": rfc3339(last_ms + 2 * DAY_MS)}
                seen[beats] += 1
                yield Record(beats, None, msgspec.json.encode(beat), beats, seen[beats])


class Check(msgspec.Struct):
    """A total of the year, from the ledger and added up from the source's rows."""

    what: str
    ledger: int
    source: int


def sums_of(manifests: Iterable[Manifest]) -> Counter[str]:
    """Σ over the year of every movement."""
    sums: Counter[str] = Counter()
    for manifest in manifests:
        sums.update(manifest.control_totals)
    return sums


def checks(sums: Mapping[str, int], origin: RetailOrigin, closing: Counter[str]) -> list[Check]:
    """Yearly totals against the CSV; where the replay derives something, its plan says how many units."""
    rows: Counter[RowKind] = Counter()
    for row in rows_of(*origin.span):
        if row.goods:
            rows[row.kind] += row.units
    planned = origin.source.manifest()["units"]
    sold = -sums["shipments_on_hand"] - sums["returns_on_hand"]
    adjusted = sums["adjustments_on_hand"] + sums["damages_sellable"] - planned["damage_reversed"]
    return [
        Check("sold and not returned: sales + free goods + cancellations", sold, sum(rows[k] for k in _SOLD)),
        Check("found, lost and damaged: adjustments", adjusted, sum(rows[k] for k in _ADJUSTED)),
        Check("shipped", -sums["shipments_on_hand"], planned["shipped"]),
        Check("returned", sums["returns_on_hand"], planned["returned"]),
        Check("counted: opening stock and drift", sums["count_corrections_sellable"],
              planned["opening"] + planned["counts_drift"]),
        Check("sellable at the end", closing["closing_sellable"], planned["closing"]),
    ]  # fmt: skip


def late_facts(gathered: Gathered) -> int:
    """Stock facts recorded after the final close of their date. With none, a close at the end is one day by day."""
    late = 0
    for facts in gathered.facts.values():
        for posting in facts.postings:
            policy = policy_of(gathered.world, gathered.world.nodes[posting.node].region)
            late += posting.recorded_ms > final_ms(policy.calendar.day(posting.time_ms), policy)
    return late

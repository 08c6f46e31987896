"""Available to Promise of one (SKU, region): the one function that computes every published number.

    P_0 = Σ sellable + ⌊receiving_weight · Σ receiving⌋ + S_0 − D_0 − holds      P_k = P_{k−1} + S_k − D_k
    ATP_k = min(P_k … P_H)

ATP_0 is the largest promise that leaves no later bucket negative. Buckets are days from today in the region's
time zone. Nodes are netted within the region.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

import msgspec

from atp.domain.freshness import WatermarkBook
from atp.domain.intake import Horizons, SkuHead
from atp.domain.modes import CONFIDENT, Mode, ModeBook
from atp.domain.nodes import Node
from atp.domain.policy import ChannelPolicy, RecordPolicy
from atp.domain.receipts import SupplyBook
from atp.domain.reservations import QUARTER_MS, DemandBook, SoftDemand
from atp.domain.stock import RECEIVING, SELLABLE, STATES, NodeStock, sellable_drifts
from atp.domain.times import FOREVER_MS, Day, iso_day

NO_DEMAND = DemandBook()
NO_SUPPLY = SupplyBook()
NO_STOCK = NodeStock.empty()


class Situation(NamedTuple):
    """All that bears on one record: the SKU's state, and what people and sources say of the region."""

    sku: str
    region: str
    head: SkuHead
    nodes: list[tuple[Node, NodeStock]]  # the region's nodes that the SKU's facts named
    demand: DemandBook
    supply: SupplyBook
    policy: RecordPolicy
    modes: ModeBook
    watermarks: WatermarkBook
    horizons: Horizons
    now_ms: int


class OnHand(msgspec.Struct, gc=False):
    """Raw units by state, summed over the region's nodes; never clamped."""

    sellable: int
    receiving: int
    qc_hold: int
    damaged: int
    quarantine: int
    return_hold: int


class Reserved(msgspec.Struct, gc=False):
    """Open units of reservations by state, whenever they are due."""

    soft: int
    firm: int
    allocated: int
    backordered: int


class Bucket(msgspec.Struct, gc=False):
    """ATP of a day on which the figure changes: what may be promised for that day, never below 0."""

    date: str
    atp: int


class Channel(msgspec.Struct, gc=False):
    """What one channel may sell, and how much that may be believed."""

    mode: Mode
    confidence: str
    reasons: list[str]
    sellable: int
    confident: int
    conservative: int


class Content(msgspec.Struct, gc=False):
    """The content of a canonical record: what makes two records differ."""

    on_hand: OnHand
    reserved: Reserved
    atp: int
    shortage: int
    buckets: list[Bucket]
    channels: dict[str, Channel]
    flags: list[str]
    policy_version: int


class Reckoning(msgspec.Struct, gc=False):
    """A record's content, until when its own lines and marks leave it true (ms), and the figures behind it.

    What time changes for a whole region at once, the day and the freshness of its sources, is `outlook`.
    """

    content: Content
    valid_until_ms: int
    stream_until_ms: int  # until when the SKU's stream time leaves it true (ms)
    waterfall: Waterfall


class Waterfall(msgspec.Struct, gc=False):
    """The components of the published number."""

    sellable: int = 0
    receiving: int = 0
    holds: int = 0
    supply: list[int] = []
    demand: list[int] = []
    projected: list[int] = []
    atp: list[int] = []
    trusted_sellable: int = 0
    untrusted_allocated: int = 0
    drift_variance: tuple[int, int] = (0, 1)
    doubtful: bool = False
    negative: bool = False
    drifted_units: int = 0  # ours and the latest snapshots' differ by so many
    over_units: int = 0  # of them, promised too many


class _Open:
    """Open demand of the region, gathered once."""

    __slots__ = ("buckets", "expires_ms", "late", "reserved", "soft", "untrusted_allocated")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        self.reserved = Reserved(0, 0, 0, 0)
        self.untrusted_allocated = 0
        self.soft: list[SoftDemand] = []
        self.late = False
        self.expires_ms = FOREVER_MS

    def due(self, sums: dict[int, int], today: int) -> tuple[int, int]:
        """Put units into their buckets; answer all of them, and those due within the horizon."""
        total = within = 0
        for ordinal, units in sums.items():
            total += units
            at = ordinal - today if ordinal > today else 0
            if at < len(self.buckets):
                self.buckets[at] += units
                within += units
        return total, within


def availability(situation: Situation) -> Reckoning:
    """The canonical content of one (SKU, region) at `now`."""
    policy = situation.policy
    today = policy.calendar.day(situation.now_ms)
    demand = _demand(situation, today.ordinal)
    supply, overdue = _supply(situation, today.ordinal)
    waterfall = _project(situation, demand, supply)
    drifts = [d for _, stock in situation.nodes for d in _drifts(situation, stock)]
    waterfall.drift_variance = _variance(drifts)
    if situation.head.drifts:
        waterfall.drifted_units, waterfall.over_units = _drifted(situation)
    flags, flags_until_ms = _flags(situation, demand, waterfall, overdue)
    _, stale = outlook(situation.region, policy, situation.watermarks, situation.now_ms)
    atp_now = waterfall.atp[0]
    content = Content(
        _on_hand(situation),
        demand.reserved,
        max(0, atp_now),
        max(0, -atp_now),
        _buckets(waterfall.atp, today.ordinal),
        _channels(situation, demand, waterfall, today, stale),
        flags,
        policy.version,
    )
    return Reckoning(content, min(demand.expires_ms, flags_until_ms), _stream_until(situation), waterfall)


def _drifted(situation: Situation) -> tuple[int, int]:
    """Units in which the region's state differs from the latest snapshots, and of them those promised too many.

    A key that drifts by no more than is tolerated does not count.
    """
    places = [f"stock|{node.node}" for node, _ in situation.nodes] + [f"reservations|{situation.region}"]
    found = [situation.head.drifts[place] for place in places if place in situation.head.drifts]
    tolerance = situation.policy.drift_units_tolerance
    counted = [(units, over) for units, over in found if units > tolerance]
    return sum(units for units, _ in counted), sum(over for _, over in counted)


def _stream_until(situation: Situation) -> int:
    """The stream time beyond which a count leaves the window of drifts, or a shipment is forgotten."""
    until_ms = min((u.forget_at_ms for u in situation.demand.unsettled.values()), default=FOREVER_MS)
    cutoff_ms = situation.head.stream_ms - situation.horizons.journal_ms
    for _, stock in situation.nodes:
        for count in stock.counts:
            if count.order[0] >= cutoff_ms:
                until_ms = min(until_ms, count.order[0] + situation.horizons.journal_ms)
                break
    return until_ms


def outlook(region: str, policy: RecordPolicy, watermarks: WatermarkBook, now_ms: int) -> tuple[int, bool]:
    """Today's ordinal, and whether the region is stale: what time changes for all records of a region at once."""
    stale_from_ms = watermarks.stale_from_ms(region, policy.required_sources, policy.heartbeat_timeout_ms)
    return policy.calendar.day(now_ms).ordinal, stale_from_ms is not None and now_ms > stale_from_ms


def _demand(situation: Situation, today: int) -> _Open:
    """D_k, and the open units by state. Allocated demand lies where its node lies, all other in its own region."""
    book, region = situation.demand, situation.region
    found = _Open(situation.policy.last_bucket + 1)
    reserved = found.reserved
    if region in book.firm:
        reserved.firm, _ = found.due(book.firm[region], today)
    if region in book.backordered:
        reserved.backordered, _ = found.due(book.backordered[region], today)
    found.late = region in book.late_regions
    for node, _ in situation.nodes:
        if node.node in book.allocated:
            units, within = found.due(book.allocated[node.node], today)
            reserved.allocated += units
            found.untrusted_allocated += 0 if node.trusted else within
        found.late = found.late or node.node in book.late_nodes
    for soft in book.soft.values():
        if soft.region == region and situation.now_ms < soft.expires_ms:
            units, _ = found.due({soft.due: soft.open}, today)
            reserved.soft += units
            found.soft.append(soft)
            found.late = found.late or (soft.late and soft.open > 0)
            found.expires_ms = min(found.expires_ms, soft.expires_ms)
    return found


def _supply(situation: Situation, today: int) -> tuple[list[int], bool]:
    """S_k, floored once per bucket, and whether an overdue receipt is counted in."""
    policy = situation.policy
    last = policy.last_bucket
    sums = [0] * (last + 1)
    overdue = False
    if situation.supply.open:
        here = {node.node for node, _ in situation.nodes}
        for name, stage, eta, units in situation.supply.open:
            late_days = today - eta if eta and eta < today else 0
            weight = policy.numerators.get((stage, late_days), 0)
            if name not in here or not weight:
                continue
            overdue = overdue or late_days > 0
            at = 1 if late_days else max(0, eta - today)
            if at <= last:
                sums[at] += weight * units
    return [units // policy.denominator for units in sums], overdue


def _project(situation: Situation, demand: _Open, supply: list[int]) -> Waterfall:
    """Project stock over the buckets, then scan back for the least that must last to the end."""
    fall = Waterfall(supply=supply, demand=demand.buckets, untrusted_allocated=demand.untrusted_allocated)
    receiving = 0
    for node, stock in situation.nodes:
        fall.sellable += stock.on_hand[SELLABLE]
        receiving += stock.on_hand[RECEIVING]
        if node.trusted:
            fall.trusted_sellable += stock.on_hand[SELLABLE]
        if stock.doubt_units > situation.policy.drift_units_tolerance:
            fall.doubtful = True
        if min(stock.on_hand) < 0:
            fall.negative = True
    weight = situation.policy.receiving_weight
    fall.receiving = receiving * weight.numerator // weight.denominator
    fall.holds = _holds(situation)
    level = fall.sellable + fall.receiving - fall.holds
    projected = []
    for supplied, demanded in zip(supply, demand.buckets, strict=True):
        level += supplied - demanded
        projected.append(level)
    fall.projected = projected
    fall.atp = _suffix_minimum(projected)
    return fall


def _suffix_minimum(projected: list[int]) -> list[int]:
    least = projected[-1]
    atp = projected[:]
    for at in range(len(projected) - 1, -1, -1):
        least = atp[at] = min(least, projected[at])
    return atp


def _holds(situation: Situation) -> int:
    """Units that OMS shipped from the region's nodes and WMS has not reported yet."""
    if not situation.demand.unsettled:
        return 0
    counted = {node.node: stock.sellable_as_of_ms() for node, stock in situation.nodes}
    return sum(
        unsettled.hold(situation.region, counted)
        for unsettled in situation.demand.unsettled.values()
        if unsettled.forget_at_ms >= situation.head.stream_ms
    )


def _drifts(situation: Situation, stock: NodeStock) -> list[int]:
    return sellable_drifts(stock, situation.head.stream_ms, situation.horizons) if stock.counts else []


def _variance(drifts: list[int]) -> tuple[int, int]:
    """Population variance as an exact fraction; 0 with fewer than three drifts."""
    count = len(drifts)
    if count < 3:
        return 0, 1
    return count * sum(d * d for d in drifts) - sum(drifts) ** 2, count * count


def _on_hand(situation: Situation) -> OnHand:
    if len(situation.nodes) == 1:
        return OnHand(*situation.nodes[0][1].on_hand)
    return OnHand(*(sum(stock.on_hand[state] for _, stock in situation.nodes) for state in range(len(STATES))))


def _flags(situation: Situation, demand: _Open, fall: Waterfall, overdue: bool) -> tuple[list[str], int]:
    """The record's flags, and until when the back-fill one lasts (ms)."""
    flags, until_ms = [], FOREVER_MS
    if fall.doubtful:
        flags.append("AMBIGUOUS")
    filled_until_ms = _backfilled_until(situation)
    if situation.now_ms < filled_until_ms:
        flags.append("BACKFILL")
        until_ms = filled_until_ms
    if fall.drifted_units:
        flags.append("DRIFT")
    if demand.late:
        flags.append("LATE_CONFIRM")
    if fall.negative:
        flags.append("NEGATIVE")
    if overdue:
        flags.append("OVERDUE_RECEIPT")
    return flags, until_ms


def _backfilled_until(situation: Situation) -> int:
    head = situation.head
    if not head.backfilled_nodes and not head.backfilled_regions:
        return -FOREVER_MS
    recorded_ms = head.backfilled_regions.get(situation.region, -FOREVER_MS)
    for node, _ in situation.nodes:
        recorded_ms = max(recorded_ms, head.backfilled_nodes.get(node.node, -FOREVER_MS))
    return recorded_ms + situation.policy.correction_ms


def _buckets(atp: list[int], today: int) -> list[Bucket]:
    """Today, and every later day on which the figure changes."""
    promised = [max(0, units) for units in atp]
    return [
        Bucket(iso_day(today + at), units)
        for at, units in enumerate(promised)
        if at == 0 or units != promised[at - 1]
    ]


def _channels(situation: Situation, demand: _Open, fall: Waterfall, today: Day, stale: bool) -> dict[str, Channel]:
    """Confident and conservative quantities of every channel; the mode picks which one is sellable."""
    policy = situation.policy
    doubts = [
        reason
        for reason, holds in (
            ("AMBIGUOUS", fall.doubtful),
            ("DRIFT", fall.over_units > 0),
            ("NEGATIVE", fall.negative),
            ("STALE_SOURCE", stale),
        )
        if holds
    ]
    used = [0] * len(policy.channels)
    if policy.shares_stock:
        used = [_used(situation, demand, channel.name, today) for channel in policy.channels]
    unconsumed = [max(0, c.protection - u) for c, u in zip(policy.channels, used, strict=True)]
    base = fall.trusted_sellable - (sum(fall.demand) - fall.untrusted_allocated) - fall.holds
    found = {}
    for at, channel in enumerate(policy.channels):
        withheld = min(channel.safety_stock, max(0, fall.sellable - fall.demand[0]))
        kept = withheld + sum(unconsumed[rival] for rival in policy.rivals[at])
        confident, careful = fall.atp[0] - kept, base - kept - _buffer(channel, base, fall.drift_variance)
        if channel.quota is not None:
            left = channel.quota - used[at]
            confident, careful = min(left, confident), min(left, careful)
        confident = max(0, confident)
        conservative = min(confident, max(0, careful))
        found[channel.name] = _offer(situation, channel.name, doubts, confident, conservative)
    return found


def _offer(situation: Situation, channel: str, doubts: list[str], confident: int, conservative: int) -> Channel:
    mode = situation.modes.of(situation.region, channel) if situation.modes else CONFIDENT
    reasons = doubts
    if mode.cause:
        reasons = sorted({*doubts, *mode.reasons()})
    sure = mode.mode is Mode.CONFIDENT and not doubts
    sellable = confident if sure else 0 if mode.mode is Mode.SUSPENDED else conservative
    return Channel(mode.mode, "HIGH" if sure else "LOW", reasons, sellable, confident, conservative)


def _used(situation: Situation, demand: _Open, channel: str, today: Day) -> int:
    """Units that a channel reserved today: requested − released of lines first known on today's date."""
    quarters = situation.demand.used.get(situation.region, {}).get(channel, {})
    first, last = today.start_ms // QUARTER_MS, today.end_ms // QUARTER_MS
    used = sum(units for quarter, units in quarters.items() if first <= quarter < last)
    for soft in demand.soft:
        if soft.channel == channel and today.start_ms <= soft.first_ms < today.end_ms:
            used += soft.used
    return used


def _buffer(channel: ChannelPolicy, base: int, variance: tuple[int, int]) -> int:
    """max(buffer_units, ⌈base · percent / 100⌉, ⌈z · σ⌉), in whole numbers."""
    units = channel.buffer_units
    if channel.buffer_percent:
        percent = channel.buffer_percent
        units = max(units, -(-base * percent.numerator // (percent.denominator * 100)))
    if variance[0]:
        units = max(units, _ceil_root(channel.drift_z.numerator, channel.drift_z.denominator, *variance))
    return units


def _ceil_root(z_over: int, z_under: int, variance_over: int, variance_under: int) -> int:
    """⌈(z_over / z_under) · √(variance_over / variance_under)⌉, exactly."""
    over, under = z_over * z_over * variance_over, z_under * z_under * variance_under
    root = isqrt(over // under)
    while root * root * under < over:
        root += 1
    return root

"""The waterfall of one record: every component of its figures, with the formula that joins them."""

from __future__ import annotations

from typing import Any

import msgspec

# The channel figures are joined from the same parts as in the published number, so the same functions give them.
from atp.domain.availability import Reckoning, Situation, _buffer, _demand, _used
from atp.domain.policy import ChannelPolicy, RecordPolicy
from atp.domain.stock import RECEIVING, STATES
from atp.domain.times import iso_day

FLAG_WORDS = {
    "AMBIGUOUS": "units too close to a count to be placed: {doubt}",
    "BACKFILL": "facts of the region were filled in afterwards",
    "DRIFT": "the latest snapshots of the systems of record say otherwise",
    "LATE_CONFIRM": "a line was confirmed or extended after it had expired",
    "NEGATIVE": "a quantity of a node is below zero",
    "OVERDUE_RECEIPT": "a receipt past its date is counted in part",
    "STALE_SOURCE": "a required source has been silent for too long: {silent}",
    "OPERATOR": "an operator set the mode",
}


def figures(situation: Situation, reckoning: Reckoning) -> dict[str, Any]:
    """All figures of a record, plain values only."""
    content, fall = reckoning.content, reckoning.waterfall
    policy = situation.policy
    today = policy.calendar.day(situation.now_ms)
    weight = policy.receiving_weight
    return {
        "nodes": [
            {
                "node": node.node,
                "kind": node.kind,
                "trusted": node.trusted,
                **{state.value: units for state, units in zip(STATES, stock.on_hand, strict=True)},
            }
            for node, stock in situation.nodes
        ],
        "sellable": fall.sellable,
        "receiving": sum(stock.on_hand[RECEIVING] for _, stock in situation.nodes),
        "receiving_weight": str(weight),
        "receiving_weighted": fall.receiving,
        "holds": fall.holds,
        "reserved": msgspec.to_builtins(content.reserved),
        "supply": _supply(situation, today.ordinal),
        "buckets": [
            {"date": iso_day(today.ordinal + at), "supply": s, "demand": d, "projected": p, "atp": a}
            for at, (s, d, p, a) in enumerate(zip(fall.supply, fall.demand, fall.projected, fall.atp, strict=True))
        ],
        "drifted_units": fall.drifted_units,
        "over_units": fall.over_units,
        "atp": content.atp,
        "shortage": content.shortage,
        "channels": _channels(situation, reckoning),
        "flags": {flag: _why(flag, situation) for flag in content.flags},
        "policy_version": content.policy_version,
    }


def _supply(situation: Situation, today: int) -> list[dict[str, Any]]:
    here = {node.node for node, _ in situation.nodes}
    found = []
    for node, stage, eta, units in situation.supply.open:
        late = today - eta if eta and eta < today else 0
        over = situation.policy.numerators.get((stage, late), 0)
        row = {"node": node, "stage": stage, "eta": iso_day(eta) if eta else "now", "open": units}
        if node in here:
            found.append({**row, "weight": _weight(over, situation.policy), "days_overdue": late})
    return found


def _weight(over: int, policy: RecordPolicy) -> str:
    return f"{over / policy.denominator:g}"


def _channels(situation: Situation, reckoning: Reckoning) -> dict[str, Any]:
    policy, fall = situation.policy, reckoning.waterfall
    today = policy.calendar.day(situation.now_ms)
    demand = _demand(situation, today.ordinal)
    used = [_used(situation, demand, channel.name, today) for channel in policy.channels]
    unconsumed = [max(0, c.protection - u) for c, u in zip(policy.channels, used, strict=True)]
    base = fall.trusted_sellable - (sum(fall.demand) - fall.untrusted_allocated) - fall.holds
    found = {}
    for at, channel in enumerate(policy.channels):
        offer = reckoning.content.channels[channel.name]
        found[channel.name] = {
            **msgspec.to_builtins(offer),
            "reasons": {reason: _why(reason, situation) for reason in offer.reasons},
            "withheld": min(channel.safety_stock, max(0, fall.sellable - fall.demand[0])),
            "protected_for_others": {
                policy.channels[r].name: unconsumed[r] for r in policy.rivals[at] if unconsumed[r]
            },
            "used_today": used[at],
            "quota_left": None if channel.quota is None else channel.quota - used[at],
            "conservative_base": base,
            "buffer": _buffer(channel, base, fall.drift_variance),
            "settings": _settings(channel),
        }
    return found


def _settings(channel: ChannelPolicy) -> dict[str, Any]:
    return {
        "safety_stock": channel.safety_stock,
        "buffer_units": channel.buffer_units,
        "buffer_percent": f"{float(channel.buffer_percent):g}",
        "drift_z": f"{float(channel.drift_z):g}",
        "protection": channel.protection,
        "priority": channel.priority,
        "quota": channel.quota,
    }


def _why(flag: str, situation: Situation) -> str:
    doubt = ", ".join(f"{n.node} {s.doubt_units}" for n, s in situation.nodes if s.doubt_units)
    policy = situation.policy
    silent = [s for s in policy.required_sources if _silent(situation, s)]
    return FLAG_WORDS.get(flag, flag).format(doubt=doubt, silent=", ".join(silent))


def _silent(situation: Situation, source: str) -> bool:
    mark_ms = situation.watermarks.get((source, situation.region), 0)
    return situation.now_ms > mark_ms + situation.policy.heartbeat_timeout_ms

"""The waterfall as indented text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

SHOWN_FACTS = 40
# What bears on the number, or what a person should look at. The rest is counted only.
TELLING = ("BASELINE", "PLACED", "OPEN", "IN_DOUBT", "REFUSED", "STALE_SYNC", "EXPIRED")


def text(explained: dict[str, Any], *, every: bool) -> str:
    """Everything that explains one record, for a person."""
    found = explained["figures"]
    lines = [f"{explained['sku']} in {explained['region']} at {explained['now']}"]
    lines += [f"  ATP {found['atp']}, shortage {found['shortage']}, policy version {found['policy_version']}", ""]
    for part in (_today(found), _nodes(found), _supply(found), _buckets(found), _channels(found), _flags(found)):
        lines += [*part, ""]
    if explained["truths"]:
        lines += [*_truths(explained), ""]
    lines += [*_facts(explained["facts"], every), *_compared(explained)]
    return "\n".join(lines).rstrip() + "\n"


def _today(found: dict[str, Any]) -> Iterator[str]:
    first, reserved = found["buckets"][0], found["reserved"]
    least = min(found["buckets"], key=lambda bucket: bucket["projected"])
    yield "ATP now"
    yield f"  {found['sellable']:>9}  sellable"
    yield f"  {found['receiving_weighted']:>+9}  receiving ({found['receiving']} × {found['receiving_weight']})"
    yield f"  {first['supply']:>+9}  inbound supply due today"
    yield f"  {-first['demand']:>+9}  demand due today"
    yield f"  {-found['holds']:>+9}  holds (shipped by OMS, not yet by WMS)"
    yield f"  {first['projected']:>9}  projected for today"
    if least["projected"] < first["projected"]:
        gap = least["projected"] - first["projected"]
        yield f"  {gap:>+9}  kept for {least['date']}, when {least['projected']} are left"
    yield f"  {found['atp'] - found['shortage']:>9}  ATP"
    yield "  open reservations: " + ", ".join(f"{name} {units}" for name, units in reserved.items())


def _nodes(found: dict[str, Any]) -> Iterator[str]:
    yield "Stock by node"
    for node in found["nodes"]:
        states = ", ".join(f"{s} {node[s]}" for s in list(node)[3:] if node[s] or s == "sellable")
        yield f"  {node['node']} ({node['kind']}{'' if node['trusted'] else ', not trusted'}): {states}"
    if not found["nodes"]:
        yield "  no node of the region is named by the SKU's facts"


def _supply(found: dict[str, Any]) -> Iterator[str]:
    yield "Open supply"
    for row in found["supply"]:
        late = f", {row['days_overdue']} days overdue" if row["days_overdue"] else ""
        yield f"  {row['open']} × {row['weight']}  {row['stage']} at {row['node']}, due {row['eta']}{late}"
    if not found["supply"]:
        yield "  none"


def _buckets(found: dict[str, Any]) -> Iterator[str]:
    yield f"{'Bucket':<12}{'supply':>9}{'demand':>9}{'projected':>11}{'ATP':>9}"
    before = None
    for bucket in found["buckets"]:
        if before is None or bucket["supply"] or bucket["demand"] or bucket["atp"] != before:
            yield (
                f"  {bucket['date']}{bucket['supply']:>9}{bucket['demand']:>9}"
                f"{bucket['projected']:>11}{bucket['atp']:>9}"
            )
        before = bucket["atp"]
    yield f"  to {found['buckets'][-1]['date']}; days without change are left out"


def _channels(found: dict[str, Any]) -> Iterator[str]:
    yield "Channels"
    for name, offer in found["channels"].items():
        yield f"  {name}: sellable {offer['sellable']} ({offer['mode']}, confidence {offer['confidence']})"
        others = ", ".join(f"{units} for {other}" for other, units in offer["protected_for_others"].items())
        kept = f"withheld {offer['withheld']}, protected {others or '0'}"
        quota = "" if offer["quota_left"] is None else f", at most quota left {offer['quota_left']}"
        yield f"    confident {offer['confident']} = ATP {found['atp'] - found['shortage']} − {kept}{quota}"
        yield (
            f"    conservative {offer['conservative']} = base {offer['conservative_base']} − the same "
            f"− buffer {offer['buffer']}, at most confident"
        )
        for reason, why in offer["reasons"].items():
            yield f"    {reason}: {why}"


def _flags(found: dict[str, Any]) -> Iterator[str]:
    yield "Flags"
    for flag, why in found["flags"].items():
        yield f"  {flag}: {why}"
    if not found["flags"]:
        yield "  none"


def _truths(explained: dict[str, Any]) -> Iterator[str]:
    found = explained["figures"]
    yield f"Systems of record: {found['drifted_units']} units drift, {found['over_units']} promised too many"
    for truth in explained["truths"]:
        agrees = f"{truth['units']} units drift" if truth["keys"] else "agrees"
        yield f"  {truth['kind']} {truth['place']} by {truth['source']}, as of {truth['as_of']}: {agrees}"
        for key in truth["keys"]:
            parts = ", ".join(
                f"{name} ours {key['ours'][name]}, theirs {key['theirs'][name]}" for name in key["ours"]
            )
            yield f"    {key['line'] + ': ' if key['line'] else ''}{parts}"


def _facts(facts: list[dict[str, Any]], every: bool) -> Iterator[str]:
    counts = Counter(fact["status"] for fact in facts)
    yield f"Facts ({', '.join(f'{status} {count}' for status, count in counts.most_common())})"
    shown = facts if every else [fact for fact in facts if fact["status"] in TELLING][-SHOWN_FACTS:]
    for fact in sorted(shown, key=lambda fact: fact["time"]):
        effects = ", ".join(f"{name} {units:+}" for name, units in fact.get("effects", {}).items())
        parts = [fact["time"] or "-", fact["status"], fact["type"], fact.get("document"), fact.get("node"), effects]
        yield "  " + "  ".join(part for part in parts if part) + f"  [{fact['event_id']}, {fact['at']}]"
        if fact.get("why"):
            yield f"      {fact['why']}"
    if len(shown) < len(facts):
        yield f"  {len(facts) - len(shown)} more that change nothing now, or are older: --all shows them"


def _compared(explained: dict[str, Any]) -> Iterator[str]:
    if "published" not in explained:
        return
    yield ""
    if explained["waiting"]:
        yield f"The worker has not yet worked off {explained['waiting']} of these facts."
    if explained["published"] is None:
        yield "Published: nothing for this key yet."
        return
    envelope = explained["published"]
    yield f"Published: version {envelope['version']} at {envelope['published_at']}"
    if not explained["differs"]:
        yield "  the published record is this one"
    for name, (published, here) in explained["differs"].items():
        yield f"  DIFFERS in {name}: published {published}, explained {here}"

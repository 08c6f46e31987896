"""Lines of a FACTS.jsonl on their way to a broker: judged one by one, with the key and the time they will carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from atp import topics
from atp.commands.files import BadLine, FactLine, fact_lines
from atp.commands.snapshots import TRUTH_TOPICS, read
from atp.domain.decoding import decode
from atp.domain.facts import FACT_TYPES, Instant
from atp.domain.freshness import HeartbeatError, parse_heartbeat
from atp.domain.intake import Horizons, misplaced
from atp.domain.modes import ModeError, parse_command
from atp.domain.nodes import NodeError, parse_node
from atp.domain.policy import Policy, PolicyError, parse_policy
from atp.domain.refusals import Reason, Refusal
from atp.domain.routes import RouteError, parse_route, route_key
from atp.domain.snapshots import SnapshotClosed
from atp.domain.times import LATEST_NOW_MS, to_ms
from atp.topics import Role, Topic

PINNED = ("journal_hours", "memory_days", "ambiguity_ms")


class Outgoing(msgspec.Struct, gc=False):
    """A record that may be produced. `recorded_ms`: its timestamp, None for now; `partition`: None for the key's."""

    topic: str
    key: str
    value: bytes | None
    recorded_ms: int | None
    number: int
    partition: int | None = None


class Wrong(msgspec.Struct):
    """A line that is refused, as it is reported."""

    reason: str
    message: str
    topic: str | None
    key: str | None
    event_id: str | None
    line: int


def judged(content: bytes, horizons: Horizons) -> Iterator[Outgoing | Wrong]:
    """Every line of a file, in order."""
    for line in fact_lines(content):
        if isinstance(line, BadLine):
            yield Wrong(Reason.UNDECODABLE, line.message, None, None, None, line.number)
            continue
        found = judge(line, horizons)
        yield found if isinstance(found, Outgoing) else _wrong(line, found)


def judge(line: FactLine, horizons: Horizons) -> Outgoing | Refusal:
    """One line: the record to be produced, or why it is refused."""
    if line.topic in FACT_TYPES or line.topic == topics.CORRECTIONS.name:
        return _fact(line)
    if line.topic in TRUTH_TOPICS:
        return _truth(line)
    topic = topics.BY_NAME.get(line.topic)
    if topic is None or topic.role is Role.INTERNAL:
        allowed = ", ".join(t.name for t in topics.CATALOGUE if t.role in _WRITABLE)
        return Refusal(Reason.UNKNOWN_TOPIC, f"topic = {line.topic!r}: allowed are {allowed}")
    if topic.role not in _WRITABLE:
        return Refusal(Reason.UNKNOWN_TOPIC, f"topic = {line.topic!r}: only {topic.writer} writes it")
    return _document(topic, line, horizons)


_WRITABLE = (Role.FACT, Role.CONTROL, Role.TRUTH, Role.SOFT)


def _fact(line: FactLine) -> Outgoing | Refusal:
    fact = decode(line.topic, line.value_bytes)
    if isinstance(fact, Refusal):
        return fact
    refusal = misplaced(fact, fact.sku if line.key is None else line.key)
    return refusal or Outgoing(line.topic, fact.sku, line.value_bytes, max(0, to_ms(fact.recorded_at)), line.number)


def _truth(line: FactLine) -> Outgoing | Refusal:
    """A row or marker of a snapshot, or a decision. A marker's partition is found when all rows are known."""
    found = read(line, LATEST_NOW_MS)
    if isinstance(found, Refusal):
        return found
    key = found.snapshot_id if isinstance(found, SnapshotClosed) else found.sku
    return Outgoing(line.topic, key, line.value_bytes, None, line.number)


def _document(topic: Topic, line: FactLine, horizons: Horizons) -> Outgoing | Refusal:
    value = line.value_bytes
    if value is None:
        return _tombstone(topic, line)
    try:
        document = msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Refusal(Reason.UNDECODABLE, f"value is not JSON in UTF-8: {error}")
    if not isinstance(document, dict):
        return Refusal(Reason.SCHEMA_INVALID, f"value = {document!r}: a JSON object is needed")
    try:
        key = _keyed(topic, document, line.key, horizons)
    except (PolicyError, NodeError, ModeError, HeartbeatError, RouteError) as error:
        return Refusal(Reason.SCHEMA_INVALID, str(error))
    if line.key is not None and line.key != key:
        return Refusal(Reason.KEY_MISMATCH, f"key = {line.key!r}: the key of this document is {key!r}")
    return Outgoing(topic.name, key, value, _recorded_ms(document), line.number)


def _tombstone(topic: Topic, line: FactLine) -> Outgoing | Refusal:
    if not topic.compacted:
        return Refusal(Reason.SCHEMA_INVALID, f"value = null: {topic.name} is not compacted, nothing is deleted")
    if not line.key:
        return Refusal(Reason.KEY_MISMATCH, "key is missing: a deletion (value = null) names the key it deletes")
    return Outgoing(topic.name, line.key, None, None, line.number)


def _keyed(topic: Topic, document: dict[str, Any], key: str | None, horizons: Horizons) -> str:
    """The key of a valid document; raises what its parser raises."""
    keyed: dict[str, Callable[[dict[str, Any]], str]] = {
        topics.POLICIES.name: lambda d: _policy(d, horizons).scope,
        topics.NODES.name: lambda d: parse_node(d).node,
        topics.MODE_COMMANDS.name: lambda d: parse_command(d).region,
        topics.HEARTBEATS.name: lambda d: f"{parse_heartbeat(d).source}|{d['region']}",
        topics.ROUTES.name: lambda d: route_key(parse_route(d).region, d["channel"]),
    }
    if topic.name in keyed:
        return keyed[topic.name](document)
    # enrichment: not read by the core, so only its key matters here
    name = str(document.get("sku") or key or "")
    if not name:
        raise NodeError("sku is missing: it is the record's key")
    return name


def _policy(document: dict[str, Any], horizons: Horizons) -> Policy:
    """State depends on the horizons from its first fact on: no policy changes them under a running worker."""
    policy = parse_policy(document)
    for name in PINNED:
        pinned = getattr(horizons, name)
        if name in policy.model_fields_set and getattr(policy, name) != pinned:
            raise PolicyError(
                f"{name} = {getattr(policy, name)}: pinned to {pinned} by the workers' setting "
                f"ATP_{name.upper()}; only {pinned} is allowed"
            )
    return policy


def _recorded_ms(document: dict[str, Any]) -> int | None:
    try:
        return max(0, to_ms(msgspec.convert(document.get("recorded_at"), Instant)))
    except msgspec.ValidationError:
        return None


def _wrong(line: FactLine, refusal: Refusal) -> Wrong:
    try:
        raw = msgspec.json.decode(line.value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raw = None
    found = raw.get("event_id") if isinstance(raw, dict) else None
    event_id = found if isinstance(found, str) else None
    return Wrong(refusal.reason, refusal.message, line.topic, line.key, event_id, line.number)

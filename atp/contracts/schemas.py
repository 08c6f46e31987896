"""JSON Schema of every topic whose values have a type, in two readings.

*producer*: closed, what a producer of this version may send. *consumer*: open, what a reader must accept, unknown
fields of later minor versions included. Both are made from the types that decode and encode the values.
"""

from __future__ import annotations

from typing import Any

import msgspec

from atp import topics
from atp.domain.availability import Content
from atp.domain.closing import LedgerDay
from atp.domain.daily_ledger import LedgerRow
from atp.domain.exceptions import Decision, ExceptionRecord
from atp.domain.facts import FACT_TYPES, Identity, Instant, Sku
from atp.domain.freshness import Heartbeat
from atp.domain.modes import ChannelMode, ModeChange, ModeCommand
from atp.domain.nodes import Node
from atp.domain.policy import Policy
from atp.domain.results import Result
from atp.domain.routes import Route
from atp.domain.slo import Freshness
from atp.domain.snapshots import SNAPSHOT_TYPES
from atp.lane import DeadLetter
from atp.topics import Role, Topic

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class CanonicalRecord(Content, kw_only=True):
    """ATP of a SKU in a region. `version` counts up, one per published change of the key."""

    schema_version: str
    sku: Sku
    region: Identity
    version: int
    as_of: Instant
    published_at: Instant
    inputs: dict[str, int]


# Topics that are missing here carry values without a type of their own yet; the changelog is nobody else's business.
VALUE_TYPES: dict[str, Any] = {
    **FACT_TYPES,
    **SNAPSHOT_TYPES,
    topics.DECISIONS.name: Decision,
    topics.EXCEPTIONS.name: ExceptionRecord,
    topics.HEARTBEATS.name: Heartbeat,
    topics.NODES.name: Node,
    topics.POLICIES.name: Policy,
    topics.AVAILABILITY.name: CanonicalRecord,
    topics.MODES.name: ChannelMode,
    topics.MODE_COMMANDS.name: ModeCommand,
    topics.MODE_CHANGES.name: ModeChange,
    topics.RESULTS.name: Result,
    topics.FRESHNESS.name: Freshness,
    topics.ROUTES.name: Route,
    topics.LEDGER.name: LedgerRow,
    topics.LEDGER_DAYS.name: LedgerDay,
    topics.DEAD_LETTERS.name: DeadLetter,
}
TYPED = tuple(topic for topic in topics.CATALOGUE if topic.name in VALUE_TYPES)


def consumed(topic: Topic) -> bool:
    """Whether others write the topic: then a newer schema must accept what was sent under the older one."""
    return topic.role not in (Role.PUBLISHED, Role.INTERNAL)


def consumer(topic: Topic) -> dict[str, Any]:
    """The open schema of a topic."""
    kind = VALUE_TYPES[topic.name]
    found = Policy.model_json_schema() if kind is Policy else msgspec.json.schema(kind)
    return {"$schema": DIALECT, "title": topic.name, **_tidy(found)}


def producer(topic: Topic) -> dict[str, Any]:
    """The closed schema of a topic."""
    closed: dict[str, Any] = _closed(consumer(topic))
    return closed


def _tidy(schema: Any) -> Any:
    """Without what only OpenAPI knows; with the rule on major versions that the decoder applies."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _tidy(part) for name, part in schema.items() if name != "discriminator"}
    version = found.get("properties", {}).get("schema_version")
    if version is not None:
        version["pattern"] = r"^1\."
    return found


def _closed(schema: Any) -> Any:
    """Every object with named properties has no others; maps stay maps."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(part) for name, part in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found

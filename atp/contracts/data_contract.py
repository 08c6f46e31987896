"""The Open Data Contract Standard file of the published topics, with the guarantees that are measured."""

from __future__ import annotations

from typing import Any

from atp import topics
from atp.contracts.schemas import TYPED, consumed, consumer
from atp.domain.policy import Policy
from atp.topics import Role, Topic

VERSION = "1.0.0"
LOGICAL = {"integer": "integer", "number": "number", "boolean": "boolean", "array": "array", "object": "object"}
PUBLISHED = tuple(topic for topic in TYPED if not consumed(topic) and topic.role is not Role.INTERNAL)


def document() -> dict[str, Any]:
    """ODCS 3.1 as an object."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "urn:atp:available-to-promise",
        "name": "Available to Promise",
        "version": VERSION,
        "status": "active",
        "domain": "inventory",
        "dataProduct": "available-to-promise",
        "description": {
            "purpose": "How many units of a SKU can be promised in a region, today and on later days, with a "
            "confidence flag per sales channel.",
            "usage": "Read committed; join the modes topic: a switch of mode counts at once, records follow.",
            "limitations": "Enrichment (substitutions) is never an input. `version`, `published_at`, `as_of` and "
            "`inputs` are no content. Internal topics are nobody's contract.",
        },
        "servers": [{"server": "kafka", "type": "kafka", "host": "ATP_BOOTSTRAP", "format": "json"}],
        "schema": [_object(topic) for topic in PUBLISHED],
        "slaDefaultElement": topics.AVAILABILITY.name,
        "slaProperties": guarantees(Policy()),
        "roles": [
            {"role": "channel", "access": "read", "description": "atp acls channel"},
            {"role": "finance", "access": "read", "description": "atp acls finance"},
        ],
    }


def guarantees(policy: Policy) -> list[dict[str, Any]]:
    """The guarantees of the product; figures that a policy sets are its defaults."""
    share = f"{policy.freshness_share:.0%}"
    kept_days = topics.DEAD_LETTERS.retention_ms // topics.DAY_MS
    return [
        _guarantee("latency", policy.freshness_target_s, "s", "operational",
                   f"{share} of updates are visible within this time of being recorded, per region"),
        _guarantee("completeness", 99.95, "percent", "regulatory",
                   "source records of a day in the ledger before it is FINAL, against the sources' control totals"),
        _guarantee("accuracy", 99.9, "percent", "operational",
                   "records that are valid by schema and whose references exist; more than this"),
        _guarantee("timeToRepair", policy.correction_hours, "h", "operational",
                   "a back-dated fact restates a closed day within this time; a later one is an exception"),
        _guarantee("frequency", policy.reconcile_interval_s, "s", "operational",
                   "reconciliation against the sources' snapshots"),
        _guarantee("timeToDetect", policy.heartbeat_timeout_s, "s", "operational",
                   "a silent required source turns its region to the conservative quantity"),
        _guarantee("retention", kept_days, "d", "operational", "refused records, with what they were and why",
                   topics.DEAD_LETTERS.name),
    ]  # fmt: skip


def _guarantee(
    name: str, value: float, unit: str, driver: str, description: str, element: str = topics.AVAILABILITY.name
) -> dict[str, Any]:
    parts = {"property": name, "value": value, "unit": unit, "element": element}
    return {**parts, "driver": driver, "description": description}


def _object(topic: Topic) -> dict[str, Any]:
    schema = consumer(topic)
    shown = _resolved(schema, schema)
    return {
        "name": topic.name,
        "physicalName": topic.name,
        "physicalType": "topic",
        "logicalType": "object",
        "description": shown.get("description", ""),
        "dataGranularityDescription": f"a record per {topic.key}",
        "properties": _properties(schema, shown),
    }


def _properties(root: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = set(schema.get("required", []))
    return [
        {"name": name, "required": name in required, **_typed(root, part)}
        for name, part in schema.get("properties", {}).items()
    ]


def _typed(root: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Logical type of a property, and what lies in it."""
    part = _resolved(root, part)
    if "anyOf" in part:
        part = next(_resolved(root, one) for one in part["anyOf"] if one != {"type": "null"})
    if part.get("format") == "date-time":
        return {"logicalType": "timestamp"}
    found: dict[str, Any] = {"logicalType": LOGICAL.get(part.get("type", ""), "string")}
    if part.get("properties"):
        found["properties"] = _properties(root, part)
    if part.get("type") == "array" and isinstance(part.get("items"), dict):
        found["items"] = _typed(root, part["items"])
    return found


def _resolved(root: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        part = root["$defs"][part["$ref"].removeprefix("#/$defs/")]
    return part

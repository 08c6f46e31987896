"""The ledger of the scene: two closed dates, one of them restated since, one of them with records missing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from atp import topics
from atp.commands.ledger_close import CloseOptions, Given, close_days
from atp.sources.retail_world import node_references


def closed(folder: Path) -> str:
    """A ledger of two dates: the first was restated in one region, of the second a source's records are missing."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first, second = today - timedelta(days=2), today - timedelta(days=1)
    lines = [line for day in (first, second) for line in _counts(day)]
    late = {"node": "uk-dc-leeds", "state": "sellable", "delta": -4, "reason": "found missing"}
    lines.append(_dated("stock.adjusted", first + timedelta(hours=18), second + timedelta(hours=8), **late))
    facts, nodes, target = folder / "facts.jsonl", folder / "nodes.json", str(folder / "ledger")
    facts.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in (*lines, *_totals(first, second))))
    nodes.write_bytes(msgspec.json.encode(node_references()))
    for instant in (second + timedelta(hours=7), today + timedelta(hours=1)):
        options = CloseOptions(target, instant.isoformat())
        close_days(Given(facts, None, nodes), options, io.StringIO(), io.StringIO())
    return target


def _counts(day: datetime) -> Iterator[dict[str, Any]]:
    for node in ("uk-dc-leeds", "de-dc-kassel", "es-dc-zaragoza"):
        at_ten = day + timedelta(hours=10)
        body = {"node": node, "as_of": at_ten.isoformat(), "quantities": {"sellable": 100}}
        yield _dated("stock.counted", at_ten, at_ten, **body)


def _dated(kind: str, occurred: datetime, recorded: datetime, **body: Any) -> dict[str, Any]:
    times = {"occurred_at": occurred.isoformat(), "recorded_at": recorded.isoformat()}
    head = {"event_id": f"{kind}|{body['node']}|{recorded:%d}", "type": kind, "schema_version": "1.0"}
    return {"topic": topics.STOCK.name, "value": {**head, "source": "ims", "sku": "85123A", **times, **body}}


def _totals(first: datetime, second: datetime) -> Iterator[dict[str, Any]]:
    """What the source says it recorded: all of it came in two regions, a third of it in the third."""
    for region, facts in (("uk", 1), ("south", 1), ("dach", 3)):
        hours = {f"{day:%Y-%m-%d}T10:00:00Z": [count, 100] for day, count in ((first, 1), (second, facts))}
        mark = {"watermark": (second + timedelta(hours=30)).isoformat(), "totals": {topics.STOCK.name: hours}}
        yield {
            "topic": topics.HEARTBEATS.name,
            "value": {"type": "source.alive", "source": "ims", "region": region, **mark},
        }

"""Running the program `atp` as a person does, and looking at what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 300


def atp(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("ATP_")}
    command = [sys.executable, "-m", "atp.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, env={**known, **environment}, check=False
    )


def is_one_line(run: subprocess.CompletedProcess[str]) -> bool:
    """Whether an error is told in one line, without a traceback."""
    lines = run.stderr.strip().splitlines()
    return len(lines) == 1 and lines[0].startswith("atp: ") and "Traceback" not in run.stderr


def write_lines(path: Path, records: list[dict[str, Any] | str]) -> Path:
    """A FACTS.jsonl of records; a string is written as it is."""
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    return path


def node(name: str = "n1", region: str = "uk") -> dict[str, Any]:
    """A record of the node reference."""
    return {"topic": "reference.nodes.v1", "value": {"node": name, "region": region}}


def policy(**fields: Any) -> dict[str, Any]:
    """A record of a policy."""
    return {"topic": "atp.policies.v1", "value": {"scope": "default", "version": 1, **fields}}


def fact(kind: str, event_id: str, time: str, **body: Any) -> dict[str, Any]:
    """A record of a fact about SKU S; `time`: within 2026-01-05."""
    topics = {
        "stock": "inventory.stock.v1",
        "reservation": "oms.reservations.v1",
        "receipt": "purchasing.receipts.v1",
    }
    instant = f"2026-01-05T{time}Z"
    envelope = {"event_id": event_id, "type": kind, "schema_version": "1.0", "source": "test", "sku": "S"}
    times = {"occurred_at": instant, "recorded_at": instant}
    return {"topic": topics[kind.partition(".")[0]], "value": {**envelope, **times, **body}}


def count(event_id: str, time: str, sellable: int, node: str = "n1") -> dict[str, Any]:
    """A count of sellable."""
    as_of = f"2026-01-05T{time}Z"
    return fact("stock.counted", event_id, time, node=node, as_of=as_of, quantities={"sellable": sellable})


def adjusted(event_id: str, time: str, delta: int, node: str = "n1") -> dict[str, Any]:
    """Units found or lost in sellable."""
    return fact("stock.adjusted", event_id, time, node=node, state="sellable", delta=delta, reason="found")


def placed(event_id: str, time: str, units: int, **more: Any) -> dict[str, Any]:
    """A firm reservation of one line."""
    quantities = {"requested": units, "open": units, "consumed": 0, "released": 0}
    line = {"reservation_id": event_id, "line": 1, "version": 1, "channel": "web", "state": "FIRM", **quantities}
    return fact("reservation.placed", event_id, time, **{"region": "uk", **line, **more})

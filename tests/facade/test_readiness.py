"""What a balancer and an operator are told: ready, degraded with the reasons, or unavailable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import msgspec

from atp import topics
from atp.client import Staleness
from atp.domain.times import rfc3339
from atp.facade.app import create_app
from atp.facade.context import Facade
from atp.facade.models import ReadyModel
from tests.facade.conftest import MART, Door, send, settings
from tests.facade.test_lookups import eventually


def mode(channel: str, **fields: Any) -> bytes:
    """A row of a mode."""
    return msgspec.json.encode({"region": "uk", "channel": channel, "mode": "CONSERVATIVE", **fields})


def freshness(region: str, ago_s: int) -> bytes:
    """A region's freshness as it was measured some time ago."""
    figures = {"target_ms": 300_000, "target_share": 0.95, "good_checks": 1, "checks": 1, "budget_left": 1.0}
    at = {"as_of": rfc3339(time.time_ns() // 1_000_000 - ago_s * 1000), "state": "OK", "policy_version": 1}
    return msgspec.json.encode({"region": region, "sources": {}, **at, **figures})


async def test_what_makes_answers_careful_is_told_with_200(door: Door) -> None:
    """Ready at first; delayed, untrusted, held back and unmeasured are told apart, and none takes a replica away."""
    first = ReadyModel.model_validate_json((await door.get("/health/ready")).content)
    assert (first.ready, first.status) == (True, "ready")
    rows = {
        "web": mode("web", cause="STALE_SOURCE", causes=["STALE_SOURCE"], degradation=["DELAYED"]),
        "app": mode("app", cause="DRIFT", causes=["DRIFT", "STALE_SOURCE"], degradation=["DELAYED", "UNTRUSTED"]),
        "store": mode("store", cause="OPERATOR"),
        "fax": mode("fax", mode="CONFIDENT"),
    }
    send(door.bootstrap, topics.MODES.name, *[(f"uk|{name}", value) for name, value in rows.items()])
    send(door.bootstrap, topics.FRESHNESS.name, ("uk", freshness("uk", 5)), ("dach", freshness("dach", 600)))
    told = {"delayed": ["uk|app", "uk|web"], "untrusted": ["uk|app"], "by_operator": ["uk|store"]}
    await eventually(door, "/health/ready", {**told, "unmeasured": ["dach"], "status": "degraded", "ready": True})
    assert (await door.get("/health/ready")).status_code == 200


async def test_a_view_that_grows_old_degrades_and_then_is_taken_away(door: Door) -> None:
    """LAGGING is degraded, answers are conservative; what is too old to sell by makes the replica unavailable."""
    door.facade.client.view.staleness = Staleness(1, 1_000_000)
    await eventually(door, "/health/ready", {"state": "LAGGING", "status": "degraded", "ready": True})
    door.facade.config.refuse_after_ms = 0
    await eventually(door, "/health/ready", {"status": "unavailable", "ready": False})
    assert (await door.get("/health/ready")).status_code == 503


async def test_without_a_broker_a_replica_is_unavailable_and_alive(tmp_path: Path) -> None:
    """Restoring is no reason to restart it, and no reason to ask it; a mart alone cannot make it available."""
    mart = tmp_path / "mart.csv"
    mart.write_text(MART)
    facade = Facade(settings("127.0.0.1:1", legacy_mart=mart))
    transport = httpx.ASGITransport(create_app(facade))
    async with facade.running(), httpx.AsyncClient(transport=transport, base_url="http://atp") as http:
        assert (await http.get("/health/live")).status_code == 200
        ready = await http.get("/health/ready")
        said = ReadyModel.model_validate_json(ready.content)
        assert (ready.status_code, said.status, said.state) == (503, "unavailable", "RESTORING")

"""`atp exceptions` and `atp reconcile status` on a running product: a drift is found, decided on and corrected."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atp.brokers.embedded import EmbeddedBroker
from atp.commands.processes import temporary_folder, workers
from tests.broker.test_cli_on_brokers import create_topics
from tests.cli import atp, is_one_line, node, write_lines

Record = dict[str, Any]


def stamp(instant: datetime) -> str:
    """An instant as it is on the wire."""
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def drifting(now: datetime) -> list[Record]:
    """Two SKUs of which the warehouse has 12 units less than we, and its snapshot of a minute ago."""
    counted, as_of = stamp(now - timedelta(hours=1)), stamp(now - timedelta(minutes=1))
    head = {"snapshot_id": "s1", "source": "wms", "as_of": as_of, "region": "uk"}
    records = [node(), alive("wms", now)]
    for sku in ("S", "T"):
        body = {"event_id": f"c-{sku}", "type": "stock.counted", "schema_version": "1.0", "source": "ims", "sku": sku}
        body |= {"occurred_at": counted, "recorded_at": counted, "as_of": counted, "node": "n1"}
        records.append({"topic": "inventory.stock.v1", "value": {**body, "quantities": {"sellable": 20}}})
        row = {**head, "type": "snapshot.row", "sku": sku, "node": "n1", "quantities": {"sellable": 8}}
        records.append({"topic": "wms.snapshots.v1", "value": row})
    closed = {**head, "type": "snapshot.closed", "rows": 2, "units": 16}
    return [*records, {"topic": "wms.snapshots.v1", "value": closed}]


def alive(source: str, now: datetime) -> Record:
    """A heartbeat."""
    value = {"type": "source.alive", "source": source, "region": "uk", "watermark": stamp(now)}
    return {"topic": "sources.heartbeats.v1", "value": value}


@pytest.fixture
def bootstrap(tmp_path: Path) -> Iterator[str]:
    """A broker with a worker and two exceptions."""
    with EmbeddedBroker() as broker, temporary_folder() as folder:
        create_topics(broker.bootstrap)
        with workers(1, folder, {"ATP_BOOTSTRAP": broker.bootstrap, "ATP_SESSION_TIMEOUT_MS": "3000"}):
            path = write_lines(tmp_path / "f.jsonl", drifting(datetime.now(UTC)))
            run = atp("publish", str(path), "--bootstrap", broker.bootstrap)
            assert run.returncode == 0, run.stderr
            yield broker.bootstrap


def said(bootstrap: str, *arguments: str) -> Any:
    """What a command says to programs."""
    run = atp(*arguments, "--json", "--bootstrap", bootstrap)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def until(holds: Callable[[Any], bool], look: Callable[[], Any]) -> Any:
    """What is seen once it holds."""
    deadline = time.monotonic() + 120
    while not holds(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


def test_a_drift_is_listed_decided_on_and_corrected(bootstrap: str) -> None:
    """One exception is approved and applied, one rejected; later decisions, and unknown ids, are refused."""

    def listed() -> Any:
        return said(bootstrap, "exceptions", "list", "--region", "uk")["exceptions"]

    first, second = until(lambda ones: len(ones) == 2, listed)
    assert {first["sku"], second["sku"]} == {"S", "T"}
    assert (first["state"], first["units"], first["owner"]) == ("PROPOSED", 12, "inventory management")
    assert said(bootstrap, "exceptions", "list", "--region", "de")["exceptions"] == []
    assert said(bootstrap, "exceptions", "list", "--min-age", "60")["exceptions"] == []

    explained = until(lambda found: found["differs"] == {}, lambda: said(bootstrap, "explain", "S", "uk"))
    assert explained["figures"]["over_units"] == 12
    approved = atp("exceptions", "approve", first["exception_id"], "--reason", "seen", "--bootstrap", bootstrap)
    assert approved.returncode == 0, approved.stderr
    assert " is A" in approved.stdout  # APPROVED, or APPLIED already
    shown = until(
        lambda one: one["state"] == "APPLIED",
        lambda: said(bootstrap, "exceptions", "show", first["exception_id"]),
    )
    assert [(step["state"], step["by"] != "", step["why"]) for step in shown["history"]][2] == (
        "APPROVED",
        True,
        "seen",
    )
    rejected = atp("exceptions", "reject", second["exception_id"], "--reason", "recount", "--bootstrap", bootstrap)
    assert f"{second['exception_id']} is REJECTED" in rejected.stdout

    late = atp("exceptions", "approve", second["exception_id"], "--reason", "no", "--bootstrap", bootstrap)
    assert (late.returncode, is_one_line(late)) == (1, True)
    assert "is REJECTED; only one that is PROPOSED waits for a decision" in late.stderr
    unknown = atp("exceptions", "show", "x-nothing", "--bootstrap", bootstrap)
    assert (unknown.returncode, is_one_line(unknown)) == (1, True)
    assert "no exception has this id" in unknown.stderr

    found = until(lambda all_: all_["verdicts"], lambda: said(bootstrap, "reconcile", "status"))
    [verdict] = found["verdicts"]
    assert (verdict["source"], verdict["outcome"], verdict["drifting_keys"]) == ("wms", "DRIFT", 2)
    assert [(row["region"], row["open"], row["units"]) for row in found["exceptions"]] == [("uk", 1, 12)]
    text = atp("reconcile", "status", "--bootstrap", bootstrap).stdout
    assert "DRIFT: 2 of 2 keys and 24 of 16 units drift" in text
    assert atp("exceptions", "list", "--bootstrap", bootstrap).stdout.endswith("2 exceptions, 24 units\n")
    ids = atp("exceptions", "list", "--state", "REJECTED", "--ids", "--bootstrap", bootstrap).stdout
    assert ids == f"{second['exception_id']}\n"
    checked = atp("reconcile", "status", "--check", "--bootstrap", bootstrap)
    assert (checked.returncode, is_one_line(checked)) == (1, True)
    assert "1 of 1 snapshots are not clean, 1 exceptions are open" in checked.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("approve", "x-1"), "--reason = ''"),
        (("list", "--state", "DONE"), "--state = 'DONE': allowed are OPEN"),
        (("list", "--cause", "bad luck"), "--cause = 'bad luck': allowed are DOUBLE_RESERVATION"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    """Without a reason, or with a word that is none; no broker is needed to say so."""
    run = atp("exceptions", *arguments, "--bootstrap", "127.0.0.1:1")
    assert (run.returncode, is_one_line(run)) == (2, True)
    assert says in run.stderr

"""What a running worker shows to those who watch it: metrics, and the trace of a fact on its record."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer

from atp import admin, metrics
from atp.brokers.embedded import EmbeddedBroker
from atp.commands import clients
from atp.commands.processes import temporary_folder, workers
from atp.lane.keys import partition_of
from tests.broker.test_cli_on_brokers import PARTITIONS, await_record, create_topics
from tests.broker.test_exceptions import stamp
from tests.broker.test_status import await_code, flood, free_port
from tests.cli import count, node, placed

TRACES = [
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
]
SHOWN = (
    'atp_task_state{lane="sku",partition="3",state="RUNNING"} 1.0',
    'atp_mode{channel="web",mode="CONSERVATIVE",region="uk"} 1.0',
    'atp_snapshot_outcome{kind="stock",outcome="DRIFT",region="uk",source="test"} 1.0',
    'atp_snapshot_divergence_share{kind="stock",region="uk",source="test"} 0.8',
    'atp_snapshot_over_promised_units{kind="stock",region="uk",source="test"} 4.0',
    'atp_impossible_transitions_total{reason="EVENT_CONFLICT",topic="inventory.stock.v1"} 1.0',
    'atp_source_completeness_share{region="uk",source="test"} 1.0',
    'atp_correction_lag_seconds_count{region="uk"} 1.0',
)


def test_a_worker_is_observed() -> None:
    """Every metric of a running worker is there, and a record carries the trace of the last fact behind it."""
    port = str(free_port())
    with EmbeddedBroker() as broker, temporary_folder() as folder:
        config = create_topics(broker.bootstrap)
        given = {"ATP_BOOTSTRAP": broker.bootstrap, "ATP_SESSION_TIMEOUT_MS": "3000", "ATP_WEB_PORT": port}
        with workers(1, folder, given):
            await_code(0, {"ATP_WORKERS": f"http://127.0.0.1:{port}"})
            producer = Producer(
                {**config, "partitioner": "murmur2_random", "log_level": 0}, logger=admin.silent_logger()
            )
            moment = datetime.now(UTC)
            totals = {"inventory.stock.v1": {"2026-01-05T10:00:00.000Z": [2, 18]}}
            alive = {"source": "test", "region": "uk", "watermark": stamp(moment), "totals": totals}
            mode = {"region": "uk", "channel": "web", "mode": "CONSERVATIVE", "cause": "OPERATOR"}
            send(producer, node(), "n1")
            send(producer, {"topic": "sources.heartbeats.v1", "value": alive}, "test|uk")
            send(producer, {"topic": "atp.modes.v1", "value": mode}, "uk|web")
            send(producer, {"topic": "atp.policies.v1", "value": {"scope": "default", "horizon_days": 0}}, "default")
            for trace, fact in zip(
                TRACES, (count("c", "10:00:00.000", 9), placed("o", "11:00:00.000", 5)), strict=True
            ):
                send(producer, fact, "S", {"traceparent": trace, "irrelevant": "x"})
            send(producer, untraced := count("d", "10:00:00.000", 9, "n2"), "T")
            assert untraced["value"]["sku"] == "T"
            send(producer, count("c", "10:00:00.000", 8), "S")  # cannot have been: "c" said 9
            again = count("e", "10:00:00.000", 9, "nowhere")
            again["value"]["backfill"] = True
            send(producer, again, "T")
            compare(producer, moment - timedelta(minutes=1))
            flood(broker.bootstrap, 3, 2)
            await_record(config, "S|uk")
            send(producer, node("n2"), "n2")  # its count came before, and is one of those that the source names
            await_page(port)
        with clients.consumer(config) as reader:
            found: dict[bytes, list[dict[str, bytes]]] = {}
            for sku in ("S", "T"):
                for message in clients.read_whole(reader, [("atp.availability.v1", partition_of(sku, PARTITIONS))]):
                    found.setdefault(message.key(), []).append(dict(message.headers() or []))
    # what a sweep publishes once more, for a node or policy that came after the facts, is no fact's doing
    assert {"traceparent": TRACES[1].encode()} in found[b"S|uk"]
    assert not any(found[b"T|uk"])


def send(producer: Producer, line: dict[str, object], key: str, headers: dict[str, str] | None = None) -> None:
    """Produce one record, with the SKU of its key, and wait until it is there."""
    value = line["value"]
    assert isinstance(value, dict)
    if "sku" in value:
        value["sku"] = key
    producer.produce(line["topic"], json.dumps(value), key, headers=list((headers or {}).items()))
    assert producer.flush(20) == 0


def compare(producer: Producer, as_of: datetime) -> None:
    """A snapshot in which S has four units less than we: few enough to be corrected by rule."""
    head = {"snapshot_id": "s1", "source": "test", "as_of": stamp(as_of), "region": "uk"}
    row = {**head, "type": "snapshot.row", "node": "n1", "quantities": {"sellable": 5}}
    send(producer, {"topic": "wms.snapshots.v1", "value": {**row, "sku": "S"}}, "S")
    for partition in range(PARTITIONS):
        mine = partition == partition_of("S", PARTITIONS)
        marker = {**head, "type": "snapshot.closed", "rows": int(mine), "units": 5 * mine}
        producer.produce("wms.snapshots.v1", json.dumps(marker), "s1", partition=partition)
    assert producer.flush(20) == 0


def missing(page: str) -> list[str]:
    """Metrics of a worker that a page does not show, and samples that it does not show yet."""
    shown = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if not line.startswith("#")}
    ours = [m.name for m in metrics.catalogue() if not m.name.startswith(("atp_facade", "atp_shadow", "atp_view"))]
    passing = ("atp_task_restore_eta_seconds",)  # while a task restores
    lacking = [n for n in ours if n not in passing and not shown & {n, f"{n}_total", f"{n}_bucket"}]
    return lacking + [sample for sample in SHOWN if sample not in page]


def await_page(port: str, timeout_s: float = 180) -> None:
    """Return once the metrics page shows every metric of a worker, and what it must come to."""
    deadline = time.monotonic() + timeout_s
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        if not missing(page):
            return
        assert time.monotonic() < deadline, missing(page)
        time.sleep(0.5)

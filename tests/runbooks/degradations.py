"""One degradation per runbook page: a healthy product is put into it, and what the page's reader knows is answered.

The answer fills in the words of the page's commands (`$WORKER`, `$REGION` …).
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from atp.brokers.kafka import KafkaCluster, kafka_jars
from atp.domain.times import rfc3339
from tests.cli import adjusted, count, node, policy, write_lines
from tests.runbooks.product import Line, Product

Words = dict[str, str]
SKU, REGION = "S", "uk"
SERVED = "atp status && atp doctor"
STORE_SIZE = "24m"  # what two empty stores need, and little more
STORE_GROWN = "256m"


class Degradation(NamedTuple):
    """How a degradation is made. `kafka`: it needs what the embedded broker does not have."""

    make: Callable[[Product], Words]
    kafka: bool = False


def healthy(product: Product, **settings: str) -> None:
    """One worker, a node, a policy and a count; every check passes."""
    product.settings |= settings
    product.publish(keyed(node()), keyed(policy()), {"key": SKU, **count("c1", "10:00:00.000", 50)})
    product.ask("worker_start", "worker-1")
    product.await_good(SERVED)


def keyed(line: Line) -> Line:
    """A control record with its key."""
    value = line["value"]
    return {"key": value.get("node") or value["scope"], **line}


def worker_lost(product: Product) -> Words:
    """A worker is killed and its disk is gone."""
    healthy(product)
    product.ask("worker_kill", "worker-1")
    shutil.rmtree(product.data_dir("worker-1"))
    return {"WORKER": "worker-1"}


def broker_down(product: Product) -> Words:
    """The only node of the cluster is killed."""
    assert isinstance(product.broker, KafkaCluster)
    (kafka,) = product.broker.nodes
    product.words["broker_start"] = lambda _name: None if kafka.running else kafka.restart()
    healthy(product)
    kafka.kill()
    return {"BROKER": "broker-1", "WORKER": "worker-1"}


def task_failed(product: Product) -> Words:
    """A source writes nonsense faster than the limit allows."""
    healthy(product, ATP_DEAD_LETTERS_PER_MINUTE="50")
    nonsense = [{"topic": "inventory.stock.v1", "key": SKU, "value": "nonsense"} for _ in range(30)]
    product.publish(*nonsense)
    # in two turns: what one turn alone holds beyond the limit would fail it again
    product.await_good("""atp dead-letters list --json | grep -q '"letters":30'""")
    product.publish(*nonsense)
    product.await_good("! atp status")
    return {"LANE": "sku", "PARTITION": product.partition(SKU)}


def dead_letters(product: Product) -> Words:
    """A producer partitions by another hash, so that a count lies where nobody looks for it."""
    healthy(product)
    line = {"key": SKU, **count("c2", "11:00:00.000", 70)}
    product.publish(line, partition=1 - int(product.partition(SKU)))
    product.await_good("! atp dead-letters list --check")
    return {"REASON": "WRONG_PARTITION", "SKU": SKU, "REGION": REGION, "SELLABLE": "70"}


def wrong_policy(product: Product) -> Words:
    """A safety stock of a hundred thousand is rolled out over everything."""
    healthy(product)
    product.publish(keyed(policy(version=8, safety_stock=100_000)))
    product.await_good("""atp explain S uk --json | grep -q '"policy_version":8'""")
    before = write_lines(product.folder / "policies.jsonl", [policy(version=9)])
    return {"POLICIES": str(before), "VERSION": "9", "SKU": SKU, "REGION": REGION}


def control_document_refused(product: Product) -> Words:
    """A policy with a word where a number belongs reaches the topic past every check."""
    healthy(product)
    product.publish(keyed(policy(version=2, horizon_days="soon")))
    mended = write_lines(product.folder / "mended.jsonl", [policy(version=3, horizon_days=7)])
    return {"MENDED": str(mended)}


def source_silent(product: Product) -> Words:
    """A required source has never been heard since it was required."""
    healthy(product)
    product.publish(keyed(policy(version=2, required_sources=["wms"], heartbeat_timeout_s=300)))
    product.await_good("atp explain S uk --json | grep -q STALE_SOURCE")
    beat = {"type": "source.alive", "source": "wms", "region": REGION, "watermark": now()}
    line = {"topic": "sources.heartbeats.v1", "key": f"wms|{REGION}", "value": beat}
    product.words["source_start"] = lambda _name: product.publish(line)
    return {"SOURCE": "wms", "SKU": SKU, "REGION": REGION}


def disk_full(product: Product) -> Words:
    """Something else has eaten the disk of the stores."""
    folder = product.data_dir("worker-1")
    folder.mkdir(parents=True)
    mount(folder, STORE_SIZE)
    product.closing.append(lambda: subprocess.run(["umount", "-l", str(folder)], check=True))
    product.words["store_grow"] = lambda _name: mount(folder, f"remount,size={STORE_GROWN}")
    healthy(product)
    product.ask("worker_stop", "worker-1")
    fill(folder / "eaten")
    product.ask("worker_start", "worker-1")
    product.await_good("! atp status")
    return {"WORKER": "worker-1"}


def mount(folder: Path, size: str) -> None:
    """A small disk of our own."""
    options = size if "=" in size else f"size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * (1 << 16))
    except OSError:
        return


def release_rollback(product: Product) -> Words:
    """A new release comes with another horizon than the state was built with."""

    def release_use(version: str) -> None:
        product.settings["ATP_JOURNAL_HOURS"] = "24" if version == "2" else "72"
        product.ask_now("worker_stop", "worker-1")
        product.ask_now("worker_start", "worker-1")

    product.words["release_use"] = release_use
    healthy(product)
    product.ask("release_use", "2")
    product.await_good("! atp status")
    return {"BEFORE": "1"}


def ledger_not_final(product: Product) -> Words:
    """A source says that it recorded two facts of an hour; one of them came."""
    hour = {"2026-01-05T10:00:00.000Z": [2, 60]}
    beat = {"source": "test", "region": REGION, "watermark": "2026-01-06T05:00:00Z"}
    beat |= {"totals": {"inventory.stock.v1": hour}}
    missing = {"key": SKU, **adjusted("a1", "10:30:00.000", 10)}
    product.publish(
        keyed(node()), keyed(policy(required_sources=["test"])), {"key": SKU, **count("c1", "10:00:00.000", 50)}
    )
    product.publish({"topic": "sources.heartbeats.v1", "key": f"test|{REGION}", "value": beat})
    product.words["source_start"] = lambda _name: product.publish(missing)
    words = {"LEDGER": str(product.folder / "ledger"), "DATE": "2026-01-05", "REGION": REGION, "SOURCE": "test"}
    assert product.shell('atp ledger close --out "$LEDGER"', **words).returncode == 0
    return words


def topics_wrong(product: Product) -> Words:
    """Somebody set a compacted topic to delete."""
    healthy(product)
    tool = product.folder / "bin" / "kafka-configs.sh"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec java -cp "{kafka_jars()}/*" kafka.admin.ConfigCommand "$@"\n')
    tool.chmod(0o755)
    words = {"TOPIC": "atp.modes.v1", "CLEANUP": "compact", "PATH": f"{tool.parent}:{product.environment()['PATH']}"}
    wrong = "kafka-configs.sh --bootstrap-server $ATP_BOOTSTRAP --alter --entity-type topics --entity-name $TOPIC"
    assert product.shell(f"{wrong} --add-config cleanup.policy=delete", **words).returncode == 0
    return words


def now() -> str:
    """The instant, as a source would write it."""
    return rfc3339(time.time_ns() // 1_000_000)


DEGRADATIONS = {
    "broker-down": Degradation(broker_down, kafka=True),
    "control-document-refused": Degradation(control_document_refused),
    "dead-letters": Degradation(dead_letters),
    "disk-full": Degradation(disk_full),
    "ledger-not-final": Degradation(ledger_not_final),
    "release-rollback": Degradation(release_rollback),
    "source-silent": Degradation(source_silent),
    "task-failed": Degradation(task_failed),
    "topics-wrong": Degradation(topics_wrong, kafka=True),
    "worker-lost": Degradation(worker_lost),
    "wrong-policy": Degradation(wrong_policy),
}

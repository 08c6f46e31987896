"""One degradation per runbook page: a healthy product is put into it, and what the page's reader knows is answered.

The answer fills in the words of the page's commands (`$WORKER`, `$REGION` …).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from atp.brokers.kafka import KafkaCluster, kafka_jars
from tests.cli import adjusted, count, node, policy, write_lines
from tests.runbooks import truth
from tests.runbooks.product import Line, Product
from tests.runbooks.truth import HOUR_MS, instant

Words = dict[str, str]
SKU, REGION = "S", "uk"
SERVED = "atp status && atp doctor"
STORE_SIZE = "24m"  # what two empty stores need, and little more
STORE_GROWN = "256m"
FLOOD_LIMIT = 50  # refusals a minute
PATIENCE_S = 3600  # with a source; none falls silent once more while other pages are tried


class Degradation(NamedTuple):
    """How a degradation is made.

    `kafka`: it needs what the embedded broker does not have. `shared`: it stays within its own region or SKU, so that
    it is made on a product that serves several pages.
    """

    make: Callable[[Product], Words]
    kafka: bool = False
    shared: bool = False


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


def region(product: Product, name: str, units: int = 50) -> Words:
    """A region of its own on a shared product: a node, and a SKU with a count."""
    sku = f"S-{name}"
    product.publish(
        keyed(node(f"n-{name}", name)), about(sku, count(f"c-{name}", "10:00:00.000", units, f"n-{name}"))
    )
    product.await_good(f"""atp explain {sku} {name} --json | grep -q '"differs":{{}}'""")
    return {"SKU": sku, "REGION": name}


def about(sku: str, line: Line) -> Line:
    """A fact about another SKU."""
    return {**line, "key": sku, "value": {**line["value"], "sku": sku}}


def scoped(name: str, **fields: object) -> Line:
    """A policy of one region."""
    return keyed(policy(scope=f"region:{name}", **fields))


def beat(source: str, name: str, watermark: str) -> Line:
    """A heartbeat."""
    value = {"type": "source.alive", "source": source, "region": name, "watermark": watermark}
    return {"topic": "sources.heartbeats.v1", "key": f"{source}|{name}", "value": value}


def task_failed(product: Product) -> Words:
    """A source writes nonsense faster than the limit allows."""
    flood(product, {"topic": "inventory.stock.v1", "key": SKU, "value": "nonsense"}, "UNDECODABLE")
    return {"LANE": "sku", "PARTITION": product.partition(SKU)}


def flood(product: Product, line: Line, reason: str) -> None:
    """So many refused records that a task stops. In two turns: one alone beyond the limit would fail it again."""
    part = [line] * (FLOOD_LIMIT * 3 // 5)
    product.publish(*part)
    product.await_good(f"""atp dead-letters list --reason {reason} --json | grep -q '"letters":{len(part)}'""")
    product.publish(*part)
    product.await_good("! atp status")


def backfill_storm(product: Product) -> Words:
    """A region sends a week again: facts known already, one that was missed, and many beyond the journal."""
    words = region(product, "stormy")
    at = "n-stormy"
    known = about(words["SKU"], count("c-stormy", "10:00:00.000", 50, at))
    missed = about(words["SKU"], adjusted("missed", "11:00:00.000", 7, at))
    for line in (known, missed):
        line["value"]["backfill"] = True
    product.publish(*[known] * 500, missed)
    old = about(words["SKU"], count("old", "10:00:00.000", 3, at))
    for name in ("occurred_at", "recorded_at", "as_of"):
        old["value"][name] = "2025-12-29T10:00:00Z"
    product.words["source_stop"] = lambda _name: None  # the flood is over by itself
    flood(product, old, "TOO_OLD")
    return {**words, "SOURCE": "wms", "LANE": "sku", "PARTITION": product.partition(words["SKU"]), "SELLABLE": "57"}


def replay(product: Product) -> Words:
    """A source has lost a part of its day: the export of the whole day holds it."""
    words = region(product, "replayed")
    day = [about(words["SKU"], adjusted(f"r{n}", f"11:0{n}:00.000", 1, "n-replayed")) for n in range(6)]
    product.publish(*day[:4])
    export = write_lines(product.folder / "export.jsonl", list(day))
    return {**words, "FACTS": str(export), "SELLABLE": "56", "SINCE": "2026-01-05T11:00:00Z",
            "UNTIL": "2026-01-05T12:00:00Z"}  # fmt: skip


def regional_cutover(product: Product) -> Words:
    """A region whose mart is still asked, though the product agrees with it."""
    words = region(product, "southern")
    mart = product.folder / "mart.csv"
    mart.write_text(f"sku,region,channel,sellable,as_of\n{words['SKU']},southern,web,50,2026-01-05\n")
    product.settings["ATP_LEGACY_MART"] = str(mart)
    product.closing.append(lambda: product.settings.pop("ATP_LEGACY_MART"))
    return {**words, "CHANNEL": "web", "MART": str(mart), "WHY": "agreed with the channel"}


def channel_suspended(product: Product) -> Words:
    """A channel that somebody suspended and forgot."""
    words = {**region(product, "halted"), "CHANNEL": "web"}
    asked = product.shell('atp modes set "$REGION" "$CHANNEL" SUSPENDED --reason maintenance', **words)
    assert asked.returncode == 0, asked.stderr
    product.await_good('! atp modes list --region "$REGION" --check', **words)
    return words


def delayed_but_safe(product: Product) -> Words:
    """A required source is alive, and two hours behind."""
    words = region(product, "late")
    product.publish(
        beat("wms", "late", instant(-2 * HOUR_MS)),
        scoped("late", version=2, required_sources=["wms"], heartbeat_timeout_s=PATIENCE_S),
    )
    product.await_good("atp modes list --region late --json | grep -q DELAYED")
    product.words["source_start"] = lambda _name: product.publish(beat("wms", "late", instant()))
    return {**words, "SOURCE": "wms"}


def dead_letters(product: Product) -> Words:
    """A producer partitions by another hash, so that a count lies where nobody looks for it."""
    words = region(product, "mislaid")
    line = about(words["SKU"], count("c2", "11:00:00.000", 70, "n-mislaid"))
    product.publish(line, partition=1 - int(product.partition(words["SKU"])))
    product.await_good("! atp dead-letters list --reason WRONG_PARTITION --check")
    return {**words, "REASON": "WRONG_PARTITION", "SELLABLE": "70"}


def wrong_policy(product: Product) -> Words:
    """A safety stock of a hundred thousand is rolled out over a region."""
    words = region(product, "withheld")
    product.publish(scoped("withheld", version=8, safety_stock=100_000))
    product.await_good('atp explain "$SKU" "$REGION" --json | grep -q \'"policy_version":8\'', **words)
    before = write_lines(product.folder / "policies.jsonl", [policy(scope="region:withheld", version=9)])
    return {**words, "POLICIES": str(before), "VERSION": "9"}


def control_document_refused(product: Product) -> Words:
    """A policy with a word where a number belongs reaches the topic past every check."""
    product.publish(scoped("nowhere", version=2, horizon_days="soon"))
    mended = policy(scope="region:nowhere", version=3, horizon_days=7)
    return {"MENDED": str(write_lines(product.folder / "mended.jsonl", [mended]))}


def source_silent(product: Product) -> Words:
    """A required source has never been heard since it was required."""
    words = region(product, "silent")
    product.publish(scoped("silent", version=2, required_sources=["wms"], heartbeat_timeout_s=PATIENCE_S))
    product.await_good('atp explain "$SKU" "$REGION" --json | grep -q STALE_SOURCE', **words)
    product.words["source_start"] = lambda _name: product.publish(beat("wms", "silent", instant()))
    return {**words, "SOURCE": "wms"}


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


DEGRADATIONS = {
    "backfill-storm": Degradation(backfill_storm, shared=True),
    "broker-down": Degradation(broker_down, kafka=True),
    "channel-suspended": Degradation(channel_suspended, shared=True),
    "control-document-refused": Degradation(control_document_refused, shared=True),
    "dead-letters": Degradation(dead_letters, shared=True),
    "delayed-and-untrusted": Degradation(truth.delayed_and_untrusted, shared=True),
    "delayed-but-safe": Degradation(delayed_but_safe, shared=True),
    "disk-full": Degradation(disk_full),
    "drift": Degradation(truth.drift, shared=True),
    "exception-backlog": Degradation(truth.exception_backlog, shared=True),
    "ledger-not-final": Degradation(ledger_not_final),
    "regional-cutover": Degradation(regional_cutover, shared=True),
    "release-rollback": Degradation(release_rollback),
    "replay": Degradation(replay, shared=True),
    "snapshot-missing": Degradation(truth.snapshot_missing, shared=True),
    "source-silent": Degradation(source_silent, shared=True),
    "task-failed": Degradation(task_failed, shared=True),
    "topics-wrong": Degradation(topics_wrong, kafka=True),
    "worker-lost": Degradation(worker_lost),
    "wrong-policy": Degradation(wrong_policy, shared=True),
}

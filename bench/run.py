"""One command, one broker, the same inputs for all: `python -m bench.run` (see README.md beside it)."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from atp.brokers.kafka import KafkaCluster
from bench import peers, report
from bench.latency import measure_latency
from bench.load import AVAILABILITY_TOPIC, FACT_TOPICS, PARTITIONS, WARM_UP_TOPIC, create_topics, load_facts, prepare
from bench.measure import Group, StalledError, measure, read_output
from bench.workload import Workload

WARM_UP_EVENTS = 600_000
LATENCY_RATE = 20_000.0  # events/s, when our worker's own peak has not been measured in this run
ORDER = ("streams-100", "atp", "streams-1000", "faust-memory", "faust-rocksdb")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; every option has a default that fits the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.run")
    parser.add_argument("--facts", type=int, default=int(os.environ.get("BENCH_FACTS", "2000000")))
    parser.add_argument("--faust-facts", type=int, default=60_000)
    parser.add_argument("--skus", type=int, default=10_000)
    parser.add_argument("--skew", type=float, default=1.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", default=",".join(ORDER), help="which, in this order")
    parser.add_argument("--ours", default=os.environ.get("BENCH_OURS", f"{sys.executable} -m atp.cli worker"))
    parser.add_argument("--ours-group", default=os.environ.get("BENCH_OURS_GROUP", "atp-sku"))
    parser.add_argument("--latency", action="store_true", help="also at half of our measured rate")
    parser.add_argument("--latency-seconds", type=float, default=15)
    return parser.parse_args(arguments)


@contextmanager
def broker() -> Iterator[tuple[str, list[int]]]:
    """The Kafka of KAFKA_BOOTSTRAP, or one of our own; with its process ids."""
    if bootstrap := os.environ.get("KAFKA_BOOTSTRAP"):
        yield bootstrap, []
        return
    with KafkaCluster(heap_mb=1024) as kafka:
        yield kafka.bootstrap, kafka.pids


def choose(name: str, options: argparse.Namespace) -> peers.Peer:
    """The peer of that name."""
    kind, _, variant = name.partition("-")
    if kind == "streams":
        return peers.streams(int(variant), WARM_UP_EVENTS)
    if kind == "faust":
        return peers.stock_faust(variant, min(options.facts, options.faust_facts))
    if kind == "atp":
        return peers.ours(options.ours, options.ours_group, AVAILABILITY_TOPIC)
    raise SystemExit(f"unknown peer {name}; known: {', '.join(ORDER)}")


def measure_peer(peer: peers.Peer, bootstrap: str, broker_pids: list[int], facts: int) -> dict[str, Any]:
    """Run one started peer to its limit."""
    assert peer.child is not None
    group = Group(bootstrap, peer.group, FACT_TOPICS)
    try:
        figures = measure(group, peer.limit or facts, peer.child.pid, broker_pids, peer.alive)
    except StalledError as error:
        raise SystemExit(f"{error}; its last words:\n{peer.child.log_tail()}") from None
    found: dict[str, Any] = {"name": peer.name, "does": peer.does, **asdict(figures)}
    found["events_per_s"], found["events_per_cpu_s"] = figures.events_per_s, figures.events_per_cpu_s
    return found


def add_output(found: dict[str, Any], peer: peers.Peer, bootstrap: str) -> None:
    """Add what its output topic shows: commits, and distinct keys per commit (a key once per commit)."""
    if peer.output is None:
        return
    output = read_output(bootstrap, peer.output)
    found["outputs"], found["output_keys"] = output.records, output.keys
    if peer.transactional and output.partition_commits:
        found["partition_commits"] = output.partition_commits
        found["outputs_per_partition_commit"] = output.records / output.partition_commits


def run_peer(peer: peers.Peer, bootstrap: str, broker_pids: list[int], facts: int, folder: Path) -> dict[str, Any]:
    """One peer from start to stop: its figures."""
    with running(peer, bootstrap, folder) as said:
        found = measure_peer(peer, bootstrap, broker_pids, facts)
        add_output(found, peer, bootstrap)
    found |= said
    if commits := found.get("commits", found.get("partition_commits")):
        found["commits_per_s"] = commits / found["wall_s"]
    return found


@contextmanager
def running(peer: peers.Peer, bootstrap: str, folder: Path) -> Iterator[dict[str, Any]]:
    """A started peer; once left, the yielded dictionary holds what it said about itself."""
    said: dict[str, Any] = {}
    try:
        peer.start(bootstrap, folder)
        yield said
    except BaseException:
        if peer.child is not None:
            print(peer.child.log_tail(40), file=sys.stderr)
        raise
    finally:
        if peer.alive():
            said |= peer.finish()


def run_latency(
    options: argparse.Namespace, bootstrap: str, workload: Workload, rate: float, folder: Path
) -> dict[str, Any]:
    """Our worker again, where it ended, under a steady load; last of all, since it adds facts to the topics."""
    peer = choose("atp", options)
    extra = int(rate)
    with running(peer, bootstrap, folder):
        load_facts(bootstrap, workload, extra)
        Group(bootstrap, peer.group, FACT_TOPICS).wait(options.facts + extra, peer.alive)
        return measure_latency(bootstrap, workload, rate, options.latency_seconds)


def main(arguments: list[str] | None = None) -> int:
    """Load, measure peer after peer, report."""
    options = parse(arguments)
    names = options.peers.split(",")
    document: dict[str, Any] = {"machine": report.machine(), "params": {**vars(options), "partitions": PARTITIONS}}
    document["params"]["ours"] = shlex.join(options.ours.split()[-3:])
    results: list[dict[str, Any]] = []
    rate = LATENCY_RATE
    with broker() as (bootstrap, broker_pids), tempfile.TemporaryDirectory(prefix="atp-bench-") as folder:
        workload = Workload(options.facts, options.seed, options.skus, options.skew)
        print(f"loading {options.facts:,} facts …", flush=True)
        prepare(bootstrap, workload, options.facts)
        if any(name.startswith("streams") for name in names):
            create_topics(bootstrap, [WARM_UP_TOPIC])
            load_facts(bootstrap, Workload(WARM_UP_EVENTS, 99, prefix="w"), WARM_UP_EVENTS, WARM_UP_TOPIC)
        for name in names:
            print(f"measuring {name} …", flush=True)
            peer = choose(name, options)
            results.append(run_peer(peer, bootstrap, broker_pids, options.facts, Path(folder) / name))
            if name == "atp":
                rate = results[-1]["events_per_s"] / 2
        if options.latency:
            print("measuring latency …", flush=True)
            document["latency"] = run_latency(options, bootstrap, workload, rate, Path(folder) / "atp")
    document |= {"peers": results, "ratios": report.ratios(results)}
    report.write(document)
    report.show(document)
    return 0


if __name__ == "__main__":
    sys.exit(main())

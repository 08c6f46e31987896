"""A large snapshot under live traffic: `python -m bench.reconcile [--rows 1000000]`, kept in `reconcile.json`.

One worker on real Kafka holds the counted stock of every (SKU, node). Adjustments flow at a steady rate and are timed
from producer to canonical record: first alone, then while the sources of both regions send a snapshot of everything
as of an instant in the middle of that traffic. Reported: the seconds from the first row sent to the last verdict, and
the 99th percentile before and during.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Consumer, Producer

from atp.domain.facts import STOCK_TOPIC
from atp.domain.snapshots import WMS_SNAPSHOTS_TOPIC
from atp.domain.times import rfc3339
from atp.topics import HEARTBEATS, NODES, RESULTS
from bench import report
from bench.latency import Probes, _follow
from bench.load import PARTITIONS, partition_of, partitions_of
from bench.measure import Group
from bench.run import broker, choose, running
from bench.workload import Record

PLACES = [("uk", "uk-1"), ("uk", "uk-2"), ("de", "de-1"), ("de", "de-2")]
UNITS = 100
SOURCE = "wms"
VERDICT_LIMIT_S = 600.0
DRAIN_S = 5.0


class Shop:
    """Everything that is sent: stock of `rows` keys, adjustments, heartbeats, one snapshot."""

    def __init__(self, bootstrap: str, rows: int, places: list[tuple[str, str]] = PLACES) -> None:
        self.places = places
        self.skus = [f"SKU-{number:07d}" for number in range(rows // len(places))]
        self.partitions = [partition_of(sku.encode()) for sku in self.skus]
        self.sold: defaultdict[tuple[int, int], int] = defaultdict(int)  # by SKU and place
        self.facts = 0
        settings = {"bootstrap.servers": bootstrap, "linger.ms": 5, "log_level": 3, "enable.idempotence": True}
        self.producer = Producer({**settings, "queue.buffering.max.messages": 500_000})
        self.draw = random.Random(5)

    def send(self, topic: str, key: str, value: Any, partition: int) -> None:
        """Queue one record."""
        self.send_encoded(topic, key, json.dumps(value).encode(), partition)

    def send_encoded(self, topic: str, key: str, value: bytes, partition: int) -> None:
        """Queue one record; waits when the queue is full."""
        while True:
            try:
                self.producer.produce(topic, value, key, partition)
            except BufferError:
                self.producer.poll(0.02)
            else:
                return

    def reference(self) -> None:
        """Nodes with their regions."""
        for region, node in self.places:
            self.send(NODES.name, node, {"node": node, "region": region}, 0)

    def fact(self, at: int, kind: str, place: int, **body: Any) -> dict[str, Any]:
        """A stock fact of now."""
        self.facts += 1
        now, (region, node) = now_text(), self.places[place]
        head = {"event_id": f"f{self.facts}", "type": kind, "schema_version": "1.0", "source": SOURCE}
        where = {"sku": self.skus[at], "region": region, "node": node}
        return {**head, **where, "occurred_at": now, "recorded_at": now, **body}

    def everywhere(self, kind: str, instant: str | None = None, **body: Any) -> None:
        """A stock fact of every key, now or of an instant."""
        dated = {} if instant is None else {"occurred_at": instant, "recorded_at": instant}
        for at, sku in enumerate(self.skus):
            for place in range(len(self.places)):
                as_of = {"as_of": instant or now_text()} if kind == "stock.counted" else {}
                value = self.fact(at, kind, place, **dated, **as_of, **body)
                self.send(STOCK_TOPIC, sku, value, self.partitions[at])
            if at % 1000 == 0:
                self.producer.poll(0)
        self.producer.flush(120)

    def count_everything(self, instant: str | None = None) -> None:
        """The opening count of every key, now or as of an instant."""
        self.everywhere("stock.counted", instant, quantities={"sellable": UNITS})

    def adjust(self, probes: Probes) -> None:
        """One unit less of some key: a probe."""
        at, place = self.draw.randrange(len(self.skus)), self.draw.randrange(len(self.places))
        self.sold[at, place] += 1
        value = self.fact(at, "stock.adjusted", place, state="sellable", delta=-1, reason="sold")
        encoded = json.dumps(value).encode()
        watch = probes.watch(Record(topic=STOCK_TOPIC, value=encoded, sku=at, recorded_ms=0))
        self.producer.produce(STOCK_TOPIC, encoded, self.skus[at], self.partitions[at], watch)

    def watermark(self) -> str:
        """Up to when all facts were sent."""
        return now_text()

    def beat(self) -> None:
        """The sources say what was sent."""
        self.producer.flush(30)
        for region in ("uk", "de"):
            value = {"type": "source.alive", "source": SOURCE, "region": region, "watermark": self.watermark()}
            self.send(HEARTBEATS.name, f"{SOURCE}|{region}", value, 0)

    def snapshot(self, as_of: str, truth: dict[tuple[int, int], int]) -> Iterator[None]:
        """Every key as it was, then the markers; pauses after every row."""
        sums: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
        # put together by hand: the sources share this machine with what is measured
        heads = {r: json.dumps({**head_of(r, as_of), "type": "snapshot.row"})[:-1] for r, _ in PLACES}
        for at, sku in enumerate(self.skus):
            for place, (region, node) in enumerate(self.places):
                units = truth.get((at, place), UNITS)
                row = f'{heads[region]}, "sku": "{sku}", "node": "{node}", "quantities": {{"sellable": {units}}}}}'
                self.send_encoded(WMS_SNAPSHOTS_TOPIC, sku, row.encode(), self.partitions[at])
                sums[region, self.partitions[at]][0] += 1
                sums[region, self.partitions[at]][1] += units
                yield
        for region in ("uk", "de"):
            for partition in range(PARTITIONS):
                rows, units = sums[region, partition]
                marker = {**head_of(region, as_of), "type": "snapshot.closed", "rows": rows, "units": units}
                self.send(WMS_SNAPSHOTS_TOPIC, marker["snapshot_id"], marker, partition)


S = TypeVar("S", bound=Shop)


def now_text() -> str:
    """Now, on the wire."""
    return rfc3339(int(datetime.now(UTC).timestamp() * 1000))


def head_of(region: str, as_of: str) -> dict[str, str]:
    """What every record of the snapshot carries."""
    return {"snapshot_id": f"{region}-{as_of}", "source": SOURCE, "as_of": as_of, "region": region}


def drive(shop: Shop, probes: Probes, consumer: Consumer, rate: float, ends: Any, work: Iterator[None]) -> None:
    """Adjust at a steady rate and collect probes until `ends` says so; between them, as much other work as fits."""
    started_s, sent, beaten_s = time.monotonic(), 0, 0.0
    while not ends():
        now_s = time.monotonic()
        while sent < (now_s - started_s) * rate:
            shop.adjust(probes)
            sent += 1
        if now_s - beaten_s > 1:
            shop.beat()
            beaten_s = now_s
        for _ in zip(range(400), work, strict=False):
            pass
        shop.producer.poll(0)
        _collect(consumer, probes)
    until_s = time.monotonic() + DRAIN_S
    shop.producer.flush(10)
    while any(probes.waiting.values()) and time.monotonic() < until_s:
        _collect(consumer, probes)


def _collect(consumer: Consumer, probes: Probes) -> None:
    for message in consumer.consume(5000, timeout=0.005):
        if not message.error():
            probes.arrived(message)


def measure(bootstrap: str, shop: Shop, options: argparse.Namespace) -> dict[str, Any]:
    """The two phases."""
    consumer, verdicts = _follow(bootstrap), Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-verdicts"})
    verdicts.assign(partitions_of([RESULTS.name]))
    alone, beside = Probes(), Probes()
    until_s = time.monotonic() + options.seconds
    drive(shop, alone, consumer, options.rate, lambda: time.monotonic() > until_s, iter(()))
    found: list[dict[str, Any]] = []
    started_s, as_of, took_s = time.monotonic(), now_text(), 0.0
    truth = {key: UNITS - sold for key, sold in shop.sold.items()}

    def judged() -> bool:
        nonlocal took_s
        message = verdicts.poll(0)
        if message is not None and not message.error():
            found.append(json.loads(message.value()))
        took_s = time.monotonic() - started_s
        assert took_s < VERDICT_LIMIT_S, "no verdict came"
        return len(found) >= 2

    drive(shop, beside, consumer, options.rate, judged, shop.snapshot(as_of, truth))
    consumer.close()
    verdicts.close()
    return {
        "rows": len(shop.skus) * len(PLACES),
        "compared_s": round(took_s, 1),
        "rows_per_s": round(len(shop.skus) * len(PLACES) / took_s),
        "outcomes": sorted(verdict["outcome"] for verdict in found),
        "drifting_keys": sum(verdict["drifting_keys"] for verdict in found),
        "alone": alone.summary(options.rate),
        "beside": beside.summary(options.rate),
    }


def traffic_options(name: str, what: str) -> argparse.ArgumentParser:
    """The command line of a bench beside live traffic."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}")
    parser.add_argument("--rows", type=int, default=1_000_000, help=what)
    parser.add_argument("--rate", type=float, default=500.0, help="adjustments a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of traffic alone")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / f"{name}.json")
    return parser


def beside_traffic(
    options: argparse.Namespace,
    load: Callable[[str], S],
    measured: Callable[[str, S, argparse.Namespace], dict[str, Any]],
) -> None:
    """One worker on real Kafka: have it work off what is loaded, measure, keep, print."""
    os.environ["ATP_CLOCK"] = "system"
    peer = choose("atp", argparse.Namespace(ours=f"{sys.executable} -m atp.cli worker", ours_group="atp-sku"))
    with (
        broker() as (bootstrap, _),
        tempfile.TemporaryDirectory(prefix="atp-bench-") as folder,
        running(peer, bootstrap, Path(folder)),
    ):
        time.sleep(8)  # the worker creates the topics
        shop = load(bootstrap)
        Group(bootstrap, "atp-sku", [STOCK_TOPIC]).wait(shop.facts, peer.alive)
        document = {"machine": report.machine(), **measured(bootstrap, shop, options)}
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


def main(arguments: list[str] | None = None) -> int:
    """Load, measure, keep."""
    options = traffic_options("reconcile", "of the snapshot").parse_args(arguments)

    def load(bootstrap: str) -> Shop:
        shop = Shop(bootstrap, options.rows)
        shop.reference()
        shop.count_everything()
        return shop

    beside_traffic(options, load, measure)
    return 0


if __name__ == "__main__":
    sys.exit(main())

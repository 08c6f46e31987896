"""Degradations that reconciliation finds: a warehouse in a region of its own, whose snapshots disagree with us."""

from __future__ import annotations

import json
import time
from typing import Any

from atp.domain.times import rfc3339
from atp.lane.keys import partition_of
from tests.cli import adjusted, count, node, policy
from tests.runbooks.product import PARTITIONS, Line, Product

Words = dict[str, str]
SECOND_MS = 1_000
HOUR_MS = 3_600_000
SNAPSHOTS = "wms.snapshots.v1"


def instant(after_ms: int = 0) -> str:
    """An instant beside the present one, as a source would write it."""
    return rfc3339(time.time_ns() // 1_000_000 + after_ms)


class Warehouse:
    """The only node of a region, which sends snapshots: `truth`, its units by SKU, at first as many as we know of."""

    def __init__(self, product: Product, region: str, skus: int, **rules: Any) -> None:
        self.product, self.region = product, region
        self.truth = {f"S-{region}-{number}": 50 for number in range(skus)}
        product.publish({"key": self.node, **node(self.node, region)}, self.rule(2, **rules))
        product.publish(*(self.fact(sku, count(f"c-{sku}", "10:00:00.000", 50, self.node)) for sku in self.truth))
        for sku in self.truth:
            product.await_good(f"""atp explain {sku} {region} --json | grep -q '"differs":{{}}'""")
        self.beat()

    @property
    def node(self) -> str:
        """Its name."""
        return f"n-{self.region}"

    def rule(self, version: int, **fields: Any) -> Line:
        """The policy of its region."""
        scope = f"region:{self.region}"
        return {
            "key": scope,
            **policy(scope=scope, version=version, clean_cycles_to_restore=1, heartbeat_timeout_s=1800, **fields),
        }

    def words(self) -> Words:
        """What a page says of it."""
        return {"REGION": self.region, "SOURCE": "wms", "SKU": next(iter(self.truth)), "WHY": "counted again"}

    def fact(self, sku: str, line: Line) -> Line:
        """A fact about one of its SKUs."""
        return {**line, "key": sku, "value": {**line["value"], "sku": sku}}

    def lost(self, sku: str, units: int) -> Line:
        """The fact of a loss long ago."""
        return self.fact(sku, adjusted(f"lost-{sku}", "11:00:00.000", -units, self.node))

    def beat(self, source: str = "wms", after_ms: int = 0) -> None:
        """A heartbeat: everything up to now was sent."""
        value = {"type": "source.alive", "source": source, "region": self.region, "watermark": instant(after_ms)}
        self.product.publish({"topic": "sources.heartbeats.v1", "key": f"{source}|{self.region}", "value": value})

    def snapshot(self, age_ms: int = 10 * SECOND_MS, lacks: int = 0) -> None:
        """Rows, and a marker to every partition; of the rows the first `lacks` get lost on their way."""
        as_of = instant(-age_ms)
        head = {"snapshot_id": f"{self.region}-{as_of}", "source": "wms", "as_of": as_of, "region": self.region}
        sums, rows = {partition: [0, 0] for partition in range(PARTITIONS)}, []
        for sku, units in self.truth.items():
            row = {"type": "snapshot.row", "sku": sku, "node": self.node, "quantities": {"sellable": units}}
            rows.append({"topic": SNAPSHOTS, "key": sku, "value": {**head, **row}})
            sums[partition_of(sku, PARTITIONS)][0] += 1
            sums[partition_of(sku, PARTITIONS)][1] += units
        self.product.publish(*rows[lacks:])
        for partition, (number, units) in sums.items():
            marker = {**head, "type": "snapshot.closed", "rows": number, "units": units}
            line = {"topic": SNAPSHOTS, "key": head["snapshot_id"], "value": marker}
            self.product.publish(line, partition=partition)
        self.beat()

    def exceptions(self, number: int) -> list[str]:
        """The exceptions that are there once there are so many, by SKU."""
        listed = f"atp exceptions list --region {self.region} --state PROPOSED --json"
        self.product.await_good(f"""test "$({listed} | grep -o '"exception_id"' | wc -l)" = {number}""")
        found = json.loads(self.product.shell(listed).stdout)["exceptions"]
        return [one["exception_id"] for one in sorted(found, key=lambda one: one["sku"])]

    def await_mode(self, *causes: str) -> None:
        """Wait until the region sells carefully, for just these causes."""
        said = json.dumps(causes, separators=(",", ":"))
        listed = f"atp modes list --region {self.region} --json | tee /dev/stderr"  # so that a failure shows it
        known = f"atp reconcile status --region {self.region}; atp explain {next(iter(self.truth))} {self.region}"
        self.product.await_good(f"""{listed} | grep -qF '"causes":{said}' || {{ {known}; false; }}""")


def drift(product: Product) -> Words:
    """A warehouse has lost thirty units of which nobody told us."""
    wms = Warehouse(product, "drifted", 2)
    wms.truth["S-drifted-0"] = 20
    wms.snapshot()
    product.words["source_snapshot"] = lambda _name: wms.snapshot()
    (found,) = wms.exceptions(1)
    wms.await_mode("DRIFT")
    return {**wms.words(), "EXCEPTION": found}


def delayed_and_untrusted(product: Product) -> Words:
    """Two SKUs drift: one because facts of another source are late, one because nobody told us of a loss."""
    wms = Warehouse(product, "doubted", 2, required_sources=["ims"])
    wms.beat("ims")
    wms.truth = dict.fromkeys(wms.truth, 20)
    wms.snapshot()
    unexplained, _ = wms.exceptions(2)
    wms.await_mode("DRIFT")
    product.publish(wms.rule(3, required_sources=["ims", "oms"]))

    def catch_up(_name: str) -> None:
        product.publish(wms.lost("S-doubted-1", 30))
        wms.beat("oms")

    product.words |= {"source_start": catch_up, "source_snapshot": lambda _name: wms.snapshot()}
    wms.await_mode("DRIFT", "STALE_SOURCE")
    return {**wms.words(), "LATE": "oms", "EXCEPTION": unexplained}


def snapshot_missing(product: Product) -> Words:
    """The last whole snapshot is two hours old; one that came since lacks a row."""
    wms = Warehouse(product, "unchecked", 3)
    wms.snapshot(2 * HOUR_MS)
    wms.await_mode("SNAPSHOT_MISSING")
    wms.snapshot(lacks=1)
    product.words["source_snapshot"] = lambda _name: wms.snapshot()
    return wms.words()


def exception_backlog(product: Product) -> Words:
    """Three keys wait for a decision: of two we are wrong, of the third the snapshot was."""
    wms = Warehouse(product, "neglected", 3)
    right = wms.truth | dict.fromkeys(list(wms.truth)[:2], 20)
    wms.truth = dict.fromkeys(wms.truth, 20)
    wms.snapshot()
    found = wms.exceptions(3)
    wms.await_mode("DRIFT")
    wms.truth = right
    product.words["source_snapshot"] = lambda _name: wms.snapshot()
    return {**wms.words(), "CAUSE": "LOST_UNITS", "WRONG": found[2], "WHY_NOT": "a row of another node"}

"""A product that runs, and a day with its troubles, for the pictures and the tests of the console.

Broker, worker and façade are real, and so is all that they tell: a source that has fallen silent, a region whose
snapshot contradicts us, two drifts that wait for a person, a channel that an operator has suspended, refused facts.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import msgspec

from atp import admin, topics
from atp.brokers.process import LOOPBACK, free_ports
from atp.client import Client
from atp.commands.clients import make_producer
from atp.commands.lines import Outgoing, judged
from atp.commands.markers import to_partitions
from atp.commands.processes import SESSION_ON_EMBEDDED, embedded_broker, facade, temporary_folder, workers
from atp.commands.publish import produce
from atp.domain.times import rfc3339
from atp.settings import Settings
from atp.sources.retail_world import PLACES, Place, node_references
from docs.scene_ledger import closed

SKUS = ("85123A", "22423", "47566", "85099B", "84879", "20725", "22720", "21212", "22197", "23084")
SILENT, UNTRUSTED, DRIFTING = "nordics", "dach", "ireland"  # a region of each kind; the others are well
REGIONS = tuple(sorted({place.region for place in PLACES}))
SNAPSHOT_AGE_S = 90
WAIT_S = 180.0
Record = tuple[str, str, Any]


def at(ago_s: float = 0) -> str:
    """An instant on the wire."""
    return rfc3339(time.time_ns() // 1_000_000 - round(ago_s * 1000))


def sellable(number: int) -> int:
    """What was counted of the SKU and place of a number."""
    return 20 + number * 37 % 180


def pairs() -> list[tuple[int, str, Place]]:
    """Every SKU at every place, numbered."""
    return [(number, sku, place) for number, (sku, place) in enumerate((s, p) for s in SKUS for p in PLACES)]


def facts() -> Iterator[Record]:
    """Counts and orders."""
    for number, sku, place in pairs():
        quantities = {"sellable": sellable(number), "receiving": number % 7, "damaged": number % 3}
        count = {"node": place.node, "as_of": at(7_200), "quantities": quantities}
        yield topics.STOCK.name, sku, _fact("stock.counted", number, 7_200, sku, **count)
        line = {"reservation_id": f"o{number}", "line": 1, "version": 1, "channel": "web", "state": "FIRM"}
        units = {"requested": 3 + number % 9, "open": 3 + number % 9, "consumed": 0, "released": 0}
        order = _fact("reservation.placed", number, 600, sku, region=place.region, **line, **units)
        yield topics.RESERVATIONS.name, sku, order


def _fact(kind: str, number: int, ago_s: int, sku: str, **body: Any) -> dict[str, Any]:
    envelope = {"event_id": f"{kind}-{number}", "type": kind, "schema_version": "1.0", "source": "wms", "sku": sku}
    return {**envelope, "occurred_at": at(ago_s), "recorded_at": at(), **body}


def control() -> Iterator[Record]:
    """Nodes and policies."""
    for node in node_references():
        yield topics.NODES.name, node["node"], node
    whole = {"required_sources": ["wms"], "safety_stock": 2, "buffer_percent": 5}
    yield topics.POLICIES.name, "default", {"scope": "default", "version": 3, **whole}
    patient = {"region_drift_keys_share": 0.5, "region_drift_units_share": 0.5}
    yield topics.POLICIES.name, f"region:{DRIFTING}", {"scope": f"region:{DRIFTING}", "version": 4, **patient}


def words() -> Iterator[Record]:
    """An operator's word."""
    word = {"command_id": "w1", "region": "south", "channel": "marketplace", "mode": "SUSPENDED", "by": "jo"}
    why = {"reason": "marketplace sells below cost", "issued_at": at(5), "expires_at": at(-6 * 3_600)}
    yield topics.MODE_COMMANDS.name, "south", {"type": "mode.set", "schema_version": "1.0", **word, **why}


def snapshots() -> Iterator[Record]:
    """What the warehouses say: one region agrees, one has two SKUs less than we, one much less of everything."""
    for region, missing in (("uk", _none), (DRIFTING, _of_two), (UNTRUSTED, _of_all)):
        head = {"snapshot_id": f"{region}-1", "source": "wms", "as_of": at(SNAPSHOT_AGE_S), "region": region}
        here = [(number, sku, place) for number, sku, place in pairs() if place.region == region]
        units = 0
        for number, sku, place in here:
            left = max(0, sellable(number) - missing(sku, place))
            quantities = {"sellable": left, "receiving": number % 7, "damaged": number % 3}
            units += sum(quantities.values())
            row = {"type": "snapshot.row", "sku": sku, "node": place.node, "quantities": quantities}
            yield topics.WMS_SNAPSHOTS.name, sku, {**head, **row}
        closed = {"type": "snapshot.closed", "rows": len(here), "units": units}
        yield topics.WMS_SNAPSHOTS.name, head["snapshot_id"], {**head, **closed}


def _none(_sku: str, _place: Place) -> int:
    return 0


def _of_two(sku: str, place: Place) -> int:
    return 14 if sku in SKUS[:2] and place.node.startswith("ie-dc") else 0


def _of_all(sku: str, place: Place) -> int:
    return 9 + SKUS.index(sku) if place.node.startswith("de-") else 0


def beats() -> Iterator[Record]:
    """Every warehouse says that it is there, but for one that fell silent."""
    for region in REGIONS:
        watermark = at(840 if region == SILENT else 1)
        beat = {"type": "source.alive", "source": "wms", "region": region, "watermark": watermark}
        yield topics.HEARTBEATS.name, f"wms|{region}", beat


def publish(records: Iterator[Record], bootstrap: str) -> None:
    """As `atp publish` does."""
    config = Settings(bootstrap=bootstrap)
    lines = b"".join(msgspec.json.encode({"topic": t, "key": k, "value": v}) + b"\n" for t, k, v in records)
    found = list(judged(lines, config.horizons))
    good = [line for line in found if isinstance(line, Outgoing)]
    assert len(good) == len(found), next(line for line in found if line not in good)
    produce(to_partitions(good, config.partitions), config)


def send(records: Iterator[Record], bootstrap: str) -> None:
    """Past every check, as others do."""
    producer = make_producer({"bootstrap.servers": bootstrap})
    for topic, key, value in records:
        producer.produce(topic, msgspec.json.encode(value), key)
    assert producer.flush(30) == 0


def refused() -> Iterator[Record]:
    """Facts of a kind that nobody knows."""
    for number in range(6):
        yield topics.STOCK.name, SKUS[0], {"event_id": f"bad{number}", "type": "stock.vanished", "sku": SKUS[0]}


@contextmanager
def beating(bootstrap: str) -> Iterator[None]:
    """Heartbeats go on."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(5):
            send(beats(), bootstrap)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(40)


@contextmanager
def scene() -> Iterator[tuple[str, str]]:
    """The console's address and the broker's, once everything of the day is published."""
    with ExitStack() as stack:
        bootstrap = stack.enter_context(embedded_broker())
        folder = stack.enter_context(temporary_folder())
        admin.ensure({"bootstrap.servers": bootstrap}, 8, keep_forever=True)
        publish(chain(control(), facts(), beats(), snapshots()), bootstrap)
        send(chain(words(), refused()), bootstrap)
        stack.enter_context(beating(bootstrap))
        web_port, console_port = free_ports(2)
        given = {"ATP_BOOTSTRAP": bootstrap, "ATP_WEB_PORT": str(web_port), **SESSION_ON_EMBEDDED}
        stack.enter_context(workers(1, folder, given))
        worker_url, archive = f"http://{LOOPBACK}:{web_port}", {"ATP_LEDGER": closed(folder)}
        stack.enter_context(facade(bootstrap, folder, console_port, worker_url, archive))
        _await_records(bootstrap)
        url = f"http://{LOOPBACK}:{console_port}"
        _await_page(f"{url}/health/ready")
        yield url, bootstrap


def _await_records(bootstrap: str) -> None:
    wanted, deadline = len(SKUS) * len(REGIONS), time.monotonic() + WAIT_S
    with Client(bootstrap) as client:
        while client.status().keys < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{client.status()}: {wanted} records are wanted")
            time.sleep(0.2)


def _await_page(url: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)

"""Pictures of the console, taken of a product that runs: broker, worker, façade, and a day with its troubles.

python -m docs.screenshots     writes docs/console-*.png; needs Chromium (Debian: chromium; or CHROMIUM=path)
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from atp import admin, topics
from atp.brokers.process import LOOPBACK, free_ports
from atp.client import Client
from atp.commands.clients import make_producer
from atp.commands.processes import SESSION_ON_EMBEDDED, embedded_broker, facade, temporary_folder, workers
from atp.domain.times import rfc3339
from atp.sources.retail_world import PLACES, node_references

SKUS = ("85123A", "22423", "47566", "85099B", "84879", "20725", "22720", "21212", "22197", "23084")
WAIT_S = 180.0


def chromium() -> str | None:
    """Where the browser is."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


def _fact(kind: str, number: int, ago_s: int, sku: str, **body: Any) -> dict[str, Any]:
    at = rfc3339(time.time_ns() // 1_000_000 - ago_s * 1000)
    envelope = {"event_id": f"{kind}-{number}", "type": kind, "schema_version": "1.0", "source": "scene"}
    return {**envelope, "sku": sku, "occurred_at": at, "recorded_at": at, **body}


def records() -> Iterator[tuple[str, str, Any]]:
    """Topic, key and value of a day: counts, orders, inbound, a silent source, two modes, facts that are refused."""
    for node in node_references():
        yield topics.NODES.name, node["node"], node
    policy = {"scope": "default", "version": 3, "safety_stock": 2, "buffer_percent": 5}
    yield topics.POLICIES.name, "default", policy
    for number, (sku, place) in enumerate((sku, place) for sku in SKUS for place in PLACES):
        count = {"node": place.node, "as_of": rfc3339(time.time_ns() // 1_000_000 - 7_200_000)}
        quantities = {"sellable": 20 + number * 37 % 180, "receiving": number % 7, "damaged": number % 3}
        yield topics.STOCK.name, sku, _fact("stock.counted", number, 7_200, sku, **count, quantities=quantities)
        line = {"reservation_id": f"o{number}", "line": 1, "version": 1, "channel": "web", "state": "FIRM"}
        units = {"requested": 3 + number % 9, "open": 3 + number % 9, "consumed": 0, "released": 0}
        yield (
            topics.RESERVATIONS.name, sku,
            _fact("reservation.placed", number, 600, sku, region=place.region, **line, **units),
        )  # fmt: skip
    for number in range(6):
        yield topics.STOCK.name, SKUS[0], {"event_id": f"bad{number}", "type": "stock.vanished", "sku": SKUS[0]}
    regions = sorted({place.region for place in PLACES})
    for number, region in enumerate(regions):
        late_s = 840 if region == "nordics" else 4 + number * 9
        beat = {"type": "source.alive", "source": "wms", "region": region, "totals": {}}
        watermark = rfc3339(time.time_ns() // 1_000_000 - late_s * 1000)
        yield topics.HEARTBEATS.name, f"wms|{region}", {**beat, "watermark": watermark}
    for region, channel, mode, cause in (
        ("nordics", "web", "CONSERVATIVE", "STALE_SOURCE"),
        ("nordics", "app", "CONSERVATIVE", "STALE_SOURCE"),
        ("south", "marketplace", "SUSPENDED", "OPERATOR"),
    ):
        document = {"region": region, "channel": channel, "mode": mode, "cause": cause}
        yield topics.MODES.name, f"{region}|{channel}", document


@contextmanager
def scene() -> Iterator[tuple[str, str]]:
    """The console's address and the broker's, once everything of the day is published."""
    with ExitStack() as stack:
        bootstrap = stack.enter_context(embedded_broker())
        folder = stack.enter_context(temporary_folder())
        admin.ensure({"bootstrap.servers": bootstrap}, 8, keep_forever=True)
        producer = make_producer({"bootstrap.servers": bootstrap})
        for topic, key, value in records():
            producer.produce(topic, msgspec.json.encode(value), key)
        assert producer.flush(30) == 0
        web_port, console_port = free_ports(2)
        given = {"ATP_BOOTSTRAP": bootstrap, "ATP_WEB_PORT": str(web_port), **SESSION_ON_EMBEDDED}
        stack.enter_context(workers(1, folder, given))
        stack.enter_context(facade(bootstrap, folder, console_port, f"http://{LOOPBACK}:{web_port}"))
        _await_records(bootstrap)
        url = f"http://{LOOPBACK}:{console_port}"
        _await_page(f"{url}/health/ready")
        yield url, bootstrap


def _await_records(bootstrap: str) -> None:
    wanted, deadline = len(SKUS) * len({place.region for place in PLACES}), time.monotonic() + WAIT_S
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


def main() -> None:
    """Take the pictures."""
    from playwright.sync_api import sync_playwright

    browser_path = chromium()
    if browser_path is None:
        sys.exit("Chromium is missing: install Debian's package chromium, or set CHROMIUM=path")
    folder = Path(__file__).parent
    with scene() as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
            page.goto(url)
            page.get_by_text("Live, ").wait_for()
            page.locator("#why-form input[name=sku]").fill(SKUS[0])
            page.locator("#why-form input[name=region]").fill("uk")
            page.locator("#why-form button").click()
            page.get_by_text("from ", exact=False).first.wait_for()
            page.wait_for_selector(".fall")
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=folder / f"console-{scheme}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()

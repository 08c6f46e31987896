"""A façade on an embedded broker, asked without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from atp import admin, topics
from atp.brokers.embedded import EmbeddedBroker
from atp.commands.clients import make_producer
from atp.facade.app import create_app
from atp.facade.context import Facade
from atp.facade.keys import hashed
from atp.settings import Settings
from tests.client.records import encoded

KEYS = {"web-key": ("web", 10_000), "app-key": ("app", 10_000), "slow-key": ("web", 1), "boss-key": ("*", 10_000)}
MART = "sku,region,channel,sellable,as_of\nS0,uk,web,9,yesterday\nS1,ireland,store,7,yesterday\n"


@pytest.fixture
def broker() -> Iterator[str]:
    """The address of a fresh embedded broker with the product's topics and a few records."""
    with EmbeddedBroker() as found:
        admin.ensure({"bootstrap.servers": found.bootstrap}, 8, keep_forever=True)
        send(
            found.bootstrap, topics.AVAILABILITY.name, *[(f"S{n}|uk", encoded(f"S{n}", 1, n + 10)) for n in range(20)]
        )
        yield found.bootstrap


def send(bootstrap: str, topic: str, *records: tuple[str, bytes | None]) -> None:
    """Put records on a topic and wait for the broker."""
    sender = make_producer({"bootstrap.servers": bootstrap})
    for key, value in records:
        sender.produce(topic, value, key)
    assert sender.flush(20) == 0


def settings(bootstrap: str, **more: Any) -> Settings:
    """Settings of a façade, with the keys above."""
    rows = [
        {"name": key, "channel": channel, "sha256": hashed(key), "per_second": limit}
        for key, (channel, limit) in KEYS.items()
    ]
    keys = msgspec.json.encode(rows).decode()
    return Settings(bootstrap=bootstrap, **{"api_keys": keys, **more})


class Door:
    """A façade that runs, and an HTTP client that talks to it as a channel would."""

    def __init__(self, facade: Facade, http: httpx.AsyncClient, bootstrap: str) -> None:
        self.facade, self.http, self.bootstrap = facade, http, bootstrap

    async def get(self, path: str, key: str = "web-key", **headers: str) -> httpx.Response:
        """Ask with a key."""
        return await self.http.get(path, headers={"Authorization": f"Bearer {key}", **headers})

    async def bulk(self, items: list[dict[str, Any]], key: str = "web-key") -> httpx.Response:
        """Ask for many."""
        return await self.http.post("/v1/availability/query", json={"items": items}, headers={"X-API-Key": key})


async def opened(config: Settings) -> AsyncIterator[Door]:
    """A façade that has read everything."""
    facade = Facade(config)
    transport = httpx.ASGITransport(create_app(facade))
    async with facade.running(), httpx.AsyncClient(transport=transport, base_url="http://atp") as http:
        assert await asyncio.to_thread(facade.client.wait_ready, 120)
        assert await asyncio.to_thread(facade.documents.wait_ready, 120)
        assert await asyncio.to_thread(facade.shown.wait_ready, 120)
        yield Door(facade, http, config.bootstrap)


@pytest.fixture
async def door(broker: str) -> AsyncIterator[Door]:
    """A façade with API keys and no mart."""
    async for found in opened(settings(broker)):
        yield found


@pytest.fixture
async def strangler(broker: str, tmp_path: Path) -> AsyncIterator[Door]:
    """A façade beside a legacy mart."""
    mart = tmp_path / "mart.csv"
    mart.write_text(MART)
    async for found in opened(settings(broker, legacy_mart=mart)):
        found.facade.mart.refresh()
        yield found

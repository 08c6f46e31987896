"""What every door of the façade stands on: the view, the routes, the legacy mart, the keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from atp import metrics, topics
from atp.client import Answer, Client, Doubt, Staleness
from atp.domain.routes import Answerer, RouteBook, RouteError, parse_route
from atp.facade.console import kept
from atp.facade.documents import Documents, by_key
from atp.facade.keys import Keys, load_keys
from atp.facade.legacy import Mart
from atp.facade.problems import ProblemError
from atp.settings import Settings

REFRESH_S = 2.0


class Answered(msgspec.Struct):
    """An answer on the wire. `age_ms`: how old our knowledge is; null where the legacy mart answers."""

    sku: str
    region: str
    channel: str
    sellable: int
    answered_by: Answerer
    mode: str | None
    confidence: str
    reasons: tuple[str, ...]
    atp: int | None
    confident: int | None
    conservative: int | None
    buckets: Any
    flags: tuple[str, ...]
    version: int | None
    as_of: str | None
    published_at: str | None
    age_ms: int | None


NOT_READY = ProblemError(503, "not-ready", "Still restoring", "not everything has been read yet", retry_after_s=1)


class Facade:
    """All that the routes of the web app need."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        staleness = Staleness(config.degrade_after_ms, config.refuse_after_ms)
        self.client = Client(config.bootstrap, staleness, config.admin())
        self.documents = Documents(config.admin(), {topics.ROUTES.name: by_key})
        # apart from the routes: what only people look at must not keep answers waiting
        self.shown = Documents(config.admin(), kept.STATES, kept.EVENTS, kept.COURSES)
        secret = config.api_keys
        self.keys: Keys = load_keys(secret.get_secret_value() if secret else None)
        self.mart = Mart(config.legacy_mart)
        self._routes, self._routes_revision = RouteBook(), -1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read from the broker, and the mart, while the app serves."""
        self.client.start()
        self.documents.start()
        self.shown.start()
        task = asyncio.create_task(self._refresh_mart())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.to_thread(self.client.stop)
            await asyncio.to_thread(self.documents.stop)
            await asyncio.to_thread(self.shown.stop)

    async def _refresh_mart(self) -> None:
        while True:
            await asyncio.to_thread(self.mart.refresh)
            await asyncio.sleep(REFRESH_S)

    def routes(self) -> RouteBook:
        """The routes in force; a document that cannot be used leaves the default."""
        if self._routes_revision != self.documents.revision:
            self._routes_revision = self.documents.revision
            self._routes = route_book(self.documents.of(topics.ROUTES.name), self.config)
        return self._routes

    def answerer(self, region: str, channel: str) -> Answerer:
        """Who answers. Without a mart there is nothing to strangle."""
        return self.routes().of(region, channel) if self.mart.path is not None else Answerer.PRODUCT

    def answer(self, sku: str, region: str, channel: str) -> Answered:
        """What a channel may sell, by whoever the route names; the other one is compared in its shadow."""
        found = self.client.sellable(sku, region, channel)
        if self.mart.path is None:
            return self._product(found)
        if not self.documents.ready:
            raise NOT_READY
        row = self.mart.rows.get((sku, region, channel))
        if found.known and row is not None:
            outcome = (
                "agree" if row.sellable == found.sellable else "over" if row.sellable > found.sellable else "under"
            )
            metrics.SHADOW.labels(region, channel, outcome).inc()
        if self.answerer(region, channel) is Answerer.PRODUCT:
            return self._product(found)
        if row is None:
            reasons = (Doubt.UNKNOWN_KEY.value,)
            return Answered(sku, region, channel, 0, Answerer.LEGACY, None, "LOW", reasons, *_NOTHING)
        units = Answered(sku, region, channel, row.sellable, Answerer.LEGACY, None, "LOW", ("BATCH",), *_NOTHING)
        units.as_of = row.as_of
        return units

    def _product(self, found: Answer) -> Answered:
        record = self.client.record(found.sku, found.region) if found.known else None
        return Answered(
            found.sku,
            found.region,
            found.channel,
            found.sellable,
            Answerer.PRODUCT,
            found.mode.value if found.known else None,
            found.confidence,
            found.reasons,
            found.atp if found.known else None,
            found.confident if found.known else None,
            found.conservative if found.known else None,
            record.buckets if record else (),
            record.flags if record else (),
            found.version or None,
            found.as_of,
            found.published_at,
            found.age_ms,
        )


_NOTHING: tuple[Any, ...] = (None, None, None, (), (), None, None, None, None)


def route_book(documents: dict[str, dict[str, Any]], config: Settings) -> RouteBook:
    """The routes of some documents, above the defaults of the settings."""
    book = RouteBook(config.first_region_names, config.first_channel_names)
    for document in documents.values():
        with contextlib.suppress(RouteError):
            route = parse_route(document)
            book[route.region, route.channel] = route
    return book


def refused(answer: Answered) -> ProblemError | None:
    """The problem of an answer that must not be taken for "sold out"."""
    if answer.answered_by is Answerer.LEGACY:
        return None
    if Doubt.NOT_READY in answer.reasons:
        return NOT_READY
    if Doubt.STALE_VIEW in answer.reasons and answer.version is None:
        detail = f"what is known is {answer.age_ms} ms old, which is too old to sell by"
        return ProblemError(503, "stale-view", "Too old to answer", detail, retry_after_s=5)
    return None

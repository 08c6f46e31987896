"""The web app of the façade: doors for channels under `/v1`, health, metrics, and the console at `/`.

atp facade        what runs it
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atp import metrics
from atp.facade import changes, exceptions, health, lookups, problems
from atp.facade.console import actions, pages
from atp.facade.context import Facade

DESCRIPTION = """What may be sold now per SKU, region and sales channel, with age and reasons of every answer.

Served from memory, from the compacted topic `atp.availability.v1`. Errors are problem documents (RFC 9457)."""


class Measured:
    """Counts requests and their time, by route and status."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route: Any = scope.get("route")
            path = getattr(route, "path", "other")
            metrics.REQUESTS.labels(path, str(status)).inc()
            metrics.REQUEST_SECONDS.labels(path).observe(time.perf_counter() - started_s)


def create_app(facade: Facade) -> FastAPI:
    """The app over a façade; it reads from the broker while it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with facade.running():
            yield

    app = FastAPI(title="Available to Promise", version="1.0", description=DESCRIPTION, lifespan=lifespan,
                  docs_url=None, redoc_url=None)  # fmt: skip # their pages load assets from another host
    problems.install(app)
    app.add_middleware(Measured)
    for part in (lookups, changes, exceptions, health, pages, actions):
        app.include_router(part.router(facade))
    return app

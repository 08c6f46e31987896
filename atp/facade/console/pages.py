"""The console's page, its live state, and the waterfall of a record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader
from sse_starlette import EventSourceResponse, ServerSentEvent

from atp.commands import explain
from atp.facade.console.actions import done
from atp.facade.console.operators import COOKIE, operator
from atp.facade.console.state import Gathering
from atp.facade.context import Facade
from atp.facade.problems import ProblemError

HERE = Path(__file__).parent
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
STATIC = {path.name: path for path in sorted((HERE / "static").iterdir()) if path.suffix in KINDS}
PERIOD_S = 1.0
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Live:
    """The state, gathered at most once a period, however many look at it."""

    def __init__(self, facade: Facade) -> None:
        self._gathering, self._lock = Gathering(facade), asyncio.Lock()
        self._parts: dict[str, bytes] = {}
        self._at_s = 0.0

    async def current(self) -> dict[str, bytes]:
        """The parts of the state, each as JSON."""
        async with self._lock:
            if not self._parts or time.monotonic() - self._at_s >= PERIOD_S:
                found = await asyncio.to_thread(self._gathering.gather)
                self._parts = {name: msgspec.json.encode(part) for name, part in found.items()}
                self._at_s = time.monotonic()
            return self._parts

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """The whole state, then again and again the parts that changed."""
        sent: dict[str, bytes] = {}
        while True:
            parts = await self.current()
            changed = {name: msgspec.Raw(part) for name, part in parts.items() if sent.get(name) != part}
            yield ServerSentEvent(msgspec.json.encode(changed).decode(), event="state")
            sent = parts
            await asyncio.sleep(PERIOD_S)


def router(facade: Facade) -> APIRouter:
    """The routes."""
    found, live = APIRouter(include_in_schema=False), Live(facade)
    page = Environment(loader=FileSystemLoader(HERE), autoescape=True).get_template("page.html")

    @found.get("/")
    async def console(request: Request) -> HTMLResponse:
        try:
            signed_in = operator(facade, request) is not None
        except ProblemError:
            signed_in = False
        return HTMLResponse(page.render(signed_in=signed_in, open=facade.keys.open), headers=HEADERS)

    @found.post("/console/sign-in")
    async def sign_in(request: Request) -> RedirectResponse:
        key = parse_qs((await request.body()).decode(errors="replace")).get("key", [""])[0]
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, key.strip(), httponly=True, samesite="strict", max_age=12 * 3600)
        return response

    @found.get("/console/static/{name}")
    async def static(name: str) -> Response:
        if name not in STATIC:
            raise ProblemError(404, "not-found", "Not found", f"name = {name!r}: allowed are {', '.join(STATIC)}")
        return Response(STATIC[name].read_bytes(), media_type=KINDS[STATIC[name].suffix], headers=HEADERS)

    @found.get("/console/events")
    async def events(request: Request) -> EventSourceResponse:
        operator(facade, request)
        return EventSourceResponse(live.events())

    @found.get("/console/explain")
    async def waterfall(
        request: Request, sku: Annotated[str, Query(min_length=1)], region: Annotated[str, Query(min_length=1)]
    ) -> Response:
        operator(facade, request)
        options = explain.Options(as_json=True)
        return await done(lambda out: explain.run(sku, region, options, out))

    return found

"""The console's page, its live state, and its actions, which are those of the command line."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader
from sse_starlette import EventSourceResponse, ServerSentEvent

from atp.commands import dead_letters, explain, modes
from atp.commands.errors import CommandError
from atp.facade.console.state import ConsoleState
from atp.facade.context import Facade
from atp.facade.keys import Caller
from atp.facade.problems import ProblemError

HERE = Path(__file__).parent
COOKIE, ACTION_HEADER = "atp_key", "x-atp-console"
PERIOD_S = 1.0
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class ModeAction(msgspec.Struct):
    """Set the mode of a channel by hand."""

    region: str
    channel: str
    mode: str
    reason: str = ""
    hours: int = modes.HOURS


class ReplayAction(msgspec.Struct):
    """Replay the dead letters of a topic with a reason code."""

    topic: str
    reason: str
    dry_run: bool = False


class Live:
    """The state, gathered at most once a period, however many look at it."""

    def __init__(self, facade: Facade) -> None:
        self._state, self._lock = ConsoleState(facade), asyncio.Lock()
        self._found, self._at_s = b"", 0.0

    async def current(self) -> bytes:
        """The state as JSON."""
        async with self._lock:
            if time.monotonic() - self._at_s >= PERIOD_S:
                self._found = msgspec.json.encode(await asyncio.to_thread(self._state.gather))
                self._at_s = time.monotonic()
            return self._found

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        """The state again and again."""
        while True:
            yield ServerSentEvent((await self.current()).decode(), event="state")
            await asyncio.sleep(PERIOD_S)


def router(facade: Facade) -> APIRouter:
    """The routes."""
    found, live = APIRouter(include_in_schema=False), Live(facade)
    page = Environment(loader=FileSystemLoader(HERE), autoescape=True).get_template("page.html")

    def operator(request: Request) -> Caller:
        caller = facade.keys.caller(request, request.cookies.get(COOKIE))
        if not caller.is_operator:
            raise ProblemError(403, "operators-only", "For operators", "this key is for a sales channel")
        return caller

    @found.get("/")
    async def console(request: Request) -> HTMLResponse:
        try:
            signed_in = operator(request) is not None
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
        kinds = {"console.js": "text/javascript", "console.css": "text/css", "icon.svg": "image/svg+xml"}
        if name not in kinds:
            raise ProblemError(404, "not-found", "Not found", f"name = {name!r}: allowed are {', '.join(kinds)}")
        return Response((HERE / "static" / name).read_bytes(), media_type=kinds[name], headers=HEADERS)

    @found.get("/console/events")
    async def events(request: Request) -> EventSourceResponse:
        operator(request)
        return EventSourceResponse(live.events())

    @found.get("/console/explain")
    async def waterfall(
        request: Request, sku: Annotated[str, Query(min_length=1)], region: Annotated[str, Query(min_length=1)]
    ) -> Response:
        operator(request)
        options = explain.Options(as_json=True)
        return await _done(lambda out: explain.run(sku, region, options, out))

    @found.post("/console/modes")
    async def set_mode(request: Request) -> Response:
        action = await _action(request, ModeAction)
        by = operator(request).name
        return await _done(
            lambda out: modes.set_mode(
                action.region, action.channel, action.mode, action.reason, out, action.hours, by
            )
        )

    @found.post("/console/dead-letters/replay")
    async def replay(request: Request) -> Response:
        action = await _action(request, ReplayAction)
        selection = dead_letters.Selection(topic=action.topic, reason=action.reason)
        return await _done(lambda out: dead_letters.replay(selection, action.dry_run, True, out))

    async def _action(request: Request, kind: Any) -> Any:
        """The body of an action. The header is what another site's form cannot send."""
        operator(request)
        if ACTION_HEADER not in request.headers:
            raise ProblemError(403, "not-the-console", "Not from the console", f"header {ACTION_HEADER} is missing")
        try:
            return msgspec.json.decode(await request.body(), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProblemError(422, "invalid-request", "Invalid request", str(error)) from None

    return found


async def _done(command: Callable[[io.StringIO], None]) -> Response:
    """What a command prints, or its error as a problem."""
    out = io.StringIO()
    try:
        await asyncio.to_thread(command, out)
    except CommandError as error:
        raise ProblemError(422 if error.code == 2 else 409, "not-done", "Not done", str(error)) from None
    text = out.getvalue()
    body = text if text.startswith("{") else msgspec.json.encode({"said": text.strip()})
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

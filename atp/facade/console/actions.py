"""What people do on the console. Each action is a command of the command line, with the operator's name on it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from atp.commands import dead_letters, exceptions, modes
from atp.commands.errors import CommandError
from atp.facade.console.operators import acting
from atp.facade.context import Facade
from atp.facade.problems import ProblemError

Action = TypeVar("Action")


class ModeAction(msgspec.Struct):
    """Set the mode of a channel by hand."""

    region: str
    channel: str
    mode: str
    reason: str = ""
    hours: int = modes.HOURS


class DecisionAction(msgspec.Struct):
    """Approve or reject the correction that an exception proposes."""

    exception_id: str
    verb: Literal["approve", "reject"]
    reason: str = ""


class ReplayAction(msgspec.Struct):
    """Replay the dead letters of a topic with a reason code; `dry_run`: only look which of them are good by now."""

    topic: str
    reason: str
    dry_run: bool = False


def router(facade: Facade) -> APIRouter:
    """The routes."""
    found = APIRouter(prefix="/console", include_in_schema=False)

    @found.post("/modes")
    async def set_mode(request: Request) -> Response:
        by, action = await _taken(facade, request, ModeAction)
        place = (action.region, action.channel, action.mode, action.reason)
        return await done(lambda out: modes.set_mode(*place, out, action.hours, by))

    @found.post("/exceptions")
    async def decide(request: Request) -> Response:
        by, action = await _taken(facade, request, DecisionAction)
        word = (action.exception_id, action.verb, action.reason)
        return await done(lambda out: exceptions.decide(*word, out, by))

    @found.post("/dead-letters/replay")
    async def replay(request: Request) -> Response:
        _, action = await _taken(facade, request, ReplayAction)
        selection = dead_letters.Selection(topic=action.topic, reason=action.reason)
        return await done(lambda out: dead_letters.replay(selection, action.dry_run, True, out))

    return found


async def _taken(facade: Facade, request: Request, kind: type[Action]) -> tuple[str, Action]:
    """Who acts, and what is to be done."""
    by = acting(facade, request).name
    try:
        return by, msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProblemError(422, "invalid-request", "Invalid request", str(error)) from None


async def done(command: Callable[[io.StringIO], None]) -> Response:
    """What a command prints, or its error as a problem."""
    out = io.StringIO()
    try:
        await asyncio.to_thread(command, out)
    except CommandError as error:
        raise ProblemError(422 if error.code == 2 else 409, "not-done", "Not done", str(error)) from None
    text = out.getvalue()
    body: Any = text if text.startswith("{") else msgspec.json.encode({"said": text.strip()})
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

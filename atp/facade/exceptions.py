"""Exceptions over HTTP, for operators' tools: what is not settled, and a person's word on it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response

from atp import topics
from atp.commands import exceptions
from atp.facade.console import reconciliation
from atp.facade.console.actions import done
from atp.facade.console.operators import require_operator
from atp.facade.context import NOT_READY, Facade
from atp.facade.keys import Caller
from atp.facade.models import ExceptionsModel, ProblemModel, SaidModel, WordModel
from atp.facade.problems import ProblemError, wrong_field

JSON = "application/json"
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemModel, "description": what}
    for status, what in {
        401: "no valid key",
        403: "the key is for a sales channel",
        409: "no exception has this id, or it does not wait for a decision",
        422: "a field is missing or wrong",
        503: "still restoring",
    }.items()
}


class Word(msgspec.Struct):
    """What a person says of a proposed correction."""

    verb: Literal["approve", "reject"]
    reason: str


def router(facade: Facade) -> APIRouter:
    """The routes."""
    found = APIRouter(prefix="/v1/exceptions", tags=["operations"])

    def operator(request: Request) -> Caller:
        """By a key in a header: a cookie is for the console only."""
        return require_operator(facade.keys.caller(request))

    @found.get("", response_model=None, responses={200: {"model": ExceptionsModel}, **PROBLEMS})
    async def unsettled(request: Request) -> Response:
        """The exceptions that are not settled: those that wait for a person first, at most 200 of them."""
        operator(request)
        if not facade.shown.ready:
            raise NOT_READY
        body = msgspec.json.encode(reconciliation.exceptions(facade.shown.of(topics.EXCEPTIONS.name)))
        return Response(body, headers={"Cache-Control": "no-store"}, media_type=JSON)

    @found.post(
        "/{exception_id}/decision",
        response_model=None,
        responses={200: {"model": SaidModel}, **PROBLEMS},
        openapi_extra={
            "requestBody": {"required": True, "content": {JSON: {"schema": WordModel.model_json_schema()}}}
        },
    )
    async def decide(request: Request, exception_id: str) -> Response:
        """Approve or reject the correction that an exception proposes, as `atp exceptions` does."""
        by, word = operator(request).name, _word(request, await request.body())
        return await done(lambda out: exceptions.decide(exception_id, word.verb, word.reason, out, by))

    return found


def _word(request: Request, body: bytes) -> Word:
    """The body. Its type is asked for because no form of another site can send it."""
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != JSON:
        raise wrong_field("Content-Type", given, f"{JSON} is allowed")
    try:
        return msgspec.json.decode(body, type=Word)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProblemError(422, "invalid-request", "Invalid request", str(error)) from None

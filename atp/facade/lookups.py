"""Look-ups: one by one, in bulk, and the modes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from xxhash import xxh3_64_hexdigest

from atp.client import Doubt
from atp.client.follower import monotonic_ms
from atp.domain.decoding import explain_invalid
from atp.facade.context import Answered, Facade, refused
from atp.facade.keys import MAX_BULK
from atp.facade.models import AnswersModel, AvailabilityModel, ModesModel, ProblemModel, QueryModel
from atp.facade.problems import ProblemError, wrong_field

Region = Annotated[str, Query(min_length=1, description="region of the record")]
Channel = Annotated[str | None, Query(min_length=1, description="sales channel; default: that of the API key")]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemModel, "description": what}
    for status, what in {
        401: "no valid key",
        403: "another channel's key",
        422: "a field is missing or wrong",
        429: "too many requests",
        503: "still restoring, or too old to sell by",
    }.items()
}


class Item(msgspec.Struct):
    """One look-up of a bulk."""

    sku: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    region: Annotated[str, msgspec.Meta(min_length=1)]
    channel: str | None = None


class Bulk(msgspec.Struct):
    """The body of a bulk."""

    items: Annotated[list[Item], msgspec.Meta(min_length=1, max_length=MAX_BULK)]


_decode = msgspec.json.Decoder(Bulk).decode
_encode = msgspec.json.encode


def router(facade: Facade) -> APIRouter:
    """The routes."""
    found = APIRouter(prefix="/v1", tags=["availability"])

    @found.get(
        "/availability/{sku}",
        response_model=None,
        responses={
            200: {"model": AvailabilityModel, "description": "what the channel may sell"},
            304: {"description": "the same as before"},
            404: {"model": ProblemModel, "description": "nothing is published for it"},
            **PROBLEMS,
        },
    )
    async def availability(request: Request, sku: str, region: Region, channel: Channel = None) -> Response:
        """How many units of a SKU a channel may sell in a region."""
        caller = facade.keys.caller(request)
        asked = caller.channel_of(channel)
        caller.spend(1)
        answer = facade.answer(sku, region, asked)
        if (problem := refused(answer)) is not None:
            raise problem
        if Doubt.UNKNOWN_KEY in answer.reasons or Doubt.UNKNOWN_CHANNEL in answer.reasons:
            raise _unknown(answer)
        return _cached(request, answer)

    @found.post(
        "/availability/query",
        response_model=None,
        responses={200: {"model": AnswersModel, "description": "answers in the order of the items"}, **PROBLEMS},
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _body()}}}},
    )
    async def query(request: Request) -> Response:
        """Many look-ups at once; one that nothing is published for has 0 units and the reason UNKNOWN_KEY."""
        caller = facade.keys.caller(request)
        items = _bulk(await request.body()).items
        caller.spend(len(items))
        answers = [facade.answer(item.sku, item.region, caller.channel_of(item.channel)) for item in items]
        for answer in answers:
            if (problem := refused(answer)) is not None:
                raise problem
        return _json({"items": answers})

    @found.get(
        "/modes",
        response_model=None,
        responses={200: {"model": ModesModel, "description": "the modes in force"}, 401: PROBLEMS[401]},
    )
    async def modes(request: Request) -> Response:
        """How confidently each channel may sell. A (region, channel) that is not named is CONFIDENT."""
        facade.keys.caller(request)
        view = facade.client.view
        rows = [row for _, row in sorted(view.modes.items())]
        return _json({"modes": rows, "age_ms": view.age_ms(monotonic_ms())})

    return found


def _body() -> dict[str, Any]:
    """The body's schema, whole: its parts are not shared with anything."""
    schema = QueryModel.model_json_schema()
    schema["properties"]["items"]["items"] = schema.pop("$defs")["ItemModel"]
    return schema


def _bulk(body: bytes) -> Bulk:
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        explained = explain_invalid(msgspec.json.decode(body), error)
        field, _, rest = explained.partition(" = ")
        value, _, allowed = rest.partition(": ")
        raise wrong_field(field, value, allowed) if rest else wrong_field("body", "…", explained) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise wrong_field("body", body[:80].decode(errors="replace"), f"JSON is allowed ({error})") from None


def _unknown(answer: Answered) -> ProblemError:
    if Doubt.UNKNOWN_CHANNEL in answer.reasons:
        field, value, allowed = "channel", answer.channel, "a channel of the record's policy"
    else:
        field, value, allowed = "sku", answer.sku, f"a SKU with a record in region {answer.region!r}"
    errors = [{"field": field, "value": value, "allowed": allowed}]
    return ProblemError(404, "unknown", "Nothing is published for it", f"{field} = {value!r}: {allowed}", errors)


def _cached(request: Request, answer: Answered) -> Response:
    """The answer, or 304 where it says what the asker has. Its age is no part of what it says."""
    body = _encode(answer)
    age_ms, answer.age_ms = answer.age_ms, None
    tag = f'W/"{xxh3_64_hexdigest(_encode(answer))}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if age_ms is not None:
        headers["ATP-Age-Ms"] = str(age_ms)
    given = request.headers.get("if-none-match", "")
    if given and any(one.strip() in (tag, "*") for one in given.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _json(body: Any) -> Response:
    return Response(_encode(body), headers={"Cache-Control": "no-store"}, media_type="application/json")

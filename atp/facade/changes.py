"""Changes as Server-Sent Events. An event's id is the reader's position in every partition of the canonical topic, so
any replica can go on where another one stopped: it sends the latest record of every key that changed since.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from atp.client import Change, ChangesLostError
from atp.facade.context import Facade
from atp.facade.lookups import PROBLEMS, Channel
from atp.facade.problems import ProblemError, wrong_field

PING_S = 15


class Filter(msgspec.Struct):
    """Which changes a reader wants."""

    channel: str
    sku: str | None
    region: str | None

    def holds(self, sku: str, region: str) -> bool:
        """Whether it wants this key."""
        return self.sku in (None, sku) and self.region in (None, region)


def router(facade: Facade) -> APIRouter:
    """The route."""
    found = APIRouter(prefix="/v1", tags=["changes"])

    @found.get(
        "/changes",
        response_model=None,
        responses={
            200: {
                "description": "events `availability` (an answer, as from a look-up), `deleted`, `mode`, and `lost` "
                "when the reader is too slow: connect again with Last-Event-ID. Each has an id to resume from.",
                "content": {"text/event-stream": {}},
            },
            **PROBLEMS,
        },
    )
    async def changes(
        request: Request,
        channel: Channel = None,
        sku: Annotated[str | None, Query(description="this SKU only")] = None,
        region: Annotated[str | None, Query(description="this region only")] = None,
        last_event_id: Annotated[str | None, Header(description="id of the last event seen")] = None,
    ) -> EventSourceResponse:
        """Every change of what a channel may sell, as it happens."""
        caller = facade.keys.caller(request)
        wanted = Filter(caller.channel_of(channel), sku, region)
        caller.spend(1)
        if not facade.client.ready:
            raise ProblemError(503, "not-ready", "Still restoring", "the view is not complete yet", retry_after_s=1)
        positions = parse_id(last_event_id, len(facade.client.view.positions)) if last_event_id else None
        return EventSourceResponse(events(facade, wanted, positions), ping=PING_S)

    return found


async def events(facade: Facade, wanted: Filter, since: list[int] | None) -> AsyncIterator[ServerSentEvent]:
    """What was missed, then what comes; the first event tells where the reader starts."""
    with facade.client.changes() as coming:
        positions = list(facade.client.view.positions) if since is None else since
        yield _event("hello", positions, {"resumed": since is not None})
        if since is not None:
            for held in facade.client.view.since(since):
                positions[held.partition] = held.offset + 1
                if wanted.holds(held.record.sku, held.record.region):
                    yield _availability(facade, wanted, positions, held.record.sku, held.record.region)
        try:
            async for change in coming:
                if (event := _changed(facade, wanted, positions, change)) is not None:
                    yield event
        except ChangesLostError as error:
            yield _event("lost", positions, {"detail": str(error)})


def _changed(facade: Facade, wanted: Filter, positions: list[int], change: Change) -> ServerSentEvent | None:
    if change.mode is not None:
        mine = wanted.channel == change.mode.channel and wanted.region in (None, change.mode.region)
        return _event("mode", positions, change.mode) if mine else None
    if change.offset < positions[change.partition]:
        return None
    positions[change.partition] = change.offset + 1
    sku, _, region = change.key.rpartition("|")
    if not wanted.holds(sku, region):
        return None
    if change.record is None:
        return _event("deleted", positions, {"sku": sku, "region": region})
    return _availability(facade, wanted, positions, sku, region)


def _availability(facade: Facade, wanted: Filter, positions: list[int], sku: str, region: str) -> ServerSentEvent:
    return _event("availability", positions, facade.answer(sku, region, wanted.channel))


def _event(name: str, positions: list[int], data: Any) -> ServerSentEvent:
    return ServerSentEvent(msgspec.json.encode(data).decode(), event=name, id=".".join(map(str, positions)))


def parse_id(text: str, partitions: int) -> list[int]:
    """The positions in an event's id, or a ProblemError."""
    parts = text.split(".")
    if len(parts) != partitions or not all(part.isascii() and part.isdigit() for part in parts):
        raise wrong_field("Last-Event-ID", text, f"the id of an event is allowed ({partitions} positions)")
    return [int(part) for part in parts]

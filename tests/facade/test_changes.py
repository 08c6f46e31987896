"""Changes as events: what comes, and what was missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from sse_starlette import ServerSentEvent

from atp import topics
from atp.facade.changes import Filter, events, parse_id
from atp.facade.problems import ProblemError
from tests.client.records import encoded, mode
from tests.facade.conftest import Door, send

WEB = Filter("web", None, "uk")


async def take(stream: AsyncIterator[ServerSentEvent]) -> tuple[str | None, Any, str]:
    """The next event: its name, what it says, its id."""
    event = await asyncio.wait_for(anext(stream), 120)
    return event.event, msgspec.json.decode(event.data), str(event.id)


async def test_changes_come_as_events(door: Door) -> None:
    """A new version and a switch of mode, filtered by SKU and channel."""
    stream = events(door.facade, Filter("web", "S3", "uk"), None)
    assert (await take(stream))[0] == "hello"
    send(door.bootstrap, topics.AVAILABILITY.name, ("S4|uk", encoded("S4", 2, 1)), ("S3|uk", encoded("S3", 2, 5)))
    name, said, _ = await take(stream)
    assert (name, said["sku"], said["sellable"]) == ("availability", "S3", 5)
    send(
        door.bootstrap, topics.MODES.name, ("uk|app", mode("SUSPENDED", channel="app")), ("uk|web", mode("SUSPENDED"))
    )
    name, said, _ = await take(stream)
    assert (name, said["channel"], said["mode"]) == ("mode", "web", "SUSPENDED")
    send(door.bootstrap, topics.AVAILABILITY.name, ("S3|uk", None))
    assert (await take(stream))[:2] == ("deleted", {"sku": "S3", "region": "uk"})


async def test_a_reader_goes_on_where_it_stopped(door: Door) -> None:
    """With the id of the last event: the latest state of every key that changed since, and of no other."""
    stream = events(door.facade, WEB, None)
    _, _, last_id = await take(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    watch = events(door.facade, WEB, None)
    await take(watch)
    send(door.bootstrap, topics.AVAILABILITY.name, *[("S3|uk", encoded("S3", v, v)) for v in (2, 3)])
    await take(watch)
    await take(watch)
    again = events(door.facade, WEB, parse_id(last_id, 8))
    assert (await take(again))[1] == {"resumed": True}
    name, said, _ = await take(again)
    assert (name, said["sku"], said["version"]) == ("availability", "S3", 3)
    send(door.bootstrap, topics.AVAILABILITY.name, ("S4|uk", encoded("S4", 2, 4)))
    assert (await take(again))[1]["sku"] == "S4"


@pytest.mark.parametrize("text", ["nonsense", "1.2", "1.2.3.4.5.6.7.-8", "1.2.3.4.5.6.7.²"])
def test_an_id_of_somebody_else_is_refused(text: str) -> None:
    """Only ids that this topic's events had are understood."""
    with pytest.raises(ProblemError, match="Last-Event-ID"):
        parse_id(text, 8)

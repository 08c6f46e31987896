"""Exceptions over HTTP: listed, decided on, and closed to everybody but operators."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from atp import topics
from atp.commands import exceptions
from atp.commands.clients import consumer, read_whole
from atp.domain.exceptions import Decision
from atp.facade.models import ExceptionsModel, ProblemModel, SaidModel
from tests.facade.conftest import Door, send
from tests.unit.test_console_rooms import EXCEPTION

WORD = {"verb": "approve", "reason": "recounted"}
DECIDE = "/v1/exceptions/x-1/decision"


async def decided(door: Door, word: Any = WORD, key: str = "boss-key", path: str = DECIDE, **headers: str) -> Any:
    """Send a word on an exception."""
    return await door.http.post(path, json=word, headers={"Authorization": f"Bearer {key}", **headers})


def row(exception_id: str, state: str) -> tuple[str, bytes]:
    """A row of an exception."""
    return exception_id, msgspec.json.encode({**EXCEPTION, "exception_id": exception_id, "state": state})


async def listed_when(door: Door, count: int) -> ExceptionsModel:
    """The list once it has so many."""
    async with asyncio.timeout(120):
        while True:
            found = ExceptionsModel.model_validate_json((await door.get("/v1/exceptions", "boss-key")).content)
            if found.count == count:
                return found
            await asyncio.sleep(0.05)


def decisions(bootstrap: str) -> list[Decision]:
    """What lies on the topic of decisions."""
    with consumer({"bootstrap.servers": bootstrap}) as reader:
        places = [(topics.DECISIONS.name, partition) for partition in range(8)]
        return [msgspec.json.decode(one.value(), type=Decision) for one in read_whole(reader, places)]


async def test_a_word_over_http_is_a_decision_in_the_name_of_the_key(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proposed one is listed first; the word lies on the topic of decisions once, with key name and reason."""
    monkeypatch.setenv("ATP_BOOTSTRAP", door.bootstrap)
    monkeypatch.setattr(exceptions, "await_answer", lambda *_: None)  # nobody works here
    send(door.bootstrap, topics.EXCEPTIONS.name, row("x-2", "OPEN"), row("x-1", "PROPOSED"), row("x-3", "REJECTED"))
    listed = await listed_when(door, 2)
    assert [(one.exception_id, one.about) for one in listed.rows] == [("x-1", "n1"), ("x-2", "n1")]
    response = await decided(door)
    said = SaidModel.model_validate_json(response.content).said
    assert (response.status_code, "x-1: asked to approve" in said) == (200, True)
    (found_one,) = await asyncio.to_thread(decisions, door.bootstrap)
    assert (found_one.type, found_one.exception_id, found_one.sku) == ("exception.approved", "x-1", "S")
    assert (found_one.by, found_one.reason) == ("boss-key", "recounted")
    refused = await decided(door, path="/v1/exceptions/x-2/decision")
    assert (refused.status_code, "is OPEN" in refused.json()["detail"]) == (409, True)


async def test_only_operators_with_a_key_and_a_whole_word_decide(door: Door) -> None:
    """A channel's key, a cookie alone, a form's body, a missing reason: a problem each, and nothing is written."""
    for key, status in (("web-key", 403), ("stolen", 401)):
        assert (await decided(door, key=key)).status_code == status
        assert (await door.get("/v1/exceptions", key)).status_code == status
    door.http.cookies.set("atp_key", "boss-key")
    assert (await door.http.post(DECIDE, json=WORD)).status_code == 401
    for word in ({"verb": "ignore", "reason": "x"}, {"verb": "approve"}, {**WORD, "reason": " "}, []):
        assert ProblemModel.model_validate_json((await decided(door, word)).content).status == 422, word
    form = await decided(door, **{"Content-Type": "text/plain"})
    assert ProblemModel.model_validate_json(form.content).errors[0].field == "Content-Type"
    assert await asyncio.to_thread(decisions, door.bootstrap) == []

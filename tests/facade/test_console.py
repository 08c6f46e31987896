"""Who may see the console and use its actions."""

from __future__ import annotations

import asyncio
import json

import pytest

from atp import topics
from atp.facade.console.pages import Live
from tests.client.records import encoded
from tests.facade.conftest import Door, send

ACTION = {"region": "uk", "channel": "web", "mode": "SUSPENDED", "reason": "test"}


async def test_without_a_key_only_the_sign_in_is_shown(door: Door) -> None:
    """No figure, no script, and no asset of another host before an operator has signed in."""
    page = await door.http.get("/")
    assert "Sign in" in page.text
    assert "console.js" not in page.text
    assert "http" not in page.text.replace("http-equiv", "")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")


async def test_a_channels_key_opens_nothing_here(door: Door) -> None:
    """The console is for operators."""
    for path in ("/console/events", "/console/explain?sku=S&region=uk"):
        for key, status in (("web-key", 403), ("stolen", 401)):
            assert (await door.get(path, key)).status_code == status, path


async def test_an_operator_signs_in_with_a_cookie_that_no_script_reads(door: Door) -> None:
    """The key comes back as an HttpOnly, SameSite=Strict cookie; with it the page has its script."""
    signed = await door.http.post("/console/sign-in", content=b"key=boss-key")
    assert signed.status_code == 303
    assert {"HttpOnly", "SameSite=strict"} <= set(signed.headers["set-cookie"].split("; "))
    assert "console.js" in (await door.http.get("/")).text


async def test_neither_channels_nor_other_sites_forms_can_act(door: Door) -> None:
    """An action needs an operator's key, and a header that a form cannot send."""
    for path in ("/console/modes", "/console/exceptions", "/console/dead-letters/replay"):
        refused = await door.http.post(path, json={}, headers={"Authorization": "Bearer boss-key"})
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:atp:problem:not-the-console")
        for key, status in (("web-key", 403), ("stolen", 401)):
            headers = {"Authorization": f"Bearer {key}", "X-ATP-Console": "1"}
            assert (await door.http.post(path, json={}, headers=headers)).status_code == status


async def test_what_the_command_refuses_is_a_problem(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong use of a command is the same sentence here: field, value, what is allowed."""
    monkeypatch.setenv("ATP_BOOTSTRAP", door.bootstrap)
    headers = {"Authorization": "Bearer boss-key", "X-ATP-Console": "1"}
    refused = await door.http.post("/console/modes", json={**ACTION, "mode": "PERHAPS"}, headers=headers)
    assert refused.status_code == 422
    assert "mode = 'PERHAPS'" in refused.json()["detail"]
    word = {"exception_id": "x-none", "verb": "approve", "reason": "seen"}
    for wrong, status, says in (
        ({}, 409, "ID = 'x-none': no exception has this id"),
        ({"reason": " "}, 422, "--reason = ' '"),
        ({"verb": "ignore"}, 422, "Invalid enum value 'ignore'"),
    ):
        refused = await door.http.post("/console/exceptions", json={**word, **wrong}, headers=headers)
        assert (refused.status_code, says in refused.json()["detail"]) == (status, True), refused.text


async def test_after_the_whole_state_only_what_changed_is_sent(door: Door) -> None:
    """A viewer gets every part once, then the clock and what is new: a record of a region that was not there."""
    events = Live(door.facade).events()
    first = json.loads((await anext(events)).data)
    assert {row["region"] for row in first["channels"]} == {"uk"}
    assert first["drift"] == []
    send(door.bootstrap, topics.AVAILABILITY.name, ("S1|dach", encoded("S1", 1, 5, "dach")))
    async with asyncio.timeout(120):
        async for event in events:
            later = json.loads(event.data)
            assert "drift" not in later
            if {row["region"] for row in later.get("channels", ())} == {"dach", "uk"}:
                break

"""What channels get over HTTP: answers, problems, keys, limits, health."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx

from atp import topics
from atp.facade.app import create_app
from atp.facade.context import Facade
from atp.facade.models import AnswersModel, AvailabilityModel, ModesModel, ProblemModel, ReadyModel
from tests.client.records import encoded, mode
from tests.facade.conftest import Door, send, settings


async def eventually(door: Door, path: str, wanted: dict[str, Any]) -> None:
    """Ask until the answer has these fields."""
    deadline = time.monotonic() + 120
    while not wanted.items() <= (found := (await door.get(path)).json()).items():
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def test_a_look_up_says_how_many_and_how_sure(door: Door) -> None:
    """Quantity, confidence, version, times and age; the channel is that of the key."""
    response = await door.get("/v1/availability/S3?region=uk")
    answer = AvailabilityModel.model_validate_json(response.content)
    assert (response.status_code, answer.sellable, answer.confidence, answer.channel) == (200, 13, "HIGH", "web")
    assert answer.version == 1
    assert answer.age_ms is not None


async def test_the_same_answer_is_not_sent_twice(door: Door) -> None:
    """With the tag of an answer: 304 while it says the same, whatever its age; 200 once it changed."""
    path = "/v1/availability/S3?region=uk"
    tag = (await door.get(path)).headers["ETag"]
    again = await door.get(path, **{"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    send(door.bootstrap, topics.AVAILABILITY.name, ("S3|uk", encoded("S3", 2, 1)))
    await eventually(door, path, {"sellable": 1})
    assert (await door.get(path, **{"If-None-Match": tag})).status_code == 200


async def test_a_switch_of_mode_counts_at_once(door: Door) -> None:
    """SUSPENDED on the modes topic sells nothing, though the record still says otherwise; /v1/modes shows it."""
    send(door.bootstrap, topics.MODES.name, ("uk|web", mode("SUSPENDED")))
    await eventually(door, "/v1/availability/S3?region=uk", {"sellable": 0, "mode": "SUSPENDED", "confidence": "LOW"})
    modes = ModesModel.model_validate_json((await door.get("/v1/modes")).content)
    assert [(row.region, row.channel, row.mode) for row in modes.modes] == [("uk", "web", "SUSPENDED")]
    assert ReadyModel.model_validate_json((await door.get("/health/ready")).content).by_operator == ["uk|web"]


async def test_a_bulk_answers_in_order_and_names_what_is_unknown(door: Door) -> None:
    """Items keep their order; one that nobody published has no units and a reason."""
    response = await door.bulk([{"sku": "S9", "region": "uk"}, {"sku": "nope", "region": "uk"}])
    answers = AnswersModel.model_validate_json(response.content).items
    assert [(a.sku, a.sellable, a.reasons) for a in answers] == [("S9", 19, []), ("nope", 0, ["UNKNOWN_KEY"])]


ERRORS = [
    ("/v1/availability/nope?region=uk", "web-key", 404, "sku"),
    ("/v1/availability/S3?region=uk&channel=fax", "boss-key", 404, "channel"),
    ("/v1/availability/S3", "web-key", 422, "region"),
    ("/v1/availability/S3?region=uk", "boss-key", 422, "channel"),
    ("/v1/availability/S3?region=uk&channel=app", "web-key", 403, "channel"),
    ("/v1/availability/S3?region=uk", "stolen", 401, None),
    ("/v1/changes", "stolen", 401, None),
    ("/v1/modes", "stolen", 401, None),
    ("/v1/nothing", "web-key", 404, None),
]


async def test_errors_are_problems_that_name_the_field(door: Door) -> None:
    """Every error is application/problem+json with field, value and what is allowed."""
    for path, key, status, field in ERRORS:
        response = await door.get(path, key)
        problem = ProblemModel.model_validate_json(response.content)
        assert (response.status_code, problem.status) == (status, status), path
        assert response.headers["content-type"] == "application/problem+json", path
        assert [error.field for error in problem.errors] == ([field] if field else []), path
        assert key not in response.text, path


BULKS = [
    (b'{"items": []}', "items"),
    (b'{"items": [{"sku": "S1"}]}', "items"),
    (b'{"items": [{"sku": 5, "region": "uk"}]}', "items"),
    (b"nonsense", "body"),
    (json.dumps({"items": [{"sku": "S", "region": "uk"}] * 1001}).encode(), "items"),
]


async def test_a_bulk_that_cannot_be_understood_is_refused(door: Door) -> None:
    """A wrong body is one clear problem."""
    headers = {"Authorization": "Bearer web-key"}
    for body, field in BULKS:
        response = await door.http.post("/v1/availability/query", content=body, headers=headers)
        problem = ProblemModel.model_validate_json(response.content)
        assert problem.status == 422, body[:80]
        assert problem.errors[0].field.startswith(field), body[:80]


async def test_a_key_beyond_its_limit_waits(door: Door) -> None:
    """A bulk counts each of its items; who has used up the limit is told when to come again."""
    items = [{"sku": "S1", "region": "uk"}] * 1000
    assert (await door.bulk(items, "slow-key")).status_code == 200
    refused = await door.bulk(items, "slow-key")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 1
    assert (await door.bulk(items, "web-key")).status_code == 200


async def test_a_facade_that_has_not_read_everything_says_so(tmp_path: object) -> None:
    """Without a broker: alive, not ready, and look-ups are refused instead of answered with nothing."""
    facade = Facade(settings("127.0.0.1:1"))
    transport = httpx.ASGITransport(create_app(facade))
    async with facade.running(), httpx.AsyncClient(transport=transport, base_url="http://atp") as http:
        door = Door(facade, http, "")
        assert (await door.get("/health/live")).status_code == 200
        ready = await door.get("/health/ready")
        assert (ready.status_code, ready.json()["state"]) == (503, "RESTORING")
        for response in (
            await door.get("/v1/availability/S3?region=uk"),
            await door.bulk([{"sku": "S", "region": "uk"}]),
            await door.get("/v1/changes"),
        ):
            assert (response.status_code, response.json()["type"]) == (503, "urn:atp:problem:not-ready")


async def test_metrics_and_the_openapi_document_name_the_doors(door: Door) -> None:
    """Requests are counted by route, not by SKU; the document shows every route of the contract."""
    await door.get("/v1/availability/S3?region=uk")
    page = (await door.get("/metrics")).text
    assert 'atp_facade_requests_total{route="/v1/availability/{sku}",status="200"}' in page
    assert "atp_view_age_seconds" in page
    paths = (await door.get("/openapi.json")).json()["paths"]
    assert {
        "/v1/availability/{sku}", "/v1/availability/query", "/v1/changes", "/v1/modes", "/health/live",
        "/health/ready", "/metrics", "/v1/exceptions", "/v1/exceptions/{exception_id}/decision",
    } <= paths.keys()  # fmt: skip
    assert paths["/v1/availability/query"]["post"]["requestBody"]["content"]["application/json"]["schema"]

"""The façade beside a plain Redis look-up behind the same web framework, in one run: `python -m bench.facade`.

Both are FastAPI on uvicorn, one process each, asked by the same client over the same kind of connections. Redis holds
the answer's bytes by key and its app only passes them on: no mode is joined, no age, no ETag, no rule for stale data.

1. peak: requests/s that each answers when `CONNECTIONS` ask as fast as they can
2. look-ups at half of the lower peak, sent on a schedule whatever the answers take; latency counts from the schedule
3. bulks of 500 keys, one after another

Rounds alternate A B A B; the figures are of all rounds of a side together. Needs redis-server (Debian: redis-server).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI, Query, Request, Response

from atp import admin, topics
from atp.brokers.process import LOOPBACK, Child, free_ports
from atp.commands.clients import make_producer
from atp.commands.processes import embedded_broker, facade, temporary_folder

KEYS, CONNECTIONS, ROUNDS = 20_000, 8, 3
PEAK_S, STEADY_S, BULKS, BULK_KEYS = 3.0, 6.0, 100, 500
CHANNEL = "web"


def record(number: int) -> dict[str, Any]:
    """A canonical record with four channels and a few buckets."""
    offer = {"mode": "CONFIDENT", "confidence": "HIGH", "reasons": [], "sellable": number, "confident": number}
    channels = {name: {**offer, "conservative": number // 2} for name in ("web", "app", "store", "marketplace")}
    instant = "2026-01-05T10:00:00.000Z"
    return {
        "schema_version": "1.0", "sku": f"S{number}", "region": "uk", "version": 1, "as_of": instant,
        "published_at": instant, "on_hand": {"sellable": number}, "reserved": {"firm": 1}, "atp": number,
        "shortage": 0,
        "buckets": [{"date": f"2026-01-0{day}", "atp": number + day} for day in range(5, 9)], "channels": channels,
        "flags": [], "policy_version": 1, "inputs": {},
    }  # fmt: skip


def serve_redis(port: int, redis_port: int) -> None:
    """The other side: the same framework, one look-up in Redis."""
    import redis.asyncio as redis

    store = redis.Redis(host=LOOPBACK, port=redis_port)
    app = FastAPI()

    @app.get("/v1/availability/{sku}", response_model=None)
    async def one(sku: str, region: str = Query(min_length=1), channel: str = Query(min_length=1)) -> Response:
        found = await store.get(f"{sku}|{region}|{channel}")
        return Response(found, 200 if found else 404, media_type="application/json")

    @app.post("/v1/availability/query", response_model=None)
    async def bulk(request: Request) -> Response:
        items = msgspec.json.decode(await request.body())["items"]
        found = await store.mget([f"{i['sku']}|{i['region']}|{i['channel']}" for i in items])
        return Response(b'{"items":[' + b",".join(found) + b"]}", media_type="application/json")

    uvicorn.run(app, host=LOOPBACK, port=port, log_level="warning", access_log=False)


class Connection:
    """One kept connection of the smallest possible HTTP client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect."""
        return cls(*await asyncio.open_connection(LOOPBACK, port))

    async def ask(self, request: bytes) -> bytes:
        """Send a request; its body. Anything but 200 ends the run."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return await self._reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def one_request(chance: random.Random) -> bytes:
    """A look-up of some key."""
    path = f"/v1/availability/S{chance.randrange(KEYS)}?region=uk&channel={CHANNEL}"
    return f"GET {path} HTTP/1.1\r\nHost: atp\r\n\r\n".encode()


def bulk_request(chance: random.Random) -> bytes:
    """A bulk of some keys."""
    items = [{"sku": f"S{n}", "region": "uk", "channel": CHANNEL} for n in chance.sample(range(KEYS), BULK_KEYS)]
    body = msgspec.json.encode({"items": items})
    return b"POST /v1/availability/query HTTP/1.1\r\nHost: atp\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def peak(port: int) -> float:
    """Requests/s when every connection asks as fast as it can."""
    chance, until_s = random.Random(7), time.perf_counter() + PEAK_S

    async def asker() -> int:
        connection, done = await Connection.open(port), 0
        while time.perf_counter() < until_s:
            await connection.ask(one_request(chance))
            done += 1
        connection.close()
        return done

    return sum(await asyncio.gather(*(asker() for _ in range(CONNECTIONS)))) / PEAK_S


async def steady(port: int, per_s: float) -> list[float]:
    """Latencies (ms) at a fixed rate, from the instant at which each look-up was due."""
    chance, start_s, found = random.Random(11), time.perf_counter() + 0.1, []

    async def asker(number: int) -> None:
        connection = await Connection.open(port)
        for at in range(number, int(STEADY_S * per_s), CONNECTIONS):
            due_s = start_s + at / per_s
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            await connection.ask(one_request(chance))
            found.append((time.perf_counter() - due_s) * 1000)
        connection.close()

    await asyncio.gather(*(asker(number) for number in range(CONNECTIONS)))
    return found


async def bulks(port: int) -> list[float]:
    """Times (ms) of bulks, one after another."""
    chance, connection, found = random.Random(13), await Connection.open(port), []
    for _ in range(BULKS):
        request, began_s = bulk_request(chance), time.perf_counter()
        body = await connection.ask(request)
        found.append((time.perf_counter() - began_s) * 1000)
        assert len(msgspec.json.decode(body)["items"]) == BULK_KEYS
    connection.close()
    return found


def percentile(values: list[float], share: float) -> float:
    """A percentile, by rank."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextmanager
def both_sides() -> Iterator[dict[str, int]]:
    """Side → port, both with the same keys."""
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is missing: install Debian's package redis-server")
    with ExitStack() as stack:
        bootstrap = stack.enter_context(embedded_broker())
        folder = stack.enter_context(temporary_folder())
        admin.ensure({"bootstrap.servers": bootstrap}, 8, keep_forever=True)
        producer = make_producer({"bootstrap.servers": bootstrap})
        for number in range(KEYS):
            producer.produce(topics.AVAILABILITY.name, msgspec.json.encode(record(number)), f"S{number}|uk")
        assert producer.flush(30) == 0
        ours, redis_port, theirs = free_ports(3)
        stack.enter_context(facade(bootstrap, folder, ours, "http://127.0.0.1:1"))
        start(stack, folder, "redis", ["redis-server", "--port", str(redis_port), "--save", "", "--bind", LOOPBACK])
        await_page(f"http://{LOOPBACK}:{ours}/health/ready")
        fill_redis(ours, redis_port)
        start(stack, folder, "app", [sys.executable, "-m", "bench.facade", "redis", str(theirs), str(redis_port)])
        await_page(f"http://{LOOPBACK}:{theirs}/v1/availability/S0?region=uk&channel={CHANNEL}")
        yield {"facade": ours, "redis": theirs}


def start(stack: ExitStack, folder: Path, name: str, command: list[str]) -> None:
    """A process that ends with the run."""
    child = Child(command, folder / f"{name}.log")
    stack.callback(child.stop, 3.0)


def fill_redis(ours: int, redis_port: int) -> None:
    """The façade's own answers, byte by byte, by key."""
    import redis

    store = redis.Redis(port=redis_port)
    until(store.ping)
    for first in range(0, KEYS, 1_000):
        items = [{"sku": f"S{n}", "region": "uk", "channel": CHANNEL} for n in range(first, first + 1_000)]
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{ours}/v1/availability/query", msgspec.json.encode({"items": items}), method="POST"
        )
        with urllib.request.urlopen(request) as response:
            answers = msgspec.json.decode(response.read(), type=dict[str, list[msgspec.Raw]])["items"]
        store.mset({f"{i['sku']}|uk|{CHANNEL}": bytes(a) for i, a in zip(items, answers, strict=True)})


def await_page(url: str) -> None:
    """Wait until a page answers 200."""
    until(lambda: urllib.request.urlopen(url, timeout=5).close())


def until(call: Callable[[], Any], timeout_s: float = 60) -> None:
    """Call until it does not raise."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            call()
        except Exception:  # whatever a process that is still starting makes a client raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def main() -> None:
    """Run, print, keep."""
    if sys.argv[1:2] == ["redis"]:
        serve_redis(int(sys.argv[2]), int(sys.argv[3]))
        return
    with both_sides() as ports:
        peaks = {side: max(asyncio.run(peak(port)) for _ in range(2)) for side, port in ports.items()}
        per_s = min(peaks.values()) / 2
        looked: dict[str, list[float]] = {side: [] for side in ports}
        bulked: dict[str, list[float]] = {side: [] for side in ports}
        for _ in range(ROUNDS):
            for side, port in ports.items():
                looked[side] += asyncio.run(steady(port, per_s))
        for _ in range(ROUNDS):
            for side, port in ports.items():
                bulked[side] += asyncio.run(bulks(port))
    found: dict[str, Any] = {"cores": os.cpu_count(), "keys": KEYS, "look_ups_per_s": round(per_s)}
    for side in peaks:
        found[side] = {
            "peak_per_s": round(peaks[side]),
            **{f"look_up_p{p}_ms": round(percentile(looked[side], p / 100), 2) for p in (50, 95, 99)},
            **{f"bulk_{BULK_KEYS}_p{p}_ms": round(percentile(bulked[side], p / 100), 2) for p in (50, 99)},
        }
    found["p99_ratio"] = round(found["facade"]["look_up_p99_ms"] / found["redis"]["look_up_p99_ms"], 2)
    found["redis_version"] = subprocess.run(
        ["redis-server", "--version"], capture_output=True, text=True
    ).stdout.split()[2]
    text = json.dumps(found, indent=1)
    Path(__file__).with_name("facade.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

"""A toy Faust application on the lane: counts records per key and publishes each key's count.

Run by the Faust worker in the tests: `faust -A tests.lane.toy_app worker`, configured by environment.
"""

from __future__ import annotations

import json
import os
from typing import Any

import faust
import msgspec

from atp.lane import Lane, LaneSettings

NAME = os.environ.get("TOY_NAME", "toy")
INPUTS = [f"{NAME}.a", f"{NAME}.b"]
OUTPUT = f"{NAME}.counts"
LETTERS = f"{NAME}.dead-letters"
CONTROL = f"{NAME}.control"


class Count(msgspec.Struct, array_like=True):
    """How often a key was seen."""

    total: int = 0


class Event(msgspec.Struct):
    """What the toy topics carry."""

    id: str
    n: int = 1


app = faust.App(
    NAME,
    broker=f"kafka://{os.environ['TOY_BROKER']}",
    store="memory://",
    datadir=os.environ["TOY_DATA"],
    web_enabled=False,
    topic_partitions=1,
    topic_disable_leader=True,
    # Faust starts the lane once its own group has settled: without these a killed worker's successor
    # would wait for the default session of a minute.
    consumer_group_instance_id=os.environ.get("TOY_INSTANCE"),
    broker_session_timeout=6.0,
    broker_heartbeat_interval=1.0,
)
lane = Lane(
    app,
    name="lane",
    inputs=INPUTS,
    stages=["count", "publish"],
    settings=LaneSettings(
        bootstrap_servers=os.environ["TOY_BROKER"],
        data_dir=os.environ["TOY_DATA"] + "/lane",
        instance_id=os.environ.get("TOY_INSTANCE"),
        dead_letter_topic=LETTERS,
        dead_letters_per_minute=100,
        **json.loads(os.environ.get("TOY_SETTINGS", "{}")),
    ),
)
counts = lane.table("counts", row=Count)
lane.sweep_over(counts)
decode = msgspec.json.Decoder(Event).decode
control = app.topic(CONTROL, value_serializer="raw")


@app.agent(control)
async def listen(stream: Any) -> None:
    """Faust crashes without a topic of its own."""
    async for _ in stream:
        pass


@app.agent(lane.stage("count"), concurrency=1)
async def count(batches: Any) -> None:
    """Add each event to its key's count."""
    async for batch in batches:
        with batch:
            for record in batch:
                try:
                    event = decode(record.value)
                except msgspec.DecodeError as error:
                    batch.refuse(record, "UNDECODABLE", str(error))
                    continue
                key = (record.key.decode(),)
                row = counts.get(key) or Count()
                row.total += event.n
                counts[key] = row
                batch.touch(key[0])


@app.agent(lane.stage("publish"), concurrency=1)
async def publish(batches: Any) -> None:
    """Publish the count of every touched key, once per commit."""
    async for batch in batches:
        with batch:
            for key in batch.dirty:
                batch.send(OUTPUT, key.encode(), str(counts[key,].total).encode())


if os.environ.get("TOY_STATUS"):

    @app.timer(1.0)
    async def report() -> None:
        """Write the status where a test can read it."""
        data = {"status": lane.status(), "counters": lane.counters()}
        path = os.environ["TOY_STATUS"]
        with open(path + ".new", "wb") as file:  # noqa: ASYNC230, PTH123 # a test's few bytes
            file.write(msgspec.json.encode(data))
        os.replace(path + ".new", path)  # noqa: PTH105

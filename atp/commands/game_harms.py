"""Harms of a game day that need nothing but a word or a record in the wrong place; `game_truth.py` has the others."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from atp import topics
from atp.commands import clients, modes
from atp.commands.errors import CommandError
from atp.commands.lines import Outgoing
from atp.commands.publish import produce
from atp.commands.status import ask
from atp.domain.modes import Mode
from atp.domain.policy import PolicyError, parse_policy
from atp.lane.status import TaskState, TaskStatus
from atp.settings import Settings

LOOK_S = 0.5
HARM_S = 180.0  # how long a harm may take to show
DRILL = "drill-"  # how regions of drills begin
WITHHELD_UNITS = 1_000_000


class Harm(msgspec.Struct):
    """What was done. `mended`: whether the right action has taken effect; `runbook`: the page that leads to it."""

    degradation: str
    runbook: str
    detail: str
    mended: Callable[[], bool]


def seconds_until(holds: Callable[[], bool], limit_s: float) -> float | None:
    """How long it took until something held; None if it did not within the limit."""
    began_s = time.monotonic()
    while time.monotonic() - began_s <= limit_s:
        if holds():
            return round(time.monotonic() - began_s, 1)
        time.sleep(LOOK_S)
    return None


def wrong_policy(config: Settings, _chance: random.Random) -> Harm:
    """A default policy that withholds everything."""
    before = clients.documents(config.admin(), topics.POLICIES.name).get("default", {"scope": "default"})
    version = int(before.get("version", 0)) + 1
    document = {**before, "version": version, "safety_stock": WITHHELD_UNITS}
    produce([Outgoing(topics.POLICIES.name, "default", msgspec.json.encode(document), None, 1)], config)

    def mended() -> bool:
        now: dict[str, Any] = clients.documents(config.admin(), topics.POLICIES.name).get("default", document)
        return bool(now.get("version", 0) > version and now.get("safety_stock", 0) < WITHHELD_UNITS)

    detail = f"policy default, version {version}, withholds {WITHHELD_UNITS} units of every SKU"
    return Harm("wrong-policy", "runbooks/wrong-policy.md", detail, mended)


def known_regions(config: Settings) -> list[str]:
    """Regions that the node reference names, in order, but for those of drills before."""
    nodes = clients.documents(config.admin(), topics.NODES.name)
    regions = sorted({str(node.get("region")) for node in nodes.values()})
    regions = [region for region in regions if not region.startswith(DRILL)]
    if not regions:
        raise CommandError(f"{topics.NODES.name} names no region: publish the node reference first")
    return regions


def suspended_channel(config: Settings, chance: random.Random) -> Harm:
    """A channel that somebody suspended and forgot."""
    region, channel = chance.choice(known_regions(config)), chance.choice(("web", "app"))
    modes.set_mode(region, channel, Mode.SUSPENDED, "maintenance", io.StringIO())

    def mended() -> bool:
        row = clients.documents(config.admin(), topics.MODES.name).get(f"{region}|{channel}", {})
        return bool(row.get("mode") != Mode.SUSPENDED)

    return Harm(
        "channel-suspended", "runbooks/channel-suspended.md", f"{region}|{channel} was SUSPENDED by hand", mended
    )


def refused_policy(config: Settings, chance: random.Random) -> Harm:
    """A region's policy with a number that no worker takes, past every check."""
    scope = f"region:{chance.choice(known_regions(config))}"
    before = clients.documents(config.admin(), topics.POLICIES.name).get(scope, {"scope": scope})
    version = int(before.get("version", 0)) + 1
    document = {**before, "version": version, "horizon_days": 0}
    produce([Outgoing(topics.POLICIES.name, scope, msgspec.json.encode(document), None, 1)], config)

    def mended() -> bool:
        try:
            now = clients.documents(config.admin(), topics.POLICIES.name).get(scope, document)
            return parse_policy(now).version >= version
        except PolicyError:
            return False

    detail = f"policy {scope}, version {version}, has a horizon of 0 days: it is refused, the one before stays"
    return Harm("control-document-refused", "runbooks/control-document-refused.md", detail, mended)


def failed_task(config: Settings, chance: random.Random) -> Harm:
    """A flood of nonsense that stops one partition's task."""
    partition = chance.randrange(config.partitions)
    letters = config.dead_letters_per_minute * 3 // 5

    def tasks() -> list[TaskStatus]:
        found = [task for url in config.worker_urls for task in ask(url).lanes.get("sku", [])]
        return [task for task in found if task.partition == partition]

    def states() -> list[TaskState]:
        return [task.state for task in tasks()]

    last = _flood(config, partition, letters)
    # in turns of their own: what one turn holds beyond the limit would fail it for ever
    worked_off = seconds_until(lambda: any(task.offsets.get(topics.STOCK.name, 0) > last for task in tasks()), HARM_S)
    if worked_off is None:
        raise CommandError(f"partition {partition} is not worked off; does a worker answer at {config.workers}?")
    _flood(config, partition, letters)
    if seconds_until(lambda: TaskState.FAILED in states(), HARM_S) is None:
        raise CommandError(f"partition {partition} did not fail; does a worker answer at {config.workers}?")
    detail = f"the task of partition {partition} stopped over a flood of nonsense"

    def mended() -> bool:
        found = states()
        return bool(found) and all(state is TaskState.RUNNING for state in found)

    return Harm("task-failed", "runbooks/task-failed.md", detail, mended)


def _flood(config: Settings, partition: int, letters: int) -> int:
    """Records that nobody can read; answers the last one's offset."""
    offsets: list[int] = []
    sender = clients.make_producer(
        config.admin(), on_delivery=lambda _error, message: offsets.append(message.offset())
    )
    for number in range(letters):
        sender.produce(topics.STOCK.name, b"nonsense", f"drill{number}".encode(), partition=partition)
    if sender.flush(HARM_S):
        raise CommandError(f"broker {config.bootstrap}: the flood was not taken")
    return max(offsets)

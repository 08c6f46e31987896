"""`atp drill game-day`: a running product of this machine is put into a degradation that the operator does not know.

The clock runs from the harm until the right action has taken effect, as the runbook's "verify" has it. What was done
is named at the end only, with its runbook. The same seed on the same product does the same harm.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable
from typing import IO, Any

import msgspec

from atp import topics
from atp.commands import clients, modes
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.lines import Outgoing
from atp.commands.publish import produce
from atp.commands.status import ask
from atp.commands.worker import checked_settings
from atp.domain.modes import Mode
from atp.lane.status import TaskState, TaskStatus
from atp.settings import Settings

LOOK_S = 0.5
HARM_S = 60.0  # how long a harm may take to show
WITHHELD_UNITS = 1_000_000
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Harm(msgspec.Struct):
    """What was done. `mended`: whether the right action has taken effect; `runbook`: the page that leads to it."""

    degradation: str
    runbook: str
    detail: str
    mended: Callable[[], bool]


class Score(msgspec.Struct):
    """How it went. `seconds`: from the harm to its mending; None: not within the limit."""

    degradation: str
    runbook: str
    detail: str
    seed: int
    limit_s: int
    seconds: float | None
    score: int  # 100 at once, 0 at the limit


def run(seed: int | None, limit_s: int, as_json: bool, out: IO[str]) -> None:
    """Do harm, wait, score; raise when it was not mended within the limit."""
    config = checked_settings()
    for server in config.bootstrap.split(","):
        if server.rpartition(":")[0] not in LOOPBACK:
            raise WrongUseError(f"ATP_BOOTSTRAP = {config.bootstrap}: only a broker on this machine is allowed")
    seed = time.time_ns() % 1_000 if seed is None else seed
    chance = random.Random(seed)
    harm = chance.choice((wrong_policy, suspended_channel, failed_task))(config, chance)
    if not as_json:
        out.write(f"seed {seed}: something is wrong now. Find it and mend it within {limit_s} s.\n")
        out.flush()
    seconds = _seconds_until(harm.mended, limit_s)
    points = 0 if seconds is None else round(100 * (1 - seconds / limit_s))
    found = Score(harm.degradation, harm.runbook, harm.detail, seed, limit_s, seconds, points)
    if as_json:
        out.write(msgspec.json.encode(found).decode() + "\n")
    elif seconds is not None:
        out.write(f"mended after {seconds:.0f} s, score {points}: {harm.detail} ({harm.runbook})\n")
    if seconds is None:
        raise CommandError(f"not mended within {limit_s} s: {harm.detail}; see {harm.runbook}")


def _seconds_until(holds: Callable[[], bool], limit_s: float) -> float | None:
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


def suspended_channel(config: Settings, chance: random.Random) -> Harm:
    """A channel that somebody suspended and forgot."""
    nodes = clients.documents(config.admin(), topics.NODES.name)
    regions = sorted({str(node.get("region")) for node in nodes.values()})
    if not regions:
        raise CommandError(f"{topics.NODES.name} names no region: publish the node reference first")
    region, channel = chance.choice(regions), chance.choice(("web", "app"))
    modes.set_mode(region, channel, Mode.SUSPENDED, "maintenance", io.StringIO())

    def mended() -> bool:
        row = clients.documents(config.admin(), topics.MODES.name).get(f"{region}|{channel}", {})
        return bool(row.get("mode") != Mode.SUSPENDED)

    return Harm(
        "channel-suspended", "runbooks/channel-suspended.md", f"{region}|{channel} was SUSPENDED by hand", mended
    )


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
    worked_off = _seconds_until(
        lambda: any(task.offsets.get(topics.STOCK.name, 0) > last for task in tasks()), HARM_S
    )
    if worked_off is None:
        raise CommandError(f"partition {partition} is not worked off; does a worker answer at {config.workers}?")
    _flood(config, partition, letters)
    if _seconds_until(lambda: TaskState.FAILED in states(), HARM_S) is None:
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

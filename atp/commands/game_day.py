"""`atp drill game-day`: a running product of this machine is put into a degradation that the operator does not know.

The clock runs from the harm until the right action has taken effect, as the runbook's "verify" has it. What was done
is named at the end only, with its runbook. The same seed on the same product does the same harm.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import IO

import msgspec

from atp.commands import game_harms, game_truth
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.game_harms import Harm, seconds_until
from atp.commands.worker import checked_settings
from atp.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


HARMS: dict[str, Callable[[Settings, random.Random], Harm]] = {
    "wrong-policy": game_harms.wrong_policy,
    "channel-suspended": game_harms.suspended_channel,
    "task-failed": game_harms.failed_task,
    "control-document-refused": game_harms.refused_policy,
    "drift": game_truth.drift,
    "exception-backlog": game_truth.backlog,
}


def drawn(seed: int) -> tuple[str, random.Random]:
    """The degradation of a seed, and the chance that it leaves."""
    chance = random.Random(seed)
    return chance.choice(list(HARMS)), chance


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
    degradation, chance = drawn(seed)
    harm = HARMS[degradation](config, chance)
    if not as_json:
        out.write(f"seed {seed}: something is wrong now. Find it and mend it within {limit_s} s.\n")
        out.flush()
    seconds = seconds_until(harm.mended, limit_s)
    points = 0 if seconds is None else round(100 * (1 - seconds / limit_s))
    found = Score(harm.degradation, harm.runbook, harm.detail, seed, limit_s, seconds, points)
    if as_json:
        out.write(msgspec.json.encode(found).decode() + "\n")
    elif seconds is not None:
        out.write(f"mended after {seconds:.0f} s, score {points}: {harm.detail} ({harm.runbook})\n")
    if seconds is None:
        raise CommandError(f"not mended within {limit_s} s: {harm.detail}; see {harm.runbook}")

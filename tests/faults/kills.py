"""At which steps of the protocol a worker kills itself (`launch.py` does it)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

WHEN = ("before", "after")
# Every await of the protocol, and the writes of the local store (launch.STEPS), by when it happens.
TAKING_OVER = ("fence", "fetch offsets", "bounds", "identity", "open store", "attach")
RECOVERING = ("open reader", "read", "write store")
COMMITTING = ("begin", "send", "send offsets", "commit", "write store")


class Kill(NamedTuple):
    """A worker's order to end itself, and whether it starts on an empty disk."""

    order: str
    wiped: bool = False


def every_step(rng: random.Random) -> Iterator[Kill]:
    """Before and after each step, in an order and at counts that the seed decides; then again, endlessly."""
    while True:
        kills = [Kill(f"{when} {step} {rng.randint(1, 4)}") for step in TAKING_OVER for when in WHEN]
        kills += [Kill(f"{when} {step} {rng.randint(1, 3)}", wiped=True) for step in RECOVERING for when in WHEN]
        kills += [Kill(f"{when} {step} {rng.randint(5, 20)}") for step in COMMITTING for when in WHEN]
        rng.shuffle(kills)
        yield from kills

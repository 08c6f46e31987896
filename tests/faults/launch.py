"""A worker as `atp worker` starts it, which also ends itself at a protocol step or has a wrong clock.

SIGUSR1: it writes what each of its tasks is doing.

FAULT_KILL = "before send offsets 3": SIGKILL by its own hand just before the third such step; or "after …".
FAULT_CLOCK_MS: how far its clock is off.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from atp.lane.kafka_log import KafkaLog
from atp.lane.kafka_reader import KafkaReader
from atp.lane.kafka_writer import KafkaWriter
from atp.lane.rocks import RocksStore, RocksStores

# Every await of the protocol, in its order, and the writes of the local store.
STEPS: dict[str, tuple[type, str]] = {
    "fence": (KafkaLog, "open_writer"),
    "fetch offsets": (KafkaLog, "committed"),
    "bounds": (KafkaLog, "bounds"),
    "identity": (KafkaLog, "identity"),
    "open store": (RocksStores, "open"),
    "open reader": (KafkaLog, "open_reader"),
    "read": (KafkaReader, "read"),
    "attach": (KafkaLog, "attach"),
    "begin": (KafkaWriter, "begin"),
    "send": (KafkaWriter, "send"),
    "send offsets": (KafkaWriter, "send_offsets"),
    "commit": (KafkaWriter, "commit"),
    "write store": (RocksStore, "write"),
}


class Killer:
    """Counts the calls of one step and kills this process at the given one."""

    def __init__(self, order: str) -> None:
        self.when, step = order.split(" ", 1)
        self.step, count = step.rsplit(" ", 1)
        self._left = int(count)

    def install(self) -> None:
        """Stand in for the step's method."""
        owner, name = STEPS[self.step]
        inner = getattr(owner, name)
        setattr(owner, name, self._asynchronous(inner) if iscoroutinefunction(inner) else self._blocking(inner))

    def _asynchronous(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any) -> Any:
            self._strike("before")
            found = await inner(*args)
            self._strike("after")
            return found

        return call

    def _blocking(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self._strike("before")
            found = inner(*args)
            self._strike("after")
            return found

        return call

    def _strike(self, when: str) -> None:
        if when == self.when:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def bend_clock(by_ms: int) -> None:
    """Let the wall clock of this process be off."""
    true_ns, true_s = time.time_ns, time.time
    time.time_ns = lambda: true_ns() + by_ms * 1_000_000
    time.time = lambda: true_s() + by_ms / 1000


def tell(_signum: int, _frame: object) -> None:
    """Write the status of every task to the log; straight to the file, as a handler may interrupt a print."""
    from atp.app import lanes

    lines = [f"{lane.full_name}: {status}\n" for lane in lanes.values() for status in lane.status()]
    os.write(sys.stderr.fileno(), "".join(lines).encode())


def main() -> None:
    """Be a worker with the faults of the environment."""
    signal.signal(signal.SIGUSR1, tell)
    if order := os.environ.get("FAULT_KILL"):
        Killer(order).install()
    if by_ms := os.environ.get("FAULT_CLOCK_MS"):
        bend_clock(int(by_ms))
    from faust.cli.faust import cli

    sys.argv = ["faust", "-A", "atp.worker", "worker", "-l", "info", "--without-web"]
    cli()


if __name__ == "__main__":
    main()

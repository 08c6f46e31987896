"""An event loop with virtual time, whose order is drawn from a seed, and the processes that live on it.

Time stands still while anything is ready and then jumps to the next timer. Of the callbacks that are ready any
may be next, except that those of one task keep their order. A process is what a context variable says: every
callback of a process that is frozen or dead is put aside instead of run, so a crash or a stall can come between
any two steps of any coroutine, and nothing of a dead process runs any more, no `finally` either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from heapq import heappop
from random import Random
from typing import Any

PROCESS: ContextVar[Process] = ContextVar("process")
ALIVE, FROZEN, DEAD = "alive", "frozen", "dead"
DRAWN_AMONG = 6
MOST_CALLBACKS = 400_000  # far more than any run needs: beyond it something goes round in circles


class DeadlockError(Exception):
    """The run will never end."""


class VirtualLoop(asyncio.BaseEventLoop):
    """One callback at a time, in an order that the generator decides."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng
        self._now_s = 0.0
        self.ran = 0
        self.environment = Context()  # of what belongs to no process: the brokers, the network, the script
        self.set_exception_handler(lambda loop, context: None)

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now_s

    def later(self, delay_s: float, work: Callable[..., Any], *args: Any) -> None:
        """Have the environment do something."""
        self.call_later(delay_s, work, *args, context=self.environment)

    def _process_events(self, event_list: Any) -> None:
        """There are no files here."""

    def _write_to_self(self) -> None:
        """Nobody sleeps here."""

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= self._now_s):
            timer = heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                ready.append(timer)
        if not ready:
            if not scheduled:
                raise DeadlockError("nothing is under way any more")
            self._now_s = scheduled[0]._when
            return
        self.ran += 1
        if self.ran > MOST_CALLBACKS:
            raise DeadlockError(f"{MOST_CALLBACKS} callbacks and no end")
        handle = self._draw(ready)
        process = handle._context.get(PROCESS)
        if not handle._cancelled and (process is None or process.may_run(handle)):
            handle._run()

    def _draw(self, ready: Any) -> Any:
        if len(ready) == 1:
            return ready.popleft()
        at = self._rng.randrange(min(len(ready), DRAWN_AMONG))
        owner = _owner(ready[at])
        first = next(i for i in range(at + 1) if _owner(ready[i]) is owner)
        handle = ready[first]
        del ready[first]
        return handle


def _owner(handle: Any) -> Any:
    """The task that a callback drives; all others count as one."""
    owner = getattr(handle._callback, "__self__", None)
    return owner if isinstance(owner, asyncio.Task) else None


class Process:
    """What a kill -9 ends and a SIGSTOP stops."""

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.state = ALIVE
        self.step = "start"  # the protocol call it made last; with a tick: that was answered
        self.tasks: list[asyncio.Task[Any]] = []
        self._loop = loop
        self._parked: list[Any] = []
        self._fuse: tuple[int, Callable[[], None]] | None = None
        self.context = Context()
        self.context.run(PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in this process."""
        task = self.context.run(self._loop.create_task, work)
        self.tasks.append(task)
        return task

    def later(self, delay_s: float, work: Callable[..., Any], *args: Any) -> None:
        """Have this process do something."""
        self._loop.call_later(delay_s, work, *args, context=self.context)

    def after_steps(self, steps: int, action: Callable[[], None]) -> None:
        """Do something to this process when it has taken so many steps."""
        self._fuse = (steps, action)

    def may_run(self, handle: Any) -> bool:
        """Whether a callback may run now; if not it is put aside."""
        if self.state == ALIVE and self._fuse is not None:
            steps, action = self._fuse
            self._fuse = (steps - 1, action) if steps > 0 else None
            if steps <= 0:
                action()
        if self.state != ALIVE:
            self._parked.append(handle)
        return self.state == ALIVE

    def freeze(self) -> None:
        """As SIGSTOP does."""
        if self.state == ALIVE:
            self.state = FROZEN

    def thaw(self) -> None:
        """As SIGCONT does."""
        if self.state == FROZEN:
            self._go_on()

    def kill(self) -> None:
        """As kill -9 does."""
        self.state = DEAD
        self._fuse = None

    def bury(self) -> None:
        """The run is over: let what was put aside end, so that the interpreter finds nothing half done."""
        for task in self.tasks:
            task.cancel()
        self._go_on()

    def _go_on(self) -> None:
        self.state = ALIVE
        parked, self._parked = self._parked, []
        self._loop._ready.extend(parked)  # type: ignore[attr-defined]

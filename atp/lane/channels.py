"""Faust channels of the lane: one per stage, carrying raw batches.

Not `Event`s: Faust drops queued events in its own rebalances, and an agent that raises acknowledges its
event. And not Faust's flow control: it clears queues whenever Faust's own consumer is reassigned.
"""

from __future__ import annotations

import asyncio
from typing import Any

import faust
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from atp.lane.batch import Batch
from atp.lane.errors import BatchFailedError


class StageChannel(faust.Channel):
    """At most one batch is outstanding; it is done when the agent left its `with` block."""

    def __init__(self, app: Any, *, stage: str = "", shared: Any = None, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.stage = stage
        self.shared = shared if shared is not None else _Shared()

    def _clone_args(self) -> dict[str, Any]:
        return {**super()._clone_args(), "stage": self.stage, "shared": self.shared}

    @property
    def queue(self) -> Any:
        """One queue for the channel and all its clones, never cleared by Faust."""
        return self.shared.queue

    async def __anext__(self) -> Any:
        # An agent that asks for the next batch without having handled the last one lost it, for
        # instance because it raised outside the `with` block and was restarted.
        self.shared.abandon()
        return await self.queue.get()

    async def run(self, batch: Batch, timeout_s: float) -> None:
        """Hand over a batch and wait until the agent is through with it."""
        async with self.shared.lock:
            await self.shared.run(batch, timeout_s)

    def __str__(self) -> str:
        return f"lane:{self.stage}"


class _Shared:
    """What the clones of a channel share."""

    def __init__(self) -> None:
        self._queue: Any = None
        self._lock: asyncio.Lock | None = None
        self.current: Batch | None = None
        self.finished: asyncio.Future[None] | None = None

    @property
    def queue(self) -> Any:
        if self._queue is None:
            self._queue = ThrowableQueue(flow_control=FlowControlEvent(initially_suspended=False))
        return self._queue

    @property
    def lock(self) -> asyncio.Lock:
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    async def run(self, batch: Batch, timeout_s: float) -> None:
        self.current = batch
        self.finished = asyncio.get_running_loop().create_future()
        batch.on_done = self._done
        self.queue.put_nowait(batch)
        try:
            async with asyncio.timeout(timeout_s):
                await self.finished
        except TimeoutError:
            raise BatchFailedError(f"stage {batch.stage!r} did not take its batch within {timeout_s} s") from None
        finally:
            self.queue.clear()
            self.current = self.finished = None

    def _done(self) -> None:
        if self.finished is not None and not self.finished.done():
            self.finished.set_result(None)

    def abandon(self) -> None:
        if self.current is not None and not self.current.done and self.queue.empty():
            self.current.fail(BatchFailedError("the agent asked for the next batch without `with batch:`"))

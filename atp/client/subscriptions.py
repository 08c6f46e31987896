"""Changes for those who want to be told: callbacks on the client's thread, or an asyncio iterator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import structlog

from atp.client.view import Change

logger = structlog.get_logger("atp.client")
QUEUE_SIZE = 10_000
Callback = Callable[[Change], None]


class ChangesLostError(Exception):
    """A reader was slower than the changes; read the state again, then follow anew."""


class Subscribers:
    """Callbacks by number. One that raises is logged, counted in `failed` and not called again."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callback] = {}
        self._number = 0
        self.failed = 0

    def add(self, callback: Callback) -> Callable[[], None]:
        """Call it with every change; answers what ends that."""
        self._number += 1
        number = self._number
        self._callbacks = {**self._callbacks, number: callback}  # replaced whole: another thread walks it
        return lambda: self._remove(number)

    def tell(self, change: Change) -> None:
        """Call every one."""
        for number, callback in self._callbacks.items():
            try:
                callback(change)
            except Exception as error:  # noqa: BLE001 # somebody else's code must not end the view
                self.failed += 1
                self._remove(number)
                logger.error("callback_failed", error=repr(error))

    def _remove(self, number: int) -> None:
        self._callbacks = {n: callback for n, callback in self._callbacks.items() if n != number}

    @contextlib.contextmanager
    def queue(self, size: int = QUEUE_SIZE) -> Iterator[AsyncIterator[Change]]:
        """The changes from now on, for the running event loop."""
        loop, waiting, lost = asyncio.get_running_loop(), asyncio.Queue[Change | None](size + 1), asyncio.Event()

        def put(change: Change) -> None:
            if not lost.is_set():
                if waiting.qsize() >= size:
                    lost.set()
                waiting.put_nowait(None if lost.is_set() else change)

        def callback(change: Change) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(put, change)

        remove = self.add(callback)
        try:
            yield _iterate(waiting)
        finally:
            remove()


async def _iterate(waiting: asyncio.Queue[Change | None]) -> AsyncIterator[Change]:
    while True:
        change = await waiting.get()
        if change is None:
            raise ChangesLostError("more changes than the queue holds")
        yield change

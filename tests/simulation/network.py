"""Requests between a process and the brokers: each takes time, and either way may go wrong.

A request that has left takes effect whether or not its caller still waits, or lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from atp.lane.errors import LaneError, TransientError
from atp.lane.ports import Chunk
from tests.simulation.faults import CALL_FAULTS, INPUT_FAULTS, READ_FAULTS
from tests.simulation.loop import Process

if TYPE_CHECKING:
    from tests.simulation.run import Simulation

LOCAL = {"begin", "attach", "read"}  # no broker is asked, or, for a read, a silent one shows as no records


class Network:
    """The way from one process to the brokers."""

    def __init__(self, simulation: Simulation, process: Process) -> None:
        self._simulation = simulation
        self._process = process

    async def call(self, name: str, effect: Callable[[], Any]) -> Any:
        """Send a request, wait for its answer."""
        self._begin(name)
        if name == "fetch":
            return await self._fetch(effect())
        if name in LOCAL:
            await asyncio.sleep(self._latency_s() if name != "read" else self._read_latency_s())
            found = effect()
        else:
            found = await self._ask(name, effect)
        self._process.step = f"{name} ✓"
        return found

    def _begin(self, name: str) -> None:
        self._process.step = name
        self._simulation.note(self._process.name, name)

    def _latency_s(self) -> float:
        return self._simulation.rng.uniform(0.0002, 0.004)

    def _read_latency_s(self) -> float:
        fault = self._simulation.faults.draw(READ_FAULTS, "read")
        if fault is None:
            return self._latency_s()
        self._simulation.note(self._process.name, "read", fault)
        if fault == "read failed":
            raise TransientError("read: failed, as the seed wanted")
        return self._simulation.rng.uniform(0.1, 3.0)

    async def _ask(self, name: str, effect: Callable[[], Any]) -> Any:
        simulation = self._simulation
        fault = simulation.faults.draw(CALL_FAULTS, name)
        if fault is not None:
            simulation.note(self._process.name, name, fault)
        there_s, back_s = self._latency_s(), self._latency_s()
        if fault == "request late":
            there_s += simulation.settings.call_timeout_s * simulation.rng.uniform(0.8, 3)
        elif fault == "answer slow":
            back_s += simulation.settings.call_timeout_s * simulation.rng.uniform(0.3, 1.5)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        simulation.under_way += 1
        simulation.loop.later(there_s, self._arrive, name, effect, answer, back_s, fault)
        return await answer

    def _arrive(
        self, name: str, effect: Callable[[], Any], answer: asyncio.Future[Any], back_s: float, fault: str | None
    ) -> None:
        simulation = self._simulation
        simulation.under_way -= 1
        if fault == "request lost":
            return
        try:
            if fault == "refused" or simulation.is_down(name):
                raise TransientError(f"{name}: refused, as the seed wanted")
            found = effect()
            simulation.took_effect(name)
            if fault == "failed after":
                raise TransientError(f"{name}: failed afterwards, as the seed wanted")
            respond = partial(_answer, answer, found)
        except LaneError as error:
            respond = partial(_refuse, answer, error)
        if fault != "answer lost":
            simulation.loop.later(back_s, respond)

    async def _fetch(self, chunk: Chunk) -> Chunk:
        simulation = self._simulation
        fault = simulation.faults.draw(INPUT_FAULTS, "fetch")
        await asyncio.sleep(self._latency_s())
        if fault is None:
            return chunk
        simulation.note(self._process.name, "fetch", fault)
        if fault == "input broken":
            raise TransientError("fetch: broken, as the seed wanted")
        if fault == "input hole":
            start = chunk.start + max(1, (chunk.next - chunk.start) // 2)
            records = [record for record in chunk.records if record.offset >= start]
            return Chunk(chunk.topic, chunk.partition, start, max(start, chunk.next), chunk.end, records)
        again = chunk.records[:1] + chunk.records
        return Chunk(chunk.topic, chunk.partition, chunk.start - 1, chunk.next, chunk.end, again)


def _answer(answer: asyncio.Future[Any], found: Any) -> None:
    if not answer.done():
        answer.set_result(found)


def _refuse(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)

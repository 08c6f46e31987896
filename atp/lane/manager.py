"""Which tasks run here: follows the group's assignments, one at a time and in order."""

from __future__ import annotations

import asyncio

from atp.lane.task import Task
from atp.lane.world import World


class Manager:
    """Tasks by partition number."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tasks: dict[int, Task] = {}
        self._assignments: asyncio.Queue[set[int]] = asyncio.Queue()

    def revoked(self) -> None:
        """A rebalance began; called where nothing may wait."""
        for task in self.tasks.values():
            task.quiesce()

    def assigned(self, partitions: set[int]) -> None:
        """A rebalance ended; called where nothing may wait."""
        self._assignments.put_nowait(partitions)

    async def run(self) -> None:
        """Apply assignments for ever."""
        while True:
            partitions = await self._assignments.get()
            while not self._assignments.empty():
                partitions = self._assignments.get_nowait()
            await self.apply(partitions)

    async def apply(self, partitions: set[int]) -> None:
        """Stop what is gone, go on with what stayed, start what is new."""
        gone = [self.tasks.pop(p) for p in sorted(set(self.tasks) - partitions)]
        for task in self.tasks.values():
            task.readmit()
        await asyncio.gather(*[task.stop() for task in gone])
        for partition in sorted(partitions - set(self.tasks)):
            self.tasks[partition] = task = Task(partition, self._world)
            task.start()

    async def stop(self) -> None:
        """Stop every task."""
        tasks, self.tasks = list(self.tasks.values()), {}
        await asyncio.gather(*[task.stop() for task in tasks])

"""The worker's own work on the benchmark's facts in one process, without a broker: the quickest loop for a profile.

    python -m bench.inside --facts 200000 [--profile FILE]

Decode, judge, the stages, availability, encoding of rows and record batches, and RocksDB are the worker's own
code; fetching, acknowledgements and transactions are left out. Turns are as large as in a backlog.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import itertools
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

os.environ.setdefault("ATP_CLOCK", "replay")

TURN_FACTS = 6_000


class Direct:
    """The agents' own functions, one batch at a time, without Faust's channels between them."""

    def __init__(self, agents: dict[str, Any]) -> None:
        self._agents = agents

    async def run(self, stage: str, batch: Any) -> None:
        """Hand a batch to the agent of a stage."""
        batch.enter_stage(stage)
        await self._agents[stage].fun(_only(batch))
        batch.check()


async def _only(batch: Any) -> AsyncIterator[Any]:
    yield batch


def records_by_partition(facts: int) -> list[list[Any]]:
    """The benchmark's facts as the worker gets them."""
    from atp.lane.ports import Record
    from bench.load import PARTITIONS, partition_of
    from bench.workload import Workload

    workload = Workload(facts)
    places = [partition_of(sku) for sku in workload.skus]
    found: list[list[Any]] = [[] for _ in range(PARTITIONS)]
    for at, fact in enumerate(itertools.islice(workload, facts)):
        place = places[fact.sku]
        key = workload.skus[fact.sku]
        found[place].append(Record(fact.topic, place, at, fact.recorded_ms, key, fact.value))
    return found


def tell_world(control: Any) -> None:
    """The nodes and the policy that `bench.load` writes."""
    from atp.domain.nodes import Node, NodeBook
    from atp.domain.policy import parse_policy
    from bench.workload import NODES, REGIONS

    names = {n.decode(): r.decode() for r, nodes in zip(REGIONS, NODES, strict=True) for n in nodes}
    control.world.nodes = NodeBook({name: Node(name, region) for name, region in names.items()})
    control.world.policies.put(parse_policy({"scope": "default", "version": 1, "safety_stock": 2}))


class Inside:
    """Eight tasks with their stores, fed turn by turn."""

    def __init__(self, folder: Path) -> None:
        from atp import worker
        from atp.app import STAGES, control, lane
        from atp.lane.rocks import RocksStores

        tell_world(control)
        settings = lane.settings
        self.world = lane.world
        self.world.pipeline = Direct({stage: getattr(worker, stage).__dict__[stage] for stage in STAGES})
        self.stores = RocksStores(type(settings)(bootstrap_servers="none", data_dir=str(folder)), "inside")
        self.tasks = [self._task(p) for p in range(settings.partitions)]
        self.written = self.rows = self.outputs = 0

    def _task(self, partition: int) -> Any:
        from atp.lane.batch import TaskTables
        from atp.lane.task import Task

        task: Any = Task(partition, self.world)
        store = self.stores.open(partition)
        task._tables = TaskTables(
            [(t, t.open(store, self.world.settings.cached_rows)) for t in self.world.tables], task._wakes
        )
        task.store = store
        return task

    async def work_off(self, parts: list[list[Any]], size: int) -> None:
        """All partitions, in turns of so many records."""
        for start in range(0, max(map(len, parts)), size):
            for task, part in zip(self.tasks, parts, strict=True):
                if part[start : start + size]:
                    await self.turn(task, part[start : start + size])

    async def turn(self, task: Any, records: list[Any]) -> None:
        """One turn from records to committed rows."""
        now_ms = max(records[-1].timestamp_ms, task.meta.now_ms)
        await self._turn(task, records, now_ms)

    async def go_on(self, task: Any, now_ms: int) -> bool:
        """A turn without records, for an agent that has more to do; whether it still has."""
        turn = await self._turn(task, [], now_ms, goes_on=True, burst=True)
        return bool(turn.more_asked)

    async def _turn(self, task: Any, records: list[Any], now_ms: int, **asked: bool) -> Any:
        from atp.lane.batch import Turn
        from atp.lane.meta import encode_meta
        from atp.lane.pack import turn_batches

        offsets = {r.topic: r.offset + 1 for r in records}
        due = task._wakes.pop(now_ms, 1500)
        turn = Turn(task._tables, task.partition, len(self.tasks), records, now_ms, offsets, due=due, **asked)
        await task._process(turn)
        rows = await task._encode_rows()
        changelog, outputs = turn_batches(turn, rows, encode_meta(task.meta), self.world)
        for batch in changelog + outputs:
            self.build(batch)
        task.store.write([(key, value) for _, key, value in rows])
        task.meta.now_ms = now_ms
        for _, task_rows in task._tables.pairs:
            task_rows.settle()
        self.rows += len(rows)
        self.written += sum(len(value or b"") for _, _, value in rows)
        self.outputs += sum(len(outs) for outs in turn.outputs.values())
        assert not turn.dead_letters, turn.dead_letters[0]
        return turn

    def build(self, batch: Any) -> None:
        """A record batch as the producer would send it."""
        from aiokafka.record.default_records import DefaultRecordBatchBuilder

        builder = DefaultRecordBatchBuilder(2, 0, 1, 1, 1, 1, 1 << 20)
        for at, out in enumerate(batch.records):
            builder.append(at, out.timestamp_ms, out.key, out.value, list(out.headers))
        builder.build()


async def main() -> None:
    """Run, and print what a fact costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=200_000)
    parser.add_argument("--turn", type=int, default=TURN_FACTS)
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    parts = records_by_partition(options.facts)
    with tempfile.TemporaryDirectory(prefix="atp-inside-") as folder:
        inside = Inside(Path(folder))
        gc.collect()
        profile = cProfile.Profile() if options.profile else None
        began_s = time.process_time()
        if profile:
            profile.enable()
        await inside.work_off(parts, options.turn)
        if profile:
            profile.disable()
            profile.dump_stats(options.profile)
        cpu_s = time.process_time() - began_s
    print(
        f"{options.facts / cpu_s:,.0f} facts/CPU-s  {cpu_s / options.facts * 1e6:.1f} us/fact  "
        f"rows {inside.rows:,}  row bytes {inside.written:,}  outputs {inside.outputs:,}"
    )


if __name__ == "__main__":
    asyncio.run(main())

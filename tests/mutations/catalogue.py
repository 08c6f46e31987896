"""The bugs: each a small change of the source that brings back what stock engines, or this one, once did wrong.

Long because it is one list. `hunter` says who looks for it: the seeds of the simulation, or tests on fakes.
Changes to `memory.py` are bugs of a broker: they show that the harness would see what a real one protects from.
"""

from __future__ import annotations

from typing import NamedTuple

TASK, RECOVERY, BATCH, BUFFER = "atp/lane/task.py", "atp/lane/recovery.py", "atp/lane/batch.py", "atp/lane/buffer.py"
PACK, VIEWS, WAKES, MEMORY = "atp/lane/pack.py", "atp/lane/views.py", "atp/lane/wakes.py", "atp/lane/memory.py"
WRITER, READER, LOG = "atp/lane/kafka_writer.py", "atp/lane/kafka_reader.py", "atp/lane/kafka_log.py"
WALK, ROWS, CLOSING = "atp/domain/ledger_walk.py", "atp/domain/ledger_rows.py", "atp/domain/closing.py"
SEEDS = "seeds"
CLIENTS, PROTOCOL = "tests/lane/test_kafka_clients.py", "tests/lane/test_task_protocol.py"
MARKS, TABLES = "atp/lane/marks.py", "tests/lane/test_tables.py"
FLOW, TIME = "tests/lane/test_flow.py", "tests/lane/test_time_and_views.py"
DAYS = "tests/unit/test_closing.py"


class Edit(NamedTuple):
    """Exact text that must stand in the file once, and what takes its place."""

    path: str
    old: str
    new: str


class Mutation(NamedTuple):
    """One bug put back."""

    bug: str
    edits: list[Edit]
    hunter: str = SEEDS


def one(bug: str, path: str, old: str, new: str, hunter: str = SEEDS) -> Mutation:
    """A bug of one place."""
    return Mutation(bug, [Edit(path, old, new)], hunter)


STORE_WRITE = """        self.recovery.write([*written, (META_KEY, encode_meta(meta))], position)
"""
OUTPUTS_FIRST = """            await self._call(writer.send(outputs))
            acked = await self._call(writer.send(changelog[:-1]))
"""
OFFSETS_LAST = """            if offsets:
                await self._call(writer.send_offsets(offsets))

        position"""
CALL_INIT = "        self._writer = await self._call(world.log.open_writer(partition))\n"
CALL_COMMITTED = "        self._committed = await self._call(world.log.committed(partition))\n"

MUTATIONS = [
    # -- the hazards of stock engines
    Mutation(
        "offsets are committed before the changelog is written",
        [
            Edit(TASK, OFFSETS_LAST, "        position"),
            Edit(
                TASK,
                OUTPUTS_FIRST,
                "            if offsets:\n                await self._call(writer.send_offsets(offsets))\n"
                + OUTPUTS_FIRST,
            ),
        ],
    ),
    Mutation(
        "the local store is written before the commit",
        [
            Edit(TASK, STORE_WRITE, ""),
            Edit(
                TASK,
                "            acked = await self._call(writer.send(changelog + outputs))\n",
                "            acked = await self._call(writer.send(changelog + outputs))\n"
                "            early = [(key, value) for _, key, value in rows]\n"
                "            self.recovery.write([*early, (META_KEY, encode_meta(meta))], max(acked.values()))\n",
            ),
        ],
    ),
    one("a zombie is not fenced by the broker", MEMORY, "self._log.broker.epochs[self._id] != self._epoch", "False"),
    one(
        "each worker has a transactional id of its own",
        LOG,
        'f"{self._name}-{partition}")\n        return',
        'f"{self._name}-{partition}-{id(self)}")\n        return',
        CLIENTS,
    ),
    one("a hole in the input is not noticed", BUFFER, "if chunk.start != topic.expected:", "if False:"),
    one(
        "input resumes before what was buffered is cleared: that counts as processed",
        TASK,
        "        positions = self._buffer.offsets()\n",
        "        positions = {name: topic.expected for name, topic in self._buffer._topics.items()}\n",
    ),
    one(
        "an error of recovery is swallowed",
        RECOVERY,
        "            await self._read_to(reader, topic, end)\n",
        "            await self._read_to(reader, topic, end)\n        except TransientError:\n            pass\n",
    ),
    one(
        "a batch is acknowledged although its agent raised",
        BATCH,
        '            raise BatchFailedError(f"stage {self.stage!r} failed: {self._error!r}") from self._error\n',
        "            return\n",
    ),
    one(
        "a mark is written apart from what it marks",
        PACK,
        "        batches[-1].records += group\n",
        "        batches += [OutBatch(topic, partition, [out]) for out in group]\n",
    ),
    one(
        "the future of a record batch is not awaited",
        WRITER,
        "        ends = [(future.result().offset, count) for future, count in sent]\n",
        "        ends = [(-1, count) for _, count in sent]\n",
        CLIENTS,
    ),
    one(
        "a failed send is followed by the commit all the same",
        WRITER,
        "                if isinstance(result, BaseException):\n                    raise result\n",
        "                pass\n",
        CLIENTS,
    ),
    one(
        "committed offsets are read before the fence",
        TASK,
        CALL_INIT + CALL_COMMITTED,
        CALL_COMMITTED + CALL_INIT,
        PROTOCOL,
    ),
    Mutation(
        "a producer is used again after an error",
        [
            Edit(TASK, CALL_INIT, "        if self._writer is None:\n    " + CALL_INIT),
            Edit(TASK, "        writer, self._writer = self._writer, None\n", "        writer = None\n"),
        ],
    ),
    one(
        "without transactions, records are published after the changelog",
        TASK,
        OUTPUTS_FIRST,
        "            acked = await self._call(writer.send(changelog[:-1]))\n"
        "            await self._call(writer.send(outputs))\n",
    ),
    one(
        "what was touched is lost when the agent of the last stage raises",
        TASK,
        "            await world.pipeline.run(world.final_stage, batch)\n",
        "            with suppress(LaneError):\n                await world.pipeline.run(world.final_stage, batch)\n",
    ),
    one(
        "input of an aborted transaction is read",
        MEMORY,
        "if slot.state == COMMITTED and slot.record is not None:",
        "if slot.state != OPEN and slot.record is not None:",
    ),
    one("consumers read uncommitted records", READER, '"read_committed"', '"read_uncommitted"', CLIENTS),
    one("a lost position jumps to the end of the topic", READER, '"none"', '"latest"', CLIENTS),
    # -- state, changelog and disk
    one(
        "recovery stops one record short of the captured end",
        RECOVERY,
        "while self.progress.position < end:",
        "while self.progress.position < end - 2:",
    ),
    one(
        "the metadata row is not written",
        PACK,
        '    changelog += pack_rows(changelog_topic, turn.partition, [("", META_KEY, meta)], turn.now_ms, limit)\n',
        "",
    ),
    one(
        "a disk that stands beyond the changelog is used",
        RECOVERY,
        "bounds.start <= local.position <= bounds.end and fresh",
        "bounds.start <= local.position and fresh",
    ),
    one(
        "a full disk is ignored",
        RECOVERY,
        "        self._save(rows, max(position, self.local.position), caught_up=True)\n",
        "        try:\n            self._save(rows, max(position, self.local.position), caught_up=True)\n"
        "        except TransientError:\n            pass\n",
    ),
    one(
        "a corrupt disk is not wiped",
        RECOVERY,
        "            except CorruptError:\n                await self._wipe()\n",
        "            except CorruptError as error:\n                raise TransientError(str(error)) from error\n",
    ),
    one(
        "the commit of which nothing was heard counts as done",
        TASK,
        "            await self._call(writer.commit())\n",
        "            with suppress(TransientError):\n                await self._call(writer.commit())\n",
    ),
    one(
        "rows of the early stages are not in the changelog",
        TASK,
        "            for row in task_rows.written():\n                rows.append(row)\n",
        '            for row in task_rows.written():\n                if table.name != "marks":\n'
        "                    rows.append(row)\n",
    ),
    # -- marks
    one(
        "sealed marks are not looked for after a restart",
        MARKS,
        "{} if first == next_ else None",
        "{}",
        TABLES,
    ),
    one(
        "an answer that was given anew comes back when its chunk is turned over",
        MARKS,
        "            if sealed.get(mark) != answer:\n                continue  # answered anew since\n",
        "",
        TABLES,
    ),
    # -- time, wake-ups, views
    one(
        "the time of a task may go back",
        TASK,
        "return max(self.meta.now_ms, self.world.clock.now_ms(max(seen, self.meta.now_ms)))",
        "return self.world.clock.now_ms(seen)",
    ),
    one(
        "a tick writes nothing, so nobody finds out that he is fenced",
        TASK,
        "        assert writer is not None\n        self._poison",
        "        assert writer is not None\n        if turn.is_tick and not turn.records:\n            return\n"
        "        self._poison",
    ),
    one(
        "a start does not begin with a sweep",
        TASK,
        "            self._sweep.start()\n        self._views_revision",
        "        self._views_revision",
    ),
    one(
        "a changed view starts no sweep",
        TASK,
        "            self._views_revision = self.world.views.revision\n            self._sweep.start()\n",
        "            self._views_revision = self.world.views.revision\n",
    ),
    one("superseded wake times pile up", WAKES, "if len(self._heap) > 2 * len(self._at) + SPARE:", "if False:", FLOW),
    # -- who may write what
    one(
        "a record in the wrong partition is taken",
        BATCH,
        "return partition_of(key, self._turn.partitions) == self._turn.partition",
        "return True",
    ),
    one(
        "dead letters go to one partition for all",
        PACK,
        "pack(letters, turn.partition, turn.dead_letters, limit)",
        "pack(letters, 0, turn.dead_letters, limit)",
    ),
    one("a refused record leaves no dead letter", BATCH, "        self._turn.dead_letters.append(out)\n", ""),
    one("a full buffer takes more", BUFFER, "return self._topics[name].count >= self._limit", "return False"),
    # -- what the simulation has found in this engine
    one(
        "wake times of a dropped turn outlive it",
        TASK,
        "        self._wakes = Wakes()\n        pairs",
        "        pairs",
    ),
    one(
        "recovery waits for ever for an answer that was lost",
        RECOVERY,
        "identity = await within(deadline_s, world.log.identity(topic))",
        "identity = await world.log.identity(topic)",
    ),
    one(
        "views wait for ever for an answer that was lost",
        VIEWS,
        "count = (await within(deadline_s, log.identity(topic))).partitions",
        "count = (await log.identity(topic)).partitions",
    ),
    one(
        "a worker overtaken while it restored fails for good",
        TASK,
        "if self._doubted != str(error):",
        "if False:",
        PROTOCOL,
    ),
    one(
        "a view that is merely late is taken for a truncated topic",
        VIEWS,
        "zip(positions, ends, strict=False)):\n            raise",
        "zip(positions, view.positions, strict=False)):\n            raise",
        TIME,
    ),
    # -- the days of the ledger
    one(
        "a date does not open with the closing of the date before",
        ROWS,
        "        last.closing_sellable - sum(movements[0::2]),\n",
        "        0,\n",
        DAYS,
    ),
    one(
        "a late fact changes the revision that was closed",
        WALK,
        "row = ledger.row(sku, key, day.revision, day.status, rules)",
        "row = ledger.row(sku, key, walk.revision, day.status, rules)",
        DAYS,
    ),
    one(
        "dates of a region that is behind are forgotten with those of the others",
        WALK,
        "if walk.end_ms > ends[_region_of(key)] - KEPT_DAYS",
        "if walk.end_ms > max(ends.values()) - KEPT_DAYS",
        DAYS,
    ),
    one(
        "a snapshot counts as missing before what was said of it is read",
        "atp/domain/switching.py",
        "series.overdue_ms(policy, read_ms)",
        "series.overdue_ms(policy, now_ms)",
        "tests/unit/test_switching.py",
    ),
    one(
        "an old snapshot stands for the one that is missing",
        "atp/domain/switching.py",
        "if is_old and seen.cause",
        "if False and seen.cause",
        "tests/unit/test_switching.py",
    ),
    one("a late fact restates nothing", WALK, "if admitted.time_ms < closed_ms:", "if False:", DAYS),
    one(
        "a date is closed although it does not open as the one before closed",
        CLOSING,
        "problem = _break(state, ordinal - 1) or _break(state, ordinal)",
        'problem = ""',
        DAYS,
    ),
]

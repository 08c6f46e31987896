"""The input topics as the ledger reads them, and its own archive of them for when their retention has passed.

    facts/<topic>/<partition>/<first offset>-<offset after>.msgpack.zst

A close archives what is new before it reckons, so that every day can be derived again for as long as the target is
kept. An archive file is written once; what a topic still holds is read from the topic.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import zstandard

from atp import topics
from atp.commands import clients
from atp.commands.files import FactLine, take_control
from atp.domain.fold import World
from atp.ledger.columns import BrokenLedgerError
from atp.ledger.gather import Record
from atp.ledger.store import Store
from atp.ledger.topic_ledger import TopicLedger

READ = (*topics.FACT_TOPICS, topics.CORRECTIONS, topics.HEARTBEATS, topics.NODES, topics.POLICIES)
CLOSED = (topics.LEDGER_DAYS, topics.POLICIES)
_SEGMENT = re.compile(r"(\d+)-(\d+)\.msgpack\.zst$")
# offset, time (ms), key, value
Row = tuple[int, int, bytes | None, bytes | None]
Place = tuple[str, int]
_decode = msgspec.msgpack.Decoder(list[Row]).decode


class Archive:
    """What was archived of the topics, in a ledger's target; without one, nothing was."""

    def __init__(self, store: Store | None) -> None:
        self._store = store

    def following(self, place: Place) -> int:
        """The offset after the last one archived."""
        return max((last for _, last, _ in self._segments(place)), default=0)

    def rows(self, place: Place, until: int) -> Iterator[Row]:
        """What was archived before an offset, in order."""
        for first, _, path in self._segments(place):
            if first < until:
                content = zstandard.ZstdDecompressor().decompress(self._target().read(path))
                yield from (row for row in _decode(content) if row[0] < until)

    def add(self, place: Place, rows: list[Row]) -> None:
        """Keep rows that go on where the archive ends."""
        name = f"{rows[0][0]:020d}-{rows[-1][0] + 1:020d}.msgpack.zst"
        content = zstandard.ZstdCompressor(level=3).compress(msgspec.msgpack.encode(rows))
        self._target().write(f"{self._folder(place)}/{name}", content)

    def _target(self) -> Store:
        assert self._store is not None, "nothing is archived nowhere"
        return self._store

    def _folder(self, place: Place) -> str:
        return f"facts/{place[0]}/{place[1]}"

    def _segments(self, place: Place) -> list[tuple[int, int, str]]:
        folder = self._folder(place)
        names = self._store.names(folder) if self._store is not None else []
        found = ((_SEGMENT.match(name), name) for name in names)
        return sorted((int(m[1]), int(m[2]), f"{folder}/{name}") for m, name in found if m)


class LogOrigin:
    """The facts on a broker, with those that only the archive still has."""

    def __init__(self, config: dict[str, Any], archive: Archive) -> None:
        self.name = str(config["bootstrap.servers"])
        self._config, self._archive = config, archive
        self.wrong: dict[int, str] = {}  # what cannot be used is in the dead letters
        self._found: dict[Place, list[Row]] = {}

    def read(self) -> None:
        """Read every topic to its end, with the archive before it. BrokenLedgerError if facts are gone for good."""
        with clients.one_line(self.name), clients.consumer(self._config, "finance-ledger") as reader:
            bounds = clients.bounds(reader, _places(reader, READ))
            for place, (first, _) in sorted(bounds.items()):
                archived = self._archive.following(place)
                if first > archived and not topics.BY_NAME[place[0]].compacted:
                    raise BrokenLedgerError(
                        f"{place[0]}/{place[1]}: begins at offset {first}, but was archived up to {archived}; "
                        "what lay between is gone, and no day can be closed without it"
                    )
                self._found[place] = list(self._archive.rows(place, first))
            for message in clients.read_whole(reader, bounds):
                row = (message.offset(), message.timestamp()[1], message.key(), message.value())
                self._found[message.topic(), message.partition()].append(row)

    def archive(self) -> None:
        """Keep what is new."""
        for place, rows in self._found.items():
            following = self._archive.following(place)
            fresh = [row for row in rows if row[0] >= following]
            if fresh:
                self._archive.add(place, fresh)

    def world(self, upto: Mapping[str, int] | None = None) -> World:
        """Policies and nodes as last said. One that cannot be used leaves the one before it, as in the worker."""
        world = World()
        for topic in (topics.NODES, topics.POLICIES):
            for _, _, record in self._log((topic.name, 0), upto):
                take_control(FactLine(record.topic, msgspec.Raw(record.value or b"null"), record.key), world)
        return world

    def records(self, upto: Mapping[str, int] | None = None) -> Iterator[Record]:
        """Partition by partition; the topics of one are merged by time, each in its own order."""
        for number in sorted({partition for _, partition in self._found}):
            logs = [self._log(place, upto) for place in sorted(self._found) if place[1] == number]
            yield from (record for _, _, record in heapq.merge(*logs, key=_by_time))

    def _log(self, place: Place, upto: Mapping[str, int] | None) -> Iterator[tuple[int, str, Record]]:
        log, at_ms = f"{place[0]}/{place[1]}", 0
        for offset, time_ms, key, value in self._found[place]:
            if upto is not None and offset >= upto.get(log, 0):
                return
            at_ms = max(at_ms, time_ms)
            name = None if key is None else key.decode(errors="replace")
            yield at_ms, log, Record(place[0], name, value, log, offset + 1)


def _by_time(one: tuple[int, str, Record]) -> tuple[int, str]:
    return one[:2]


def topic_ledger(config: dict[str, Any]) -> TopicLedger:
    """What the worker closed: days and policies are read now, rows once somebody asks for some."""
    days, world = [], World()
    for record in _whole(config, CLOSED):
        if record.topic == topics.LEDGER_DAYS.name and record.value is not None:
            days.append(record)
        elif record.topic == topics.POLICIES.name:
            take_control(FactLine(record.topic, msgspec.Raw(record.value or b"null"), record.key), world)
    return TopicLedger(days, world, lambda: _whole(config, (topics.LEDGER,)))


def _whole(config: dict[str, Any], wanted: Iterable[topics.Topic]) -> Iterator[Record]:
    """Every record of some topics, up to the end that they have now."""
    with clients.one_line(str(config["bootstrap.servers"])), clients.consumer(config, "finance-ledger") as reader:
        for message in clients.read_whole(reader, _places(reader, wanted)):
            key, log = message.key(), f"{message.topic()}/{message.partition()}"
            name = None if key is None else key.decode(errors="replace")
            yield Record(message.topic(), name, message.value(), log, message.offset() + 1)


def _places(reader: Any, wanted: Iterable[topics.Topic]) -> list[Place]:
    known = reader.list_topics(timeout=clients.TIMEOUT_S).topics
    missing = [topic.name for topic in wanted if topic.name not in known]
    if missing:
        raise BrokenLedgerError(f"topic {missing[0]}: does not exist; `atp doctor` says what is missing")
    return [(topic.name, partition) for topic in wanted for partition in known[topic.name].partitions]

"""Where facts are read from: a FACTS.jsonl, in whole or only as much of it as a revision was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from atp.commands.files import FactLine, lines_of, load_nodes, load_policies, take_control
from atp.commands.fold import CONTROL_TOPICS
from atp.domain.fold import World
from atp.ledger.gather import Record


class Origin(Protocol):
    """Records in log order, and what people said. `upto`: of each log, only so many records."""

    name: str
    wrong: dict[int, str]

    def world(self, upto: Mapping[str, int] | None = None) -> World: ...
    def records(self, upto: Mapping[str, int] | None = None) -> Iterator[Record]: ...


class FileOrigin:
    """A FACTS.jsonl; what people said holds for the whole of it, wherever it stands.

    `wrong`: lines that could not be used, as a topic's dead letters would have them; the rest counts all the same.
    """

    def __init__(self, path: Path, policy: Path | None = None, nodes: Path | None = None) -> None:
        self.name = str(path)
        self._path, self._policy, self._nodes = path, policy, nodes
        self.wrong: dict[int, str] = {}

    def world(self, upto: Mapping[str, int] | None = None) -> World:
        """Policies and nodes of the options, then those of the file."""
        world = World()
        if self._policy is not None:
            load_policies(self._policy, world)
        if self._nodes is not None:
            load_nodes(self._nodes, world)
        for line in _limited(self._lines(CONTROL_TOPICS), upto):
            wrong = take_control(line, world)
            if wrong is not None:
                self.wrong[line.number] = f"FACTS line {line.number} is not used: {wrong}"
        return world

    def records(self, upto: Mapping[str, int] | None = None) -> Iterator[Record]:
        """Every record, in the order of the file."""
        seen: Counter[str] = Counter()
        for line in _limited(self._lines(None), upto):
            seen[line.topic] += 1
            yield Record(line.topic, line.key, line.value_bytes, line.topic, seen[line.topic])

    def _lines(self, wanted: set[str] | None) -> Iterator[FactLine]:
        for line in lines_of(self._path, "FACTS"):
            if not isinstance(line, FactLine):
                self.wrong[line.number] = f"FACTS {line.message}"
            elif wanted is None or line.topic in wanted:
                yield line


def _limited(lines: Iterable[FactLine], upto: Mapping[str, int] | None) -> Iterator[FactLine]:
    seen: Counter[str] = Counter()
    for line in lines:
        seen[line.topic] += 1
        if upto is None or seen[line.topic] <= upto.get(line.topic, 0):
            yield line

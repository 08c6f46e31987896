"""Files that commands read: facts as JSON lines, policies, nodes, instants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from atp import topics
from atp.commands.errors import WrongUseError
from atp.domain.fold import World
from atp.domain.freshness import HeartbeatError, parse_heartbeat
from atp.domain.modes import ModeError, parse_mode
from atp.domain.nodes import NodeError, parse_node
from atp.domain.policy import Policy, PolicyError, parse_policy
from atp.domain.times import LATEST_NOW_MS, to_ms


class FactLine(msgspec.Struct):
    """One line of a FACTS.jsonl: a record of a topic."""

    topic: str
    value: msgspec.Raw
    key: str | None = None
    number: int = 0

    @property
    def value_bytes(self) -> bytes | None:
        """The value as it would be on the wire; None for a tombstone."""
        raw = bytes(self.value)
        return None if raw == b"null" else raw


class BadLine(msgspec.Struct):
    """A line that is no record at all."""

    number: int
    message: str


_DECODER = msgspec.json.Decoder(FactLine)


def read_bytes(path: Path, what: str) -> bytes:
    """The content of a file, or one clear line why not."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, what, error) from None


def _unreadable(path: Path, what: str, error: OSError) -> WrongUseError:
    return WrongUseError(f"{what} = {path}: cannot be read ({error.strerror}); a readable file is needed")


def fact_lines(content: bytes) -> Iterator[FactLine | BadLine]:
    """The records of a FACTS.jsonl in order; empty lines are passed over."""
    return _records(content.splitlines())


def lines_of(path: Path, what: str) -> Iterator[FactLine | BadLine]:
    """The same, read line by line: a file may be larger than memory."""
    try:
        with path.open("rb") as file:
            yield from _records(file)
    except OSError as error:
        raise _unreadable(path, what, error) from None


def _records(lines: Iterable[bytes]) -> Iterator[FactLine | BadLine]:
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            line = _DECODER.decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            yield BadLine(number, f'line {number} is no {{"topic", "key", "value"}} object: {error}')
            continue
        line.number = number
        yield line


def documents(path: Path, what: str) -> list[Any]:
    """Documents of a file: a JSON object, a JSON array, or one object a line; bare or as {"topic", "value"}."""
    content = read_bytes(path, what)
    try:
        found = msgspec.json.decode(content)
        items = found if isinstance(found, list) else [found]
    except msgspec.DecodeError:
        items = [_line(what, number, raw) for number, raw in enumerate(content.splitlines(), 1) if raw.strip()]
    return [_bare(item) for item in items]


def _bare(item: Any) -> Any:
    return item["value"] if isinstance(item, dict) and "topic" in item and "value" in item else item


def _line(what: str, number: int, raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise WrongUseError(f"{what} line {number} is not JSON: {error}") from None


def load_policies(path: Path, world: World) -> list[str]:
    """Put the policies of a file into the world; answer the names of fields nobody knows."""
    unknown = []
    for document in documents(path, "--policy"):
        unknown += take_policy(document, world)
    return unknown


def load_nodes(path: Path, world: World) -> None:
    """Put the node reference of a file into the world."""
    for document in documents(path, "--nodes"):
        rows = [document] if not isinstance(document, dict) or "node" in document else list(document.values())
        for row in rows:
            try:
                node = parse_node(row)
            except NodeError as error:
                raise WrongUseError(f"--nodes {path}: {error}") from None
            world.nodes[node.node] = node


def take_policy(document: Any, world: World) -> list[str]:
    """Put one policy document into the world; answer its fields that nobody knows."""
    try:
        world.policies.put(parse_policy(document))
    except PolicyError as error:
        raise WrongUseError(f"policy: {error}") from None
    known = {*Policy.model_fields, "type", "schema_version"}
    return [name for name in document if name not in known]


def take_control(line: FactLine, world: World) -> str | None:
    """Put a record of a control topic into the world; answer what is wrong with it, if anything."""
    value = line.value_bytes
    document = None if value is None else msgspec.json.decode(value)
    try:
        _take(line, document, world)
    except (WrongUseError, NodeError, ModeError, HeartbeatError) as error:
        return str(error)
    return None


def _take(line: FactLine, document: Any, world: World) -> None:
    if document is None:
        if line.topic == topics.POLICIES.name:
            world.policies.remove(line.key or "default")
        elif line.topic == topics.NODES.name:
            world.nodes.pop(line.key or "", None)
    elif line.topic == topics.POLICIES.name:
        take_policy(document, world)
    elif line.topic == topics.NODES.name:
        node = parse_node(document)
        world.nodes[node.node] = node
    elif line.topic == topics.MODES.name:
        mode = parse_mode(document)
        world.modes[mode.region, mode.channel] = mode
    elif line.topic == topics.HEARTBEATS.name:
        world.watermarks.put(parse_heartbeat(document))


def instant_ms(text: str, option: str) -> int:
    """Epoch milliseconds of an RFC 3339 instant given on the command line."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUseError(
            f"{option} = {text!r}: an RFC 3339 instant is allowed, such as 2011-11-25T10:00:00Z"
        ) from None
    ms = to_ms(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    if not 0 <= ms <= LATEST_NOW_MS:
        raise WrongUseError(f"{option} = {text!r}: an instant from 1970 to 9997 is allowed")
    return ms

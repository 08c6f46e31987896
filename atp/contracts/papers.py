"""All papers as files: written, or compared with what is committed; a breaking change is never written over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from atp.contracts import asyncapi, data_contract, schemas, topology
from atp.contracts.compatibility import problems
from atp.topics import Topic

READINGS = {"producer": schemas.producer, "consumer": schemas.consumer}


def papers() -> dict[str, str]:
    """Text by file name."""
    found = {
        "asyncapi.yaml": _yaml(asyncapi.document()),
        "available-to-promise.odcs.yaml": _yaml(data_contract.document()),
        "topology.svg": topology.picture(),
    }
    for topic in schemas.TYPED:
        for reading, make in READINGS.items():
            found[schema_file(topic, reading)] = json.dumps(make(topic), indent=1, ensure_ascii=False) + "\n"
    return found


def schema_file(topic: Topic, reading: str) -> str:
    """Where a topic's schema lies."""
    return f"schemas/{topic.name}.{reading}.json"


def _yaml(document: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return text


def breaking(folder: Path) -> list[str]:
    """Changes against the published schemas in a folder that would break somebody."""
    made = papers()
    gone = [path.name for path in sorted(folder.glob("schemas/*.json")) if f"schemas/{path.name}" not in made]
    found = [f"{topic.name} {problem}" for topic in schemas.TYPED for problem in _breaking(folder, topic)]
    return [f"{name} was taken away" for name in gone] + found


def _breaking(folder: Path, topic: Topic) -> Iterator[str]:
    """What we accept is judged by the open schema, what we send by the closed one."""
    inbound = schemas.consumed(topic)
    reading = "consumer" if inbound else "producer"
    path = folder / schema_file(topic, reading)
    if path.exists():
        yield from problems(json.loads(path.read_text()), READINGS[reading](topic), consumed=inbound)


def outdated(folder: Path) -> list[str]:
    """Files that are not as the code has them."""
    return [
        name for name, text in papers().items()
        if not (folder / name).exists() or (folder / name).read_text() != text
    ]  # fmt: skip


def write(folder: Path) -> list[str]:
    """Write what is outdated; answer the names."""
    made, changed = papers(), outdated(folder)
    for name in changed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(made[name])
    return changed

"""`atp doctor`: what a worker needs, checked one by one; one line each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec
from confluent_kafka import KafkaException

from atp import admin, topics
from atp.commands import clients
from atp.commands.errors import CommandError
from atp.commands.files import FactLine
from atp.commands.lines import Outgoing, judge
from atp.commands.worker import checked_settings
from atp.domain.modes import ModeError, parse_mode
from atp.settings import Settings

CONTROL = (topics.NODES, topics.POLICIES, topics.MODES, topics.HEARTBEATS)
SHOWN = 5


class Finding(msgspec.Struct):
    """One check: whether it is as it should be, and what was found."""

    check: str
    ok: bool
    message: str


def run(as_json: bool, out: IO[str]) -> None:
    """Print every finding; raise when one is a problem."""
    findings = examine(checked_settings())
    if as_json:
        out.write(msgspec.json.encode({"ok": all(f.ok for f in findings), "checks": findings}).decode() + "\n")
    else:
        for finding in findings:
            out.write(f"{'ok     ' if finding.ok else 'PROBLEM'}  {finding.check:<18}{finding.message}\n")
    wrong = [finding.check for finding in findings if not finding.ok]
    if wrong:
        raise CommandError(f"{len(wrong)} of {len(findings)} checks found a problem: {', '.join(wrong)}")


def examine(config: Settings) -> list[Finding]:
    """All findings, in order; what cannot be asked without a broker is left out."""
    findings = [_finding("store folder", _store, config), _finding("broker", _broker, config)]
    if not findings[-1].ok:
        return findings
    findings += _topics(config)
    checks: list[tuple[str, Callable[[Settings], str]]] = [("transactions", _transactions)]
    checks += [("control documents", _control), ("lag", _lag)]
    return findings + [_finding(name, check, config) for name, check in checks]


def _finding(name: str, check: Callable[[Settings], str], config: Settings) -> Finding:
    try:
        return Finding(name, True, check(config))
    except (CommandError, admin.BrokerError, OSError) as error:
        return Finding(name, False, str(error))
    except KafkaException as error:
        return Finding(name, False, error.args[0].str())


def _broker(config: Settings) -> str:
    known = admin.partition_counts(admin.client(config.admin()), config.bootstrap)
    return f"{config.bootstrap} answers, {len(known)} topics"


def _store(config: Settings) -> str:
    """The nearest folder that exists must let us write."""
    folder = config.data_dir.absolute()
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    if not nearest.is_dir():
        raise CommandError(f"ATP_DATA_DIR = {folder}: {nearest} is no folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise CommandError(f"ATP_DATA_DIR = {folder}: {nearest} cannot be written")
    return f"{folder} {'is there' if nearest == folder else 'can be made'}, writable{_holds(folder)}"


def _holds(folder: Path) -> str:
    stores = [path for path in (folder / "lane").glob("*") if path.is_dir()] if folder.exists() else []
    return f"; stores of {len(stores)} lane(s)" if stores else "; no state yet"


def _topics(config: Settings) -> list[Finding]:
    wrong = admin.problems(config.admin(), config.partitions)
    if wrong:
        return [Finding("topics", False, problem) for problem in wrong]
    return [Finding("topics", True, f"{len(topics.CATALOGUE)} topics as the catalogue says")]


def _transactions(config: Settings) -> str:
    """Asked as a worker asks: by doing."""
    from atp.lane.kafka_writer import supports_transactions, wait_closed

    async def ask() -> bool:
        found = await supports_transactions(config.lane(), f"{clients.SKU_GROUP}-doctor")
        await wait_closed()
        return found

    if asyncio.run(ask()):
        return "the broker has transactions: a worker runs exactly once"
    if config.guarantee == "exactly_once":
        raise CommandError("ATP_GUARANTEE = exactly_once: the broker has no transactions")
    return "the broker has no transactions: a worker runs at least once"


def _control(config: Settings) -> str:
    """The latest document of every key must be one that a worker takes."""
    latest: dict[tuple[str, str], bytes | None] = {}
    with clients.consumer(config.admin()) as reader:
        for message in clients.read_whole(reader, [(topic.name, 0) for topic in _present(config)]):
            latest[message.topic(), (message.key() or b"").decode(errors="replace")] = message.value()
    wrong, counts = [], dict.fromkeys((topic.name for topic in CONTROL), 0)
    for (topic, key), value in latest.items():
        if value is None:
            continue
        counts[topic] += 1
        problem = _mode_problem(value) if topic == topics.MODES.name else _problem(topic, key, value, config)
        if problem:
            wrong.append(f"{topic} key {key!r}: {problem}")
    if wrong:
        more = f" (and {len(wrong) - SHOWN} more)" if len(wrong) > SHOWN else ""
        raise CommandError("; ".join(wrong[:SHOWN]) + more)
    if not counts[topics.NODES.name]:
        raise CommandError(f"{topics.NODES.name} holds no node: no stock can be given to a region")
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _problem(topic: str, key: str, value: bytes, config: Settings) -> str:
    found = judge(FactLine(topic, msgspec.Raw(value), key), config.horizons)
    return "" if isinstance(found, Outgoing) else found.message


def _mode_problem(value: bytes) -> str:
    """A mode is a worker's own: nobody publishes one, so `judge` knows none."""
    try:
        parse_mode(msgspec.json.decode(value))
    except (ModeError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
    return ""


def _present(config: Settings) -> list[Any]:
    known = admin.partition_counts(admin.client(config.admin()), config.bootstrap)
    return [topic for topic in CONTROL if topic.name in known]


def _lag(config: Settings) -> str:
    """Facts that the lane's group has not worked off."""
    known = admin.partition_counts(admin.client(config.admin()), config.bootstrap)
    places = [(t.name, p) for t in topics.FACT_TOPICS for p in range(known.get(t.name, 0))]
    with clients.consumer(config.admin(), group=clients.SKU_GROUP) as reader:
        ends, done = clients.bounds(reader, places), clients.committed(reader, places)
    facts = sum(end for _, end in ends.values())
    behind = {place: end - max(done[place], start) for place, (start, end) in ends.items()}
    lag = sum(max(0, left) for left in behind.values())
    if facts and all(at < 0 for at in done.values()):
        raise CommandError(f"group {clients.SKU_GROUP} has committed nothing: {lag} facts wait, no worker has run")
    return f"group {clients.SKU_GROUP}: {lag} facts wait of {facts}"

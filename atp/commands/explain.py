"""`atp explain`: every component of one published number, and the facts behind it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, Any

import msgspec

from atp import topics
from atp.commands import clients
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.explain_drift import drifts, hold_against, truths_of
from atp.commands.explain_facts import Ledger, Owner
from atp.commands.explain_figures import figures
from atp.commands.explain_text import text
from atp.commands.files import FactLine, fact_lines, instant_ms, load_nodes, load_policies, read_bytes, take_control
from atp.commands.fold import FOLDED_TOPICS, fold_file
from atp.commands.worker import checked_settings
from atp.domain.availability import Reckoning, Situation, availability
from atp.domain.decoding import decode
from atp.domain.desk import Books, Desk
from atp.domain.fold import World, regions_of, situations
from atp.domain.intake import Horizons
from atp.domain.record import comparable
from atp.domain.refusals import Refusal
from atp.domain.snapshots import KINDS, SnapshotClosed, SnapshotRow, decode_snapshot
from atp.domain.times import LATEST_NOW_MS, rfc3339, to_ms
from atp.domain.truth import SkuTruth
from atp.lane.keys import partition_of
from atp.settings import Settings

CONTROL = (topics.POLICIES, topics.NODES, topics.MODES, topics.HEARTBEATS)
FACTS = (*topics.FACT_TOPICS, topics.CORRECTIONS)


class Options(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    facts: Path | None = None
    policy: Path | None = None
    nodes: Path | None = None
    now: str | None = None
    every: bool = False
    as_json: bool = False

    def check(self) -> None:
        """Raise when options do not go together."""
        for name in ("policy", "nodes"):
            if getattr(self, name) is not None and self.facts is None:
                raise WrongUseError(f"--{name} = {getattr(self, name)}: goes with --facts only")


class Record(msgspec.Struct):
    """A raw record that names the SKU. `at`: line of the file, or partition:offset."""

    topic: str
    at: str
    key: str | None
    value: bytes | None


class Case(msgspec.Struct):
    """All that is needed to explain a record, wherever it came from."""

    world: World
    horizons: Horizons
    now_ms: int
    records: list[Record]
    owner: Owner | None = None
    published: dict[str, Any] | None = None
    waiting: int = 0
    truths: SkuTruth = msgspec.field(default_factory=SkuTruth)


def run(sku: str, region: str, options: Options, out: IO[str]) -> None:
    """Print the waterfall of one record."""
    options.check()
    case = _from_file(sku, options) if options.facts is not None else _from_broker(sku, region, options)
    explained = explain(sku, region, case)
    if options.as_json:
        out.write(msgspec.json.encode(explained).decode() + "\n")
    else:
        out.write(text(explained, every=options.every))


def explain(sku: str, region: str, case: Case) -> dict[str, Any]:
    """Fold the SKU's facts and take the record of the region apart."""
    ledger = Ledger(sku, case.horizons, case.now_ms, case.owner)
    for record in case.records:
        fact = decode(record.topic, record.value)
        event_id = _event_id(record.value) if isinstance(fact, Refusal) else ""
        ledger.take(record.topic, record.at, record.key, fact, event_id)
    ledger.close()
    hold_against(sku, case.truths, Desk(Books.in_memory(), ledger.state, case.world, case.horizons, case.now_ms))
    situation = _situation(sku, region, ledger, case)
    reckoning = availability(situation)
    here = {node.node for node, _ in situation.nodes}
    behind = [f for f in ledger.facts if f.status == "REFUSED" or _concerns(f.node, f.region, here, region)]
    found = {
        "sku": sku,
        "region": region,
        "now": rfc3339(case.now_ms),
        "figures": figures(situation, reckoning),
        "truths": drifts(situation, case.truths, ledger.state),
        "facts": [msgspec.to_builtins(fact) for fact in behind],
    }
    return found | (_compared(reckoning, case) if case.owner is not None else {})


def _concerns(node: str | None, fact_region: str | None, here: set[str], region: str) -> bool:
    return node in here if node is not None else fact_region == region


def _situation(sku: str, region: str, ledger: Ledger, case: Case) -> Situation:
    regions = regions_of(sku, ledger.state, case.world)
    gathered = situations(sku, ledger.state, case.world, case.horizons, case.now_ms, regions)
    found = {situation.region: situation for situation in gathered}
    if region in found:
        return found[region]
    if not case.records:
        raise CommandError(f"SKU = {sku!r}: no fact names it")
    head = ledger.state.heads.get((sku,))
    unknown = [node for node in head.nodes if node not in case.world.nodes] if head else []
    more = f"; its nodes {', '.join(unknown)} are not in {topics.NODES.name}" if unknown else ""
    raise CommandError(
        f"REGION = {region!r}: SKU {sku!r} has no record there; it has in {', '.join(sorted(found)) or 'none'}{more}"
    )


def _compared(reckoning: Reckoning, case: Case) -> dict[str, Any]:
    """Beside what is on the canonical topic."""
    if case.published is None:
        return {"published": None, "differs": None, "waiting": case.waiting}
    expected = msgspec.to_builtins(reckoning.content)
    published = {k: v for k, v in comparable(case.published).items() if k in expected}
    differs = {k: [published.get(k), expected[k]] for k in expected if published.get(k) != expected[k]}
    envelope = {name: case.published.get(name) for name in ("version", "published_at", "as_of", "inputs")}
    return {"published": envelope, "differs": differs, "waiting": case.waiting}


def _event_id(value: bytes | None) -> str:
    raw = _raw(value)
    return str(raw.get("event_id", "")) if isinstance(raw, dict) else ""


def _raw(value: bytes | None) -> Any:
    try:
        return msgspec.json.decode(value) if value is not None else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _from_file(sku: str, options: Options) -> Case:
    assert options.facts is not None
    world, content = World(), read_bytes(options.facts, "--facts")
    if options.policy is not None:
        load_policies(options.policy, world)
    if options.nodes is not None:
        load_nodes(options.nodes, world)
    folded = fold_file(content, world, None if options.now is None else instant_ms(options.now, "--now"))
    records = [
        Record(line.topic, f"line {line.number}", line.key, line.value_bytes)
        for line in fact_lines(content)
        if isinstance(line, FactLine) and line.topic in FOLDED_TOPICS and _names(sku, line.key, line.value_bytes)
    ]
    truths = folded.audit.books.truths.get((sku,)) if folded.audit is not None else None
    return Case(world, folded.horizons, folded.now_ms, records, truths=truths or SkuTruth())


def _names(sku: str, key: str | None, value: bytes | None) -> bool:
    if key is not None and key == sku:
        return True
    if value is None or (sku.encode() not in value and b"\\" not in value):
        return False  # the quick answer for most lines
    raw = _raw(value)
    return isinstance(raw, dict) and raw.get("sku") == sku


def _from_broker(sku: str, region: str, options: Options) -> Case:
    config = checked_settings()
    with clients.one_line(config.bootstrap), clients.consumer(config.admin(), group=clients.SKU_GROUP) as reader:
        world = _world(reader, config)
        owner = Owner(partition_of(sku, config.partitions), config.partitions)
        places = [(topic.name, owner.partition) for topic in FACTS]
        read = [m for m in clients.read_whole(reader, places) if _text(m.key()) == sku]
        records = [
            Record(m.topic(), f"{m.partition()}:{m.offset()}", _text(m.key()), m.value()) for m in _merged(read)
        ]
        done = clients.committed(reader, places)
        waiting = sum(int(r.at.partition(":")[2]) >= done[r.topic, owner.partition] for r in records)
        rows = _rows(sku, reader, owner)
        published = None
        for message in clients.read_whole(reader, [(topics.AVAILABILITY.name, owner.partition)]):
            if _text(message.key()) == f"{sku}|{region}":
                published = message.value()
    now_ms = instant_ms(options.now, "--now") if options.now else _now_ms(config, world, records)
    truths = truths_of(sku, rows, world, config.horizons, now_ms)
    return Case(world, config.horizons, now_ms, records, owner, _raw(published), waiting, truths)


def _rows(sku: str, reader: Any, owner: Owner) -> list[SnapshotRow]:
    """What snapshots say of the SKU."""
    read = clients.read_whole(reader, [(topic, owner.partition) for topic in KINDS])
    found = [decode_snapshot(m.topic(), m.value(), LATEST_NOW_MS) for m in read if _text(m.key()) == sku]
    return [row for row in found if not isinstance(row, Refusal | SnapshotClosed)]


def _merged(messages: list[Any]) -> list[Any]:
    """In the order in which a worker takes them: by time, each topic in its own order."""
    newest_ms: dict[str, int] = {}
    times = []
    for message in messages:
        topic = message.topic()
        newest_ms[topic] = max(newest_ms.get(topic, 0), message.timestamp()[1])
        times.append(newest_ms[topic])
    return [messages[at] for at in sorted(range(len(messages)), key=times.__getitem__)]


def _text(key: bytes | None) -> str | None:
    return None if key is None else key.decode(errors="replace")


def _world(reader: Any, config: Settings) -> World:
    from atp import admin

    try:
        known = admin.partition_counts(admin.client(config.admin()), config.bootstrap)
    except admin.BrokerError as error:
        raise CommandError(str(error)) from None
    missing = [t.name for t in (*FACTS, *CONTROL, topics.AVAILABILITY) if t.name not in known]
    if missing:
        raise CommandError(f"broker {config.bootstrap}: topic {missing[0]} is missing; see `atp doctor`")
    world = World()
    for message in clients.read_whole(reader, [(topic.name, 0) for topic in CONTROL]):
        value = msgspec.Raw(b"null" if message.value() is None else message.value())
        take_control(FactLine(message.topic(), value, _text(message.key())), world)
    return world


def _now_ms(config: Settings, world: World, records: list[Record]) -> int:
    """As the workers take it: the wall clock, or how far the replayed sources have come."""
    if config.clock == "system":
        return time.time_ns() // 1_000_000
    facts = [decode(record.topic, record.value) for record in records]
    seen = [to_ms(fact.recorded_at) for fact in facts if not isinstance(fact, Refusal)]
    return max([*world.watermarks.values(), *seen], default=0)

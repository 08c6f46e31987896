"""`atp replay`: the facts of a span are sent again, unchanged, and what that changed is counted. Nothing should be.

A fact that was refused is not sent (`atp dead-letters replay` is for it), nor one that is beyond the journal by now:
it would be refused as TOO_OLD. A SKU whose facts came in from elsewhere meanwhile is not held against the replay; a
record that time alone changed meanwhile (a reservation expired) is.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import IO, Any

import msgspec
from confluent_kafka import Consumer

from atp import admin, topics
from atp.commands import clients, dead_letters
from atp.commands.clients import Place
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.files import instant_ms
from atp.commands.lines import Outgoing
from atp.commands.publish import produce
from atp.commands.worker import checked_settings
from atp.domain.facts import Instant
from atp.domain.times import rfc3339, to_ms
from atp.settings import Settings

STALLED_S, LOOK_S = 60.0, 0.2
SHOWN = 20
WATCHED = {
    "republished": topics.AVAILABILITY,
    "mode_changes": topics.MODE_CHANGES,
    "dead_letters": topics.DEAD_LETTERS,
    "exceptions": topics.EXCEPTIONS,
    "corrections": topics.CORRECTIONS,
}


class Span(msgspec.Struct, frozen=True):
    """Which facts are meant, by `recorded_at`: from `since_ms`, before `until_ms`."""

    since_ms: int
    until_ms: int
    source: str | None = None

    @classmethod
    def of(cls, since: str, until: str, source: str | None = None) -> Span:
        """A span from the command line's words, or WrongUseError."""
        found = cls(instant_ms(since, "--since"), instant_ms(until, "--until"), source)
        if found.until_ms <= found.since_ms:
            raise WrongUseError(f"--until = {until!r}: an instant after --since = {since!r} is allowed")
        return found

    def holds(self, fact: Head, recorded_ms: int) -> bool:
        """Whether a fact is meant."""
        return self.since_ms <= recorded_ms < self.until_ms and self.source in (None, fact.source)


class Head(msgspec.Struct):
    """What a replay needs to know of a fact."""

    sku: str
    source: str
    occurred_at: Instant
    recorded_at: Instant
    as_of: Instant | None = None


class Plan(msgspec.Struct):
    """What will be sent, and what will not: refused before, or beyond the journal by now."""

    facts: list[Outgoing] = []
    refused_before: int = 0
    too_old: int = 0


class Effects(msgspec.Struct):
    """What the replay changed: records on the topics that it should leave alone. `live_skus`: left out of account."""

    counts: dict[str, int]
    keys: list[str]
    live_skus: int


decode_head = msgspec.json.Decoder(Head).decode


def run(span: Span, dry_run: bool, as_json: bool, out: IO[str]) -> None:
    """Plan, send, wait until it is worked off, count; raise when anything changed."""
    config = checked_settings()
    with clients.one_line(config.bootstrap), clients.consumer(config.admin(), group=clients.SKU_GROUP) as reader:
        plan = planned(reader, span, config)
        effects = None if dry_run else _replayed(reader, plan, config)
    _say(span, plan, effects, as_json, out)
    if effects and (wrong := {name: count for name, count in effects.counts.items() if count}):
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in wrong.items())
        raise CommandError(f"the replay was not without effect: {said}; {', '.join(effects.keys[:SHOWN])}")


def planned(reader: Consumer, span: Span, config: Settings) -> Plan:
    """The facts of a span, in the order of their partitions."""
    refused = {letter.id for letter in dead_letters.read(config)}
    plan, found, streams = Plan(), [], Counter[str]()
    for message in clients.read_whole(reader, _places(config, topics.FACT_TOPICS)):
        if f"{message.topic()}/{message.partition()}/{message.offset()}" in refused:
            plan.refused_before += 1
            continue
        try:
            fact = decode_head(message.value() or b"")
        except msgspec.MsgspecError:  # nobody has judged it yet
            plan.refused_before += 1
            continue
        recorded_ms = to_ms(fact.recorded_at)
        streams[fact.sku] = max(streams[fact.sku], recorded_ms)
        if span.holds(fact, recorded_ms):
            time_ms = to_ms(fact.as_of or fact.occurred_at)
            found.append((time_ms, Outgoing(message.topic(), fact.sku, message.value(), recorded_ms, 0)))
    for time_ms, line in found:
        if line.topic != topics.RESERVATIONS.name and time_ms < streams[line.key] - config.horizons.journal_ms:
            plan.too_old += 1
        else:
            plan.facts.append(line)
    return plan


def _replayed(reader: Consumer, plan: Plan, config: Settings) -> Effects:
    known = admin.partition_counts(admin.client(config.admin()), config.bootstrap)
    watched = {name: topic for name, topic in WATCHED.items() if topic.name in known}
    begin = clients.ends(reader, _places(config, (*watched.values(), *topics.FACT_TOPICS)))
    _await(reader, produce(plan.facts, config))
    with clients.consumer(config.admin(), group=clients.REGION_GROUP) as regions:
        partials = clients.ends(regions, _places(config, (topics.REGION_PARTIALS,)))
        _await(regions, {place: end for place, end in partials.items() if end})
    return _effects(reader, plan, begin, watched)


def _await(reader: Consumer, ends: dict[Place, int]) -> None:
    """Return once the reader's group has committed these offsets."""
    left, moved_s = -1, time.monotonic()
    while ends:
        done = clients.committed(reader, ends)
        now_left = sum(max(0, end - done[place]) for place, end in ends.items())
        if not now_left:
            return
        if now_left != left:
            left, moved_s = now_left, time.monotonic()
        if time.monotonic() - moved_s > STALLED_S:
            raise CommandError(f"{left} records wait and nothing moved for {STALLED_S:.0f} s; see `atp status`")
        time.sleep(LOOK_S)


def _effects(reader: Consumer, plan: Plan, begin: dict[Place, int], watched: dict[str, topics.Topic]) -> Effects:
    """What lies on the watched topics since, without the SKUs of which others sent facts as well."""
    fact_places = [place for place in begin if place[0] in {topic.name for topic in topics.FACT_TOPICS}]
    sent = Counter(line.key for line in plan.facts)
    came = Counter(_text(message.key()) for message in clients.read_whole(reader, fact_places, begin))
    live = came - sent
    names = {topic.name: name for name, topic in watched.items()}
    counts, keys = dict.fromkeys(watched, 0), []
    for message in clients.read_whole(reader, [place for place in begin if place[0] in names], begin):
        key, name = _text(message.key()), names[message.topic()]
        if name == "republished" and (key.rpartition("|")[0] in live or key.rpartition("|")[0] not in sent):
            continue
        counts[name] += 1
        keys.append(f"{message.topic()} {key}")
    return Effects(counts, sorted(set(keys)), len(live))


def _text(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")


def _places(config: Settings, wanted: tuple[topics.Topic, ...]) -> list[Place]:
    return [(topic.name, p) for topic in wanted for p in range(admin.partitions_of(topic, config.partitions))]


def _say(span: Span, plan: Plan, effects: Effects | None, as_json: bool, out: IO[str]) -> None:
    skus = len({line.key for line in plan.facts})
    said: dict[str, Any] = {
        "since": rfc3339(span.since_ms), "until": rfc3339(span.until_ms), "facts": len(plan.facts), "skus": skus,
        "refused_before": plan.refused_before, "too_old": plan.too_old, "sent": effects is not None,
    }  # fmt: skip
    if effects:
        said |= {"effects": effects.counts, "changed": effects.keys, "live_skus": effects.live_skus}
    if as_json:
        out.write(msgspec.json.encode(said).decode() + "\n")
        return
    done = "sent again" if effects else "would be sent again"
    out.write(
        f"{len(plan.facts)} facts of {skus} SKUs {done}; not sent: {plan.refused_before} refused before, "
        f"{plan.too_old} too old\n"
    )
    if effects:
        out.writelines(f"{name.replace('_', ' '):<14}{count}\n" for name, count in effects.counts.items())
        out.write(f"{effects.live_skus} SKUs had other facts meanwhile and are left out of account\n")

"""Records of any origin → what the ledger needs: the facts of each SKU, control totals, and what was refused."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from atp import topics
from atp.domain.daily_ledger import Facts
from atp.domain.decoding import decode
from atp.domain.facts import CORRECTIONS_TOPIC, FACT_TYPES, Fact, Instant, Reservation
from atp.domain.fold import World
from atp.domain.freshness import HeartbeatError, parse_heartbeat
from atp.domain.intake import Admitted, Horizons, SkuHead, admit, line_key, misplaced
from atp.domain.ledger_book import posting_of
from atp.domain.ledger_close import ControlTotals
from atp.domain.ledger_demand import demand_version
from atp.domain.refusals import Reason, Refusal
from atp.domain.rows import MemoryMarks, MemoryRows
from atp.domain.times import LATEST_NOW_MS, rfc3339, to_ms
from atp.domain.totals import units_of

LEDGER_TOPICS = frozenset({*FACT_TYPES, CORRECTIONS_TOPIC})


class Record(NamedTuple):
    """A record of a topic, wherever it was read.

    `log`: the topic of a file, or the partition of a broker, that orders it; `following`: the offset after it there.
    """

    topic: str
    key: str | None
    value: bytes | None
    log: str
    following: int


class Missed(msgspec.Struct):
    """A fact that the ledger does not hold: too late for its date, too old for the state, or refused."""

    event_id: str
    sku: str
    region: str
    reason: str
    time_ms: int
    recorded_ms: int


class Gathered(msgspec.Struct):
    """Everything that was read."""

    world: World
    horizons: Horizons
    facts: dict[str, Facts]
    totals: ControlTotals
    refused: list[Missed]
    inputs: dict[str, int]  # by log, the offset after the last record
    first_ms: int = LATEST_NOW_MS
    last_ms: int = 0


def gather(records: Iterable[Record], world: World, close_ms: int) -> Gathered:
    """Admit every fact in log order; keep those recorded by the close. The world holds for all of them."""
    found = Gathered(world, world.policies.horizons(), {}, ControlTotals(), [], {})
    judge = _Judge(found, close_ms)
    for record in records:
        found.inputs[record.log] = max(record.following, found.inputs.get(record.log, 0))
        if record.topic in LEDGER_TOPICS:
            judge.take(record)
        elif record.topic == topics.HEARTBEATS.name:
            _hear(record.value, found.totals, close_ms)
    return found


class _Sent(msgspec.Struct):
    """When a heartbeat was recorded, if its source says so."""

    recorded_at: Instant | None = None


_sent = msgspec.json.Decoder(_Sent).decode


def _hear(value: bytes | None, totals: ControlTotals, close_ms: int) -> None:
    """Take a heartbeat, unless it says that it came after the close."""
    with suppress(HeartbeatError, msgspec.MsgspecError, ValueError):
        sent = _sent(value or b"null").recorded_at
        if sent is None or to_ms(sent) <= close_ms:
            totals.hear(parse_heartbeat(msgspec.json.decode(value or b"null")))


class _Judge:
    """Admits facts as the worker does, and keeps what the ledger needs of them."""

    def __init__(self, found: Gathered, close_ms: int) -> None:
        self._found, self._close_ms = found, close_ms
        self._heads: MemoryRows[SkuHead] = MemoryRows()
        self._marks = MemoryMarks()

    def take(self, record: Record) -> None:
        """Judge one record."""
        fact = decode(record.topic, record.value)
        if isinstance(fact, Refusal):
            self._found.refused.append(Missed("", record.key or "", "", fact.reason, 0, 0))
            return
        outcome: object = misplaced(fact, record.key) if record.key is not None else None
        if outcome is None:
            outcome = admit(fact, self._heads, self._marks, self._found.horizons, LATEST_NOW_MS)
        if isinstance(outcome, Admitted):
            self._keep(outcome, record.topic)
        elif isinstance(outcome, Refusal) and to_ms(fact.recorded_at) <= self._close_ms:
            self._refuse(fact, outcome, record.topic)

    def _keep(self, admitted: Admitted, topic: str) -> None:
        found, fact = self._found, admitted.fact
        if admitted.recorded_ms > self._close_ms:
            return
        region = self._region(fact)
        if topic != CORRECTIONS_TOPIC and region:
            found.totals.count(fact.source, region, topic, admitted.recorded_ms, units_of(fact))
        found.first_ms = min(found.first_ms, admitted.time_ms, admitted.recorded_ms)
        found.last_ms = max(found.last_ms, admitted.time_ms, admitted.recorded_ms)
        facts = found.facts.get(fact.sku)
        if facts is None:
            facts = found.facts[fact.sku] = Facts(fact.sku, [], {})
        if isinstance(fact, Reservation):
            versions = facts.demand.setdefault(line_key(fact.reservation_id, fact.line), [])
            versions.append(demand_version(admitted))
        else:
            facts.postings.append(posting_of(admitted))

    def _refuse(self, fact: Fact, refusal: Refusal, topic: str) -> None:
        """A fact that came and was refused did come: its source's totals are met, and it is named."""
        region, recorded_ms = self._region(fact), to_ms(fact.recorded_at)
        if region and refusal.reason in (Reason.TOO_OLD, Reason.FUTURE):
            self._found.totals.count(fact.source, region, topic, recorded_ms, units_of(fact))
        missed = Missed(fact.event_id, fact.sku, region, refusal.reason, to_ms(fact.occurred_at), recorded_ms)
        self._found.refused.append(missed)

    def _region(self, fact: Fact) -> str:
        if isinstance(fact, Reservation):
            return fact.region
        node = self._found.world.nodes.get(fact.node or "")
        return node.region if node is not None else fact.region or ""


def described(missed: Missed) -> dict[str, str]:
    """A missed fact as a manifest names it."""
    return {
        "event_id": missed.event_id,
        "sku": missed.sku,
        "reason": missed.reason,
        "occurred_at": rfc3339(missed.time_ms),
        "recorded_at": rfc3339(missed.recorded_ms),
    }

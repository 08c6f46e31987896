"""The outbox of the retail replay: facts of many documents, put in order of `recorded_at` and numbered.

A document renders all its facts at once, days ahead of some; they wait here in the hour in which they are
recorded. An hour is sent when no later document can add to it, with heartbeats before it.

Units in control totals: of a count Σ quantities, of an adjustment its delta (signed), of a move, parcel or return
its quantity, of a reservation `requested`, of a receipt `expected`, of a damage `reported`; of each fact, whatever
its version. The hour of a total is the start of an hour of recorded_at.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator

import msgspec

from atp.domain.facts import DAMAGES_TOPIC, RECEIPTS_TOPIC, RESERVATIONS_TOPIC, STOCK_TOPIC
from atp.domain.times import HOUR_MS
from atp.sources.retail_time import MAX_DELAY_MS, wire_time
from atp.sources.retail_world import HEARTBEATS_TOPIC, REGIONS, SOURCES

# topic, key, value, recorded_at in epoch milliseconds
Record = tuple[str, bytes, bytes, int]
# recorded_at, tie-breaker, stream, type, units, key, value without its last field
_Waiting = tuple[int, int, int, str, int, bytes, str]
TOTALS_HOURS = 48
_TOPICS = {
    "stock": STOCK_TOPIC,
    "reservation": RESERVATIONS_TOPIC,
    "receipt": RECEIPTS_TOPIC,
    "damage": DAMAGES_TOPIC,
}
_encode = msgspec.json.Encoder().encode


class _TopicOfType(dict[str, str]):
    """`stock.shipped` → `inventory.stock.v1`, remembered."""

    def __missing__(self, kind: str) -> str:
        topic = self[kind] = _TOPICS[kind.partition(".")[0]]
        return topic


def stream_of(source: str, region: str) -> int:
    """The number of a (source, region): each has its own `source_seq`."""
    return SOURCES.index(source) * len(REGIONS) + REGIONS.index(region)


STREAMS = {(source, region): stream_of(source, region) for source in SOURCES for region in REGIONS}


class Outbox:
    """Facts that wait for their hour. Counts what it sends, by type."""

    def __init__(self, start_ms: int, heartbeats: bool = True) -> None:
        self.sent: Counter[str] = Counter()
        self._topic_of = _TopicOfType()
        self._hours: defaultdict[int, list[_Waiting]] = defaultdict(list)
        self._hour = start_ms // HOUR_MS
        self._serial = 0
        self._heartbeats = heartbeats
        self._sequences = [0] * len(STREAMS)
        self._totals: list[deque[tuple[str, dict[str, list[int]]]]] = [deque(maxlen=TOTALS_HOURS) for _ in STREAMS]

    def add(self, recorded_ms: int, stream: int, kind: str, units: int, key: bytes, body: str) -> None:
        """Let a fact wait; `body` is its JSON object without `source_seq` and the closing brace."""
        self._serial += 1
        self._hours[recorded_ms // HOUR_MS].append((recorded_ms, self._serial, stream, kind, units, key, body))

    def send_until(self, until_ms: int) -> Iterator[Record]:
        """Everything recorded in the hours before the one of `until_ms`."""
        while self._hour < until_ms // HOUR_MS:
            yield from self._send_hour()

    def send_rest(self) -> Iterator[Record]:
        """Everything that still waits, and a last round of heartbeats."""
        while self._hours:
            yield from self._send_hour()
        yield from self._beat()

    def _send_hour(self) -> Iterator[Record]:
        yield from self._beat()
        waiting = self._hours.pop(self._hour, [])
        waiting.sort()
        hour_totals: defaultdict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
        sequences, sent, topic_of = self._sequences, self.sent, self._topic_of
        for recorded_ms, _, stream, kind, units, key, body in waiting:
            number = sequences[stream] = sequences[stream] + 1
            topic = topic_of[kind]
            total = hour_totals[stream, topic]
            total[0] += 1
            total[1] += units
            sent[kind] += 1
            yield topic, key, f'{body},"source_seq":{number}}}'.encode(), recorded_ms
        self._close_hour(hour_totals)

    def _close_hour(self, hour_totals: dict[tuple[int, str], list[int]]) -> None:
        by_stream: defaultdict[int, dict[str, list[int]]] = defaultdict(dict)
        for (stream, topic), total in hour_totals.items():
            by_stream[stream][topic] = total
        hour = wire_time(self._hour * HOUR_MS)
        for stream, totals in enumerate(self._totals):
            totals.append((hour, by_stream.get(stream, {})))
        self._hour += 1

    def _beat(self) -> Iterator[Record]:
        """A heartbeat of every source and region, at the start of the hour."""
        if not self._heartbeats:
            return
        now_ms = self._hour * HOUR_MS
        for (source, region), stream in STREAMS.items():
            self.sent["source.alive"] += 1
            value = _encode(
                {
                    "type": "source.alive",
                    "schema_version": "1.0",
                    "source": source,
                    "region": region,
                    "recorded_at": wire_time(now_ms),
                    "watermark": wire_time(now_ms - MAX_DELAY_MS),
                    "totals": self._totals_of(stream),
                }
            )
            yield HEARTBEATS_TOPIC, f"{source}|{region}".encode(), value, now_ms

    def _totals_of(self, stream: int) -> dict[str, dict[str, list[int]]]:
        """{topic: {hour: [facts, units]}} of the full hours of recorded_at; hours without facts are left out."""
        found: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
        for hour, topics in self._totals[stream]:
            for topic, total in topics.items():
                found[topic][hour] = total
        return found

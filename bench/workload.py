"""The benchmark's inputs: a simulated day of valid facts, the same bytes for the same seed.

SKUs are drawn from a Zipf distribution; two regions with two nodes each. Documents live as FACTS.md says:
a reservation is placed, confirmed, allocated and shipped (with the WMS's own ship fact beside it) or expires,
is cancelled or released; a receipt runs from plan to put-away; damages are reported, reversed, written off.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from atp.domain.facts import DAMAGES_TOPIC, RECEIPTS_TOPIC, RESERVATIONS_TOPIC, STOCK_TOPIC

REGIONS = (b"uk", b"de")
REGION_WEIGHTS = (60, 40)
NODES = ((b"uk-dc1", b"uk-dc2"), (b"de-dc1", b"de-dc2"))
CHANNELS = (b"web", b"app", b"store", b"marketplace")
DAY_MS = 24 * 3600 * 1000
END_MS = int(datetime(2026, 3, 2, 22, tzinfo=UTC).timestamp() * 1000)
MAX_LAG_MS = 3000
FIRST_COUNT = 1000

# New facts per draw; what they entail later (confirmations, ships …) makes the mix 45/45/7/3.
DRAWS = (
    ("placed", 265),
    ("adjusted", 240),
    ("moved", 240),
    ("returned", 160),
    ("counted", 20),
    ("planned", 28),
    ("damaged", 40),
)
CONFIRM_MS, SOFT_TTL_MS, ALLOCATE_MS, SHIP_MS = 300_000, 900_000, 1_200_000, 2_400_000
RECEIPT_STEP_MS = 1_800_000
DAMAGE_STEP_MS = 3_600_000

HEAD = (
    b'{"event_id":"%s-%d","type":"%s","schema_version":"1.0","source":"%s","sku":"%s",'
    b'"occurred_at":"%s","recorded_at":"%s",'
)
RESERVATION = (
    b'"region":"%s","reservation_id":"R%d","line":1,"version":%d,"channel":"%s","state":"%s",'
    b'"requested":%d,"open":%d,"consumed":%d,"released":%d%s}'
)
RECEIPT = (
    b'"node":"%s","receipt_id":"P%d","line":1,"version":%d,"stage":"%s",'
    b'"expected":%d,"received":%d,"put_away":%d,"held":%d,"eta":"%s"}'
)
DAMAGE = (
    b'"node":"%s","damage_id":"D%d","version":%d,"from_state":"sellable","to_state":"damaged",'
    b'"reported":%d,"reversed":%d,"written_off":%d}'
)
RECEIPT_STEPS = (
    (b"receipt.confirmed", b"CONFIRMED"),
    (b"receipt.shipped", b"IN_TRANSIT"),
    (b"receipt.arrived", b"ARRIVED"),
    (b"receipt.received", b"RECEIVED"),
    (b"receipt.put_away", b"PUT_AWAY"),
)


class Record(NamedTuple):
    """One fact ready to send; `sku` is the index into `Workload.skus`."""

    topic: str
    sku: int
    recorded_ms: int
    value: bytes


class Line:
    """A document line under way."""

    __slots__ = ("channel", "node", "number", "quantity", "region", "sku", "step", "version")

    def __init__(self, number: int, sku: int, region: int, node: int, quantity: int) -> None:
        self.number, self.sku, self.region, self.node, self.quantity = number, sku, region, node, quantity
        self.version, self.channel, self.step = 1, number & 3, 0


class Workload:
    """An endless iterator of facts; a second loop goes on where the first one ended.

    Args:
        count: facts in the simulated day; it sets how fast time advances.
        seed: same seed, same bytes.
        skus, skew: how many SKUs, and the Zipf exponent.
        prefix: distinguishes the event ids of several workloads.
    """

    def __init__(self, count: int, seed: int = 1, skus: int = 10_000, skew: float = 1.1, prefix: str = "e") -> None:
        self.skus = [b"%05dA" % (10_000 + index) for index in range(skus)]
        self._random = random.Random(seed)
        self._weights = _weights(skus, skew)
        self._prefix = prefix.encode()
        self._start_ms, self._count, self._made = END_MS - DAY_MS, count, 0
        lags = max(1, min(64, MAX_LAG_MS * count // DAY_MS))
        self._recent = [_rfc3339(self._start_ms)] * lags
        self._now_ms, self._second, self._second_text = self._start_ms, -1, b""
        self._due: list[tuple[int, int, Callable[[Line], list[Record]], Line]] = []
        self._numbers = itertools.count(1)
        self._stock: dict[tuple[int, bytes], list[int]] = {}  # sellable, qc_hold, return_hold

        self._facts = self._generate()

    def __iter__(self) -> Iterator[Record]:
        return self._facts

    def opening(self) -> Iterator[Record]:
        """A count of every SKU in every region: read to its end before the first draw, all keys are live."""
        for sku in range(len(self.skus)):
            for nodes in NODES:
                for node in nodes:
                    self._stock[sku, node] = [FIRST_COUNT, 0, 0]
                yield from self._count_node(sku, nodes[0])

    def draw_by(self, skew: float) -> None:
        """Another Zipf exponent from the next ten thousand draws on."""
        self._weights = _weights(len(self.skus), skew)

    def _generate(self) -> Iterator[Record]:
        draws = [getattr(self, f"_{name}") for name, weight in DRAWS for _ in range(weight)]
        choose, choices = self._random.choice, self._random.choices
        while True:
            skus = choices(range(len(self.skus)), cum_weights=self._weights, k=10_000)
            for sku in skus:
                while self._due and self._due[0][0] <= self._now_ms:
                    _, _, step, line = heapq.heappop(self._due)
                    yield from step(line)
                region = self._random.random() * 100 >= REGION_WEIGHTS[0]
                node = self._made & 1
                if (sku, NODES[region][node]) not in self._stock:
                    yield from self._first_counts(sku)
                yield from choose(draws)(sku, region, node)

    # --- time and envelope -------------------------------------------------------------------------------

    def _head(self, kind: bytes, source: bytes, sku: int, lagging: bool = True) -> bytes:
        """The envelope of the next fact; moves time on by one fact."""
        self._made += 1
        made = self._made
        self._now_ms = now = self._start_ms + made * DAY_MS // self._count
        second, milliseconds = divmod(now, 1000)
        if second != self._second:
            self._second, self._second_text = second, _rfc3339(now)[:20]
        recorded = b"%s%03dZ" % (self._second_text, milliseconds)
        recent = self._recent
        recent[made % len(recent)] = recorded
        occurred = recent[(made * 7) % len(recent)] if lagging else recorded
        return HEAD % (self._prefix, made, kind, source, self.skus[sku], occurred, recorded)

    def _record(self, topic: str, sku: int, value: bytes) -> Record:
        return Record(topic, sku, self._now_ms, value)

    def _later(self, delay_ms: int, step: Callable[[Line], list[Record]], line: Line) -> None:
        heapq.heappush(self._due, (self._now_ms + delay_ms, self._made, step, line))

    # --- stock -------------------------------------------------------------------------------------------

    def _stock_record(self, kind: bytes, sku: int, body: bytes, source: bytes = b"wms") -> list[Record]:
        return [self._record(STOCK_TOPIC, sku, self._head(kind, source, sku) + body)]

    def _first_counts(self, sku: int) -> list[Record]:
        records = []
        for nodes in NODES:
            for node in nodes:
                self._stock[sku, node] = [FIRST_COUNT, 0, 0]
                records += self._count_node(sku, node)
        return records

    def _count_node(self, sku: int, node: bytes) -> list[Record]:
        head = self._head(b"stock.counted", b"ims", sku, lagging=False)
        sellable, qc_hold, return_hold = self._stock[sku, node]
        as_of = b"%s%03dZ" % (self._second_text, self._now_ms % 1000)
        body = b'"node":"%s","as_of":"%s","quantities":{"sellable":%d,"qc_hold":%d,"return_hold":%d}}'
        return [self._record(STOCK_TOPIC, sku, head + body % (node, as_of, sellable, qc_hold, return_hold))]

    def _counted(self, sku: int, region: int, node: int) -> list[Record]:
        return self._count_node(sku, NODES[region][node])

    def _adjusted(self, sku: int, region: int, node: int) -> list[Record]:
        place = NODES[region][node]
        stock = self._stock[sku, place]
        delta = 1 + self._made % 3 if self._made & 4 or stock[0] < 10 else -1 - self._made % 3
        stock[0] += delta
        body = b'"node":"%s","state":"sellable","delta":%d,"reason":"cycle"}' % (place, delta)
        return self._stock_record(b"stock.adjusted", sku, body, b"ims")

    def _moved(self, sku: int, region: int, node: int) -> list[Record]:
        place = NODES[region][node]
        stock = self._stock[sku, place]
        if stock[2]:
            source, target, quantity = b"return_hold", b"sellable", stock[2]
            stock[2], stock[0] = 0, stock[0] + quantity
        elif stock[1]:
            source, target, quantity = b"qc_hold", b"sellable", stock[1]
            stock[1], stock[0] = 0, stock[0] + quantity
        else:
            source, target, quantity = b"sellable", b"qc_hold", 1 + self._made % 3
            stock[0], stock[1] = stock[0] - quantity, quantity
        body = b'"node":"%s","from_state":"%s","to_state":"%s","quantity":%d,"reason":"inspection"}'
        return self._stock_record(b"stock.moved", sku, body % (place, source, target, quantity))

    def _returned(self, sku: int, region: int, node: int) -> list[Record]:
        place, quantity = NODES[region][node], 1 + self._made % 2
        self._stock[sku, place][2] += quantity
        body = b'"node":"%s","quantity":%d,"order_id":"O%d"}' % (place, quantity, self._made)
        return self._stock_record(b"stock.returned", sku, body)

    # --- reservations ------------------------------------------------------------------------------------

    def _reservation(
        self, line: Line, kind: bytes, state: bytes, opened: int, consumed: int, extra: bytes = b""
    ) -> Record:
        released = line.quantity - opened - consumed
        body = RESERVATION % (
            REGIONS[line.region], line.number, line.version, CHANNELS[line.channel], state,
            line.quantity, opened, consumed, released, extra,
        )  # fmt: skip
        line.version += 1
        return self._record(RESERVATIONS_TOPIC, line.sku, self._head(kind, b"oms", line.sku) + body)

    def _placed(self, sku: int, region: int, node: int) -> list[Record]:
        line = Line(next(self._numbers), sku, region, node, 1 + self._made % 4)
        luck = self._random.random()
        if luck < 0.05:
            self._later(SOFT_TTL_MS, self._expired, line)
        elif luck < 0.10:
            self._later(CONFIRM_MS, self._cancelled, line)
        else:
            self._later(CONFIRM_MS, self._confirmed, line)
        extra = b',"expires_at":"%s"' % _rfc3339(self._now_ms + SOFT_TTL_MS)
        return [self._reservation(line, b"reservation.placed", b"SOFT", line.quantity, 0, extra)]

    def _expired(self, line: Line) -> list[Record]:
        return [self._reservation(line, b"reservation.expired", b"CLOSED", 0, 0)]

    def _cancelled(self, line: Line) -> list[Record]:
        return [self._reservation(line, b"reservation.cancelled", b"CLOSED", 0, 0)]

    def _confirmed(self, line: Line) -> list[Record]:
        self._later(ALLOCATE_MS, self._cancelled if line.number % 12 == 0 else self._allocated, line)
        return [self._reservation(line, b"reservation.confirmed", b"FIRM", line.quantity, 0)]

    def _allocated(self, line: Line) -> list[Record]:
        self._later(SHIP_MS, self._released if line.number % 20 == 1 else self._shipped, line)
        extra = b',"node":"%s"' % NODES[line.region][line.node]
        return [self._reservation(line, b"reservation.allocated", b"ALLOCATED", line.quantity, 0, extra)]

    def _released(self, line: Line) -> list[Record]:
        return [self._reservation(line, b"reservation.released", b"CLOSED", 0, 0)]

    def _shipped(self, line: Line) -> list[Record]:
        """What left the node, said by the WMS (stock) and by the OMS (the line)."""
        place = NODES[line.region][line.node]
        self._stock[line.sku, place][0] -= line.quantity
        body = b'"node":"%s","quantity":%d,"reservation_id":"R%d","line":1}' % (
            place,
            line.quantity,
            line.number,
        )
        records = self._stock_record(b"stock.shipped", line.sku, body)
        extra = b',"node":"%s"' % place
        records.append(self._reservation(line, b"reservation.shipped", b"CLOSED", 0, line.quantity, extra))
        return records

    # --- receipts and damages ----------------------------------------------------------------------------

    def _receipt(self, line: Line, kind: bytes, stage: bytes) -> list[Record]:
        received = line.quantity if stage in (b"RECEIVED", b"PUT_AWAY") else 0
        put_away = line.quantity if stage == b"PUT_AWAY" else 0
        place = NODES[line.region][line.node]
        self._stock[line.sku, place][0] += put_away
        eta = self._second_text[:10] or _rfc3339(self._now_ms)[:10]
        body = RECEIPT % (place, line.number, line.version, stage, line.quantity, received, put_away, 0, eta)
        line.version += 1
        return [self._record(RECEIPTS_TOPIC, line.sku, self._head(kind, b"purchasing", line.sku) + body)]

    def _planned(self, sku: int, region: int, node: int) -> list[Record]:
        line = Line(next(self._numbers), sku, region, node, 24 + self._made % 25)
        self._later(RECEIPT_STEP_MS, self._receipt_step, line)
        return self._receipt(line, b"receipt.planned", b"PLANNED")

    def _receipt_step(self, line: Line) -> list[Record]:
        kind, stage = RECEIPT_STEPS[line.step]
        line.step += 1
        if line.step < len(RECEIPT_STEPS):
            self._later(RECEIPT_STEP_MS, self._receipt_step, line)
        return self._receipt(line, kind, stage)

    def _damage(self, line: Line, kind: bytes, reversed_: int, written_off: int) -> list[Record]:
        place = NODES[line.region][line.node]
        body = DAMAGE % (place, line.number, line.version, line.quantity, reversed_, written_off)
        line.version += 1
        return [self._record(DAMAGES_TOPIC, line.sku, self._head(kind, b"wms", line.sku) + body)]

    def _damaged(self, sku: int, region: int, node: int) -> list[Record]:
        line = Line(next(self._numbers), sku, region, node, 1 + self._made % 3)
        self._stock[sku, NODES[region][node]][0] -= line.quantity
        if line.number % 3:
            self._later(DAMAGE_STEP_MS, self._damage_end, line)
        return self._damage(line, b"damage.reported", 0, 0)

    def _damage_end(self, line: Line) -> list[Record]:
        if line.number % 3 == 1:
            return self._damage(line, b"damage.written_off", 0, line.quantity)
        self._stock[line.sku, NODES[line.region][line.node]][0] += line.quantity
        return self._damage(line, b"damage.reversed", line.quantity, 0)


def _weights(skus: int, skew: float) -> list[float]:
    return list(itertools.accumulate(1 / rank**skew for rank in range(1, skus + 1)))


def _rfc3339(instant_ms: int) -> bytes:
    text = datetime.fromtimestamp(instant_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return b"%s.%03dZ" % (text.encode(), instant_ms % 1000)

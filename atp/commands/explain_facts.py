"""The facts of one SKU, folded one by one, and what became of each: the memory of `atp explain`."""

from __future__ import annotations

import msgspec

from atp.domain import damages, receipts, reservations, stock
from atp.domain.documents import tag_of
from atp.domain.facts import Damage, Fact, Receipt, Reservation, StockCounted
from atp.domain.fold import State
from atp.domain.intake import Admitted, Duplicate, Horizons, Place, admit, line_key, misplaced
from atp.domain.journal import Entry
from atp.domain.refusals import Refusal
from atp.domain.routing import stages_of
from atp.domain.stock import STATES, NodeStock, Note, Standing, StockCount, StockEffect
from atp.domain.times import rfc3339
from atp.lane.keys import partition_of

DUPLICATE, REFUSED, BASELINE, REPLACED = "DUPLICATE", "REFUSED", "BASELINE", "REPLACED"
IN_DOUBT, OPEN, CLOSED, EXPIRED, DOCUMENT = "IN_DOUBT", "OPEN", "CLOSED", "EXPIRED", "DOCUMENT"


class Explained(msgspec.Struct, omit_defaults=True):
    """A fact and what became of it. `at`: line of the file, or partition:offset."""

    event_id: str
    type: str
    topic: str
    at: str
    time: str
    status: str
    node: str | None = None
    region: str | None = None
    why: str | None = None
    effects: dict[str, int] = {}
    document: str | None = None


class Owner(msgspec.Struct, frozen=True):
    """The partition that facts were read from."""

    partition: int
    partitions: int

    def owns(self, key: str, /) -> bool:
        """Whether a key belongs here."""
        return partition_of(key, self.partitions) == self.partition


class Ledger:
    """Folds the facts of one SKU and remembers which fact did what."""

    def __init__(self, sku: str, horizons: Horizons, now_ms: int, owner: Place | None = None) -> None:
        self.sku, self.horizons, self.now_ms = sku, horizons, now_ms
        self.state = State.in_memory()
        self.facts: list[Explained] = []
        self._owner = owner
        # journal tag and node → the entry that the journal holds, and whose it is
        self._entries: dict[tuple[int, str], tuple[Entry, Explained]] = {}
        self._plain = 0
        self._by_tag: dict[int, Explained] = {}
        self._counts: dict[tuple[str, stock.Order], Explained] = {}
        self._lines: dict[str, list[tuple[int, Explained]]] = {}

    def take(self, topic: str, at: str, key: str | None, fact: Fact | Refusal, event_id: str = "") -> None:
        """Fold one record."""
        if isinstance(fact, Refusal):
            self.facts.append(_refused(topic, at, event_id, "", fact))
            return
        outcome = misplaced(fact, fact.sku if key is None else key, self._owner)
        judged = outcome or admit(fact, self.state.heads, self.state.marks, self.horizons, self.now_ms)
        if isinstance(judged, Refusal):
            self.facts.append(_refused(topic, at, fact.event_id, _type(fact), judged))
            return
        found = _explained(fact, topic, at)
        self.facts.append(found)
        if isinstance(judged, Duplicate):
            found.status, found.why = DUPLICATE, "came before with the same body"
        else:
            self._transition(judged, found)

    def _transition(self, admitted: Admitted, found: Explained) -> None:
        for stage in stages_of(admitted):
            match stage:
                case "receipts":
                    effects, _ = receipts.apply(admitted, self.state.receipts, self.horizons)
                    self._document(effects, admitted, found)
                case "damages":
                    self._document(damages.apply(admitted, self.state.damages, self.horizons), admitted, found)
                case "stock":
                    self._stock(stock.effect_of(admitted), found)
                case "reservations":
                    reservations.apply(admitted, self.state.reservations, self.horizons)
                    self._line(admitted.fact, found)

    def _document(self, effects: list[StockEffect], admitted: Admitted, found: Explained) -> None:
        fact = admitted.fact
        assert isinstance(fact, Receipt | Damage)
        if isinstance(fact, Receipt):
            name = f"r\x1f{line_key(fact.receipt_id, fact.line)}"
            found.document = f"{fact.receipt_id}/{fact.line} v{fact.version} {fact.stage.value}"
        else:
            name, found.document = f"d\x1f{fact.damage_id}", f"{fact.damage_id} v{fact.version}"
        self._by_tag[tag_of(name, fact.version)] = found
        found.status = DOCUMENT
        for effect in effects:
            self._stock(effect, self._by_tag.get(effect.tag, found))

    def _stock(self, effect: StockEffect | StockCount, found: Explained) -> None:
        note = stock.apply(effect, self.state.stock, self.horizons)
        if isinstance(effect, StockCount):
            self._counts[effect.node, effect.order] = found
            found.effects = {STATES[at].value: units for at, units in effect.counted.items()}
            found.status = note.value if note is Note.STALE_SYNC else REPLACED
            return
        self._plain -= 1
        tag = effect.tag or self._plain
        if effect.replaces:
            self._entries.pop((tag, effect.node), None)
        if effect.legs:
            self._entries[tag, effect.node] = ((effect.time_ms, effect.tag, effect.legs), found)

    def _line(self, fact: Fact, found: Explained) -> None:
        if isinstance(fact, Reservation):
            key = line_key(fact.reservation_id, fact.line)
            found.document = f"{fact.reservation_id}/{fact.line} v{fact.version} {fact.state.value}"
            self._lines.setdefault(key, []).append((fact.version, found))

    def close(self) -> None:
        """Say of every fact where it stands now that all are in."""
        nodes = {fact.node for fact in self.facts if fact.node is not None}
        stocks = {node: self.state.stock.nodes.get((self.sku, node)) or NodeStock.empty() for node in nodes}
        for (node, order), found in self._counts.items():
            self._close_count(stocks[node], order, found)
        for (_, node), (entry, found) in self._entries.items():
            self._close_effect(stocks.get(node) or NodeStock.empty(), entry, found)
        for key, versions in self._lines.items():
            self._close_line(key, sorted(versions, key=lambda version: version[0]))

    def _close_count(self, node: NodeStock, order: stock.Order, found: Explained) -> None:
        holds = [STATES[at].value for at, baseline in enumerate(node.baselines) if baseline == order]
        if holds:
            found.status, found.why = BASELINE, f"the latest count of {', '.join(holds)}"
        elif found.status == Note.STALE_SYNC:
            found.why = "older than the count of every state that it names"
        else:
            found.why = "a later count took its place"

    def _close_effect(self, node: NodeStock, entry: Entry, found: Explained) -> None:
        legs = entry[2]
        standings = stock.standings(node, entry, self.horizons.ambiguity_ms)
        for at, units in zip(legs[::2], legs[1::2], strict=True):
            name = STATES[at].value
            found.effects = {**found.effects, name: found.effects.get(name, 0) + units}
        placed = {Standing.PLACED, Standing.IN_DOUBT_TAKEN}
        if any(s in (Standing.IN_DOUBT_TAKEN, Standing.IN_DOUBT_LEFT) for s in standings):
            found.status = IN_DOUBT
        else:
            found.status = Standing.PLACED if placed & set(standings) else Standing.SUPERSEDED
        found.why = _leg_words(legs, standings) if set(standings) != {Standing.PLACED} else None

    def _close_line(self, key: str, versions: list[tuple[int, Explained]]) -> None:
        for version, found in versions[:-1]:
            found.status, found.why = REPLACED, f"version {versions[-1][0]} came after version {version}"
        line = self.state.reservations.lines.get(self.sku, key)
        if line is None or not line.versions:
            return
        top, found = line.versions[-1], versions[-1][1]
        found.effects = {"open": top.open, "consumed": top.consumed, "shipped_by_wms": line.shipped}
        expired = top.expires_ms and self.now_ms >= top.expires_ms
        found.status = CLOSED if top.open == 0 else EXPIRED if expired else OPEN
        if top.expires_ms:
            found.why = f"{'expired' if expired else 'expires'} {rfc3339(top.expires_ms)}"


def _leg_words(legs: tuple[int, ...], standings: list[Standing]) -> str:
    words = {
        Standing.PLACED: "placed",
        Standing.SUPERSEDED: "already seen by the latest count",
        Standing.IN_DOUBT_TAKEN: "too close to the count, taken as after it (the lower outcome)",
        Standing.IN_DOUBT_LEFT: "too close to the count, taken as seen by it (the lower outcome)",
    }
    return "; ".join(f"{STATES[at].value}: {words[s]}" for at, s in zip(legs[::2], standings, strict=True))


def _type(fact: Fact) -> str:
    named = getattr(fact, "type", None)
    return str(named or type(fact).__struct_config__.tag)


def _explained(fact: Fact, topic: str, at: str) -> Explained:
    time = fact.as_of if isinstance(fact, StockCounted) else fact.occurred_at
    stated = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Explained(fact.event_id, _type(fact), topic, at, stated, "PLACED", fact.node, fact.region)


def _refused(topic: str, at: str, event_id: str, kind: str, refusal: Refusal) -> Explained:
    return Explained(event_id, kind, topic, at, "", REFUSED, why=f"{refusal.reason.value}: {refusal.message}")

"""The way from a source to the product: short delays, repeats, and whatever trouble does to a message."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Protocol

from atp.domain.facts import Fact
from atp.domain.times import from_ms
from atp.simulation.agenda import Agenda
from atp.simulation.books import SourceBook
from atp.simulation.chance import Chance
from atp.simulation.plan import MessagePlan


class Readers(Protocol):
    """The product's side of the topics."""

    def take(self, fact: Fact, now_ms: int) -> None: ...
    def take_again(self, fact: Fact, now_ms: int) -> None: ...
    def announce(self, document: dict[str, Any], now_ms: int) -> None: ...


class Detour(Protocol):
    """A trouble of messages: takes a fact out of the ordinary post, or leaves it (False)."""

    def takes(self, fact: Fact, region: str, sent_ms: int) -> bool: ...


class Post:
    """Numbers, counts and delivers facts. `books`: what each source says it has sent, by (source, region)."""

    def __init__(self, plan: MessagePlan, chance: Chance, agenda: Agenda, readers: Readers) -> None:
        self._plan, self._chance, self._agenda, self._readers = plan, chance, agenda, readers
        self.books: defaultdict[tuple[str, str], SourceBook] = defaultdict(SourceBook)
        self.detours: list[Detour] = []
        self.sent = self.repeated = 0

    def send(self, fact: Fact, region: str, sent_ms: int) -> None:
        """A source hands a fact over."""
        self.sent += 1
        if not any(detour.takes(fact, region, sent_ms) for detour in self.detours):
            self.carry(fact, region, sent_ms)

    def say(self, fact: Fact, region: str) -> None:
        """The source has recorded a fact: it bears the next number and stands in the control totals."""
        self.books[fact.source, region].enter(fact)

    def carry(self, fact: Fact, region: str, sent_ms: int) -> None:
        """An ordinary delivery; a few arrive twice."""
        self.say(fact, region)
        at_ms = sent_ms + self._chance.whole(self._plan.delay_ms, fact.event_id, "delay")
        self._agenda.deliver(at_ms, self.hand_over, fact)
        if self._chance.happens(self._plan.repeated_share, fact.event_id, "repeated"):
            self._agenda.deliver(at_ms + 30_000, self._hand_over_again, fact)

    def carry_late(self, fact: Fact, region: str, recorded_ms: int) -> None:
        """A source says only now what happened before: it also records it only now."""
        fact.recorded_at = from_ms(recorded_ms)
        self._agenda.deliver(recorded_ms, self.say, fact, region)
        self._agenda.deliver(recorded_ms + 1000, self.hand_over, fact)

    def carry_again(self, fact: Fact, at_ms: int) -> None:
        """A fact that had already come."""
        self._agenda.deliver(at_ms, self._hand_over_again, fact)

    def hand_over(self, fact: Fact) -> None:
        """The fact arrives."""
        self._readers.take(fact, self._agenda.now_ms)

    def _hand_over_again(self, fact: Fact) -> None:
        self.repeated += 1
        self._readers.take_again(fact, self._agenda.now_ms)

    def announce(self, document: dict[str, Any]) -> None:
        """Merchandising publishes a rule."""
        self._readers.announce(document, self._agenda.now_ms)

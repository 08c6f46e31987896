"""What the admission of facts counts for those who watch: summed while a batch is judged, told once at its end."""

from __future__ import annotations

from collections import Counter

from atp import metrics
from atp.domain.facts import Fact
from atp.domain.intake import Admitted, Duplicate
from atp.domain.nodes import NodeBook
from atp.domain.refusals import Refusal

NEW, DUPLICATE, REFUSED = "new", "duplicate", "refused"


class FactTally:
    """Outcomes by topic. A turn that is dropped and done again counts again: these are signals, not accounts."""

    def __init__(self) -> None:
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._backfilled: Counter[tuple[str, str]] = Counter()
        self._strange: Counter[str] = Counter()

    def count(self, topic: str, fact: Fact, judged: Admitted | Duplicate | Refusal, nodes: NodeBook) -> None:
        """Count a fact that could be decoded."""
        kind = type(judged)
        outcome = (topic, NEW if kind is Admitted else REFUSED if kind is Refusal else DUPLICATE)
        self._outcomes[outcome] += 1
        if fact.backfill:
            self._backfilled[outcome] += 1
        if fact.node is not None and fact.node not in nodes:
            self._strange[topic] += 1

    def tell(self) -> None:
        """Add what was counted to the metrics, and begin anew."""
        for (topic, outcome), count in self._outcomes.items():
            metrics.FACTS.labels(topic, outcome).inc(count)
        for (topic, outcome), count in self._backfilled.items():
            metrics.BACKFILLED_FACTS.labels(topic, outcome).inc(count)
        for topic, count in self._strange.items():
            metrics.STRANGE_FACTS.labels(topic).inc(count)
        for counter in (self._outcomes, self._backfilled, self._strange):
            counter.clear()

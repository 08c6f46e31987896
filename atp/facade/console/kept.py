"""What is kept in memory of the topics that the console shows, and no more than that."""

from __future__ import annotations

from atp import topics
from atp.domain.exceptions import Stage
from atp.facade.console.freshness import behind_s
from atp.facade.documents import Document, Rule, Sample, by_key

SETTLED = (Stage.VERIFIED, Stage.REJECTED)


def unsettled(key: str, document: Document) -> tuple[str, bool]:
    """Exceptions that are still somebody's work."""
    return key, document.get("state") not in SETTLED


def latest_result(_key: str, document: Document) -> tuple[str, bool]:
    """The latest result about a region, source and kind (`atp.domain.results.about`)."""
    return "|".join(str(document.get(name, "")) for name in ("region", "source", "kind")), True


def latest_revision(_key: str, document: Document) -> tuple[str, bool]:
    """Of the ledger's days the latest revision: they come in order, in one partition."""
    return f"{document.get('business_date')}|{document.get('region')}", True


STATES: dict[str, Rule] = {
    topics.MODES.name: by_key,
    topics.FRESHNESS.name: by_key,
    topics.EXCEPTIONS.name: unsettled,
    topics.RESULTS.name: latest_result,
    topics.LEDGER_DAYS.name: latest_revision,
}
EVENTS = (topics.MODE_CHANGES.name, topics.DEAD_LETTERS.name)
COURSES: dict[str, Sample] = {topics.FRESHNESS.name: behind_s}

"""What the console shows, gathered from the view, the documents and the workers; plain values only."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from atp import topics
from atp.commands.dead_letters import Letter, groups
from atp.commands.status import ask, problems
from atp.domain.times import rfc3339
from atp.facade.console import freshness, modes, reconciliation
from atp.facade.console.ledger import LedgerDays
from atp.facade.context import Facade
from atp.facade.health import readiness
from atp.lane import DeadLetter

CHANGES = 20  # latest switches of a mode
WORKER_S = 1.0  # a worker that takes longer is said not to answer


def gather(facade: Facade, days: LedgerDays) -> dict[str, Any]:
    """Everything the page shows. Takes its time with many records or silent workers: run it in a thread."""
    now_ms, shown = time.time_ns() // 1_000_000, facade.shown
    return {
        "now": rfc3339(now_ms),
        "ready": readiness(facade),
        "missing": [topic for topic in topics.BY_NAME if shown.is_missing(topic)],
        "channels": _channels(facade),
        "mode_changes": _mode_changes(facade),
        "freshness": _freshness(facade, now_ms),
        "drift": reconciliation.drift(shown.of(topics.RESULTS.name)),
        "exceptions": reconciliation.exceptions(shown.of(topics.EXCEPTIONS.name)),
        "ledger": days.look(),
        "dead_letters": _dead_letters(facade),
        "workers": _workers(facade),
    }


def _channels(facade: Facade) -> list[dict[str, Any]]:
    records = [held.record for held in list(facade.client.view.records.values())]
    topic = topics.MODES.name
    return modes.rows(
        records, facade.shown.of(topic), lambda key: facade.shown.written_ms(topic, key), facade.answerer
    )


def _mode_changes(facade: Facade) -> list[dict[str, Any]]:
    events = facade.shown.events(topics.MODE_CHANGES.name)[-CHANGES:]
    return [{"at": rfc3339(event.at_ms), **event.value} for event in events[::-1] if isinstance(event.value, dict)]


def _freshness(facade: Facade, now_ms: int) -> list[dict[str, Any]]:
    topic = topics.FRESHNESS.name
    documents = facade.shown.of(topic)
    return freshness.rows(documents, {region: facade.shown.course(topic, region) for region in documents}, now_ms)


def _dead_letters(facade: Facade) -> dict[str, Any]:
    letters = []
    for event in facade.shown.events(topics.DEAD_LETTERS.name):
        try:
            letters.append(Letter(event.at_ms, msgspec.convert(event.value, DeadLetter)))
        except msgspec.ValidationError:
            continue
    return {"latest": len(letters), "groups": groups(letters)}


def _workers(facade: Facade) -> dict[str, Any]:
    """What the workers say, all asked at once, and what is wrong with that."""
    urls = facade.config.worker_urls
    with ThreadPoolExecutor(len(urls)) as pool:
        answers = list(pool.map(lambda url: ask(url, WORKER_S), urls))
    return {
        "workers": [msgspec.to_builtins(answer) for answer in answers],
        "problems": problems(answers, facade.config.partitions),
    }

"""What the console shows, gathered from the view, the documents and the workers; plain values only."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec

from atp import topics
from atp.commands.dead_letters import Letter, groups
from atp.commands.status import ask, problems
from atp.domain.times import rfc3339
from atp.facade.console import freshness, ledger, modes, reconciliation
from atp.facade.console.ledger import LedgerDays
from atp.facade.context import Facade
from atp.facade.health import readiness
from atp.lane import DeadLetter

CHANGES = 20  # latest switches of a mode
SUMS_PAUSE = 20  # times as long as it took
WORKER_S = 1.0  # a worker that takes longer is said not to answer


class Gathering:
    """Gathers the state, part by part; keeps what need not be reckoned with every look."""

    def __init__(self, facade: Facade) -> None:
        self._facade = facade
        self._days = LedgerDays(facade.config.ledger)
        self._sums: modes.Sums = {}
        self._next_sums_s = 0.0

    def gather(self) -> dict[str, Any]:
        """Everything the page shows. Takes its time with many records or silent workers: run it in a thread."""
        now_ms, facade = time.time_ns() // 1_000_000, self._facade
        return {
            "now": rfc3339(now_ms),
            "ready": readiness(facade),
            "missing": [topic for topic in topics.BY_NAME if facade.shown.is_missing(topic)],
            "channels": self._channels(),
            "mode_changes": _mode_changes(facade),
            "freshness": _freshness(facade, now_ms),
            "drift": reconciliation.drift(facade.shown.of(topics.RESULTS.name)),
            "exceptions": reconciliation.exceptions(facade.shown.of(topics.EXCEPTIONS.name)),
            "ledger": self._ledger(),
            "dead_letters": _dead_letters(facade),
            "workers": _workers(facade),
        }

    def _channels(self) -> list[dict[str, Any]]:
        shown, topic = self._facade.shown, topics.MODES.name
        written = partial(shown.written_ms, topic)
        return modes.rows(self._summed(), shown.of(topic), written, self._facade.answerer)

    def _ledger(self) -> dict[str, Any]:
        """As finance closed the days, where its archive is known; else as the worker did."""
        if self._facade.config.ledger is not None:
            return self._days.look()
        return ledger.published(self._facade.shown.of(topics.LEDGER_DAYS.name))

    def _summed(self) -> modes.Sums:
        """Sums over all records; of a million of them seldom enough not to be in the way of look-ups."""
        started_s = time.monotonic()
        if started_s >= self._next_sums_s:
            self._sums = modes.sums_of(held.record for held in list(self._facade.client.view.records.values()))
            now_s = time.monotonic()
            self._next_sums_s = now_s + SUMS_PAUSE * (now_s - started_s)
        return self._sums


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

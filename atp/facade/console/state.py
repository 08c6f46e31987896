"""What the console shows, gathered from the view, the documents and the workers; plain values only."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import msgspec

from atp import topics
from atp.commands.dead_letters import Letter, groups
from atp.commands.status import ask
from atp.domain.freshness import HeartbeatError, parse_heartbeat
from atp.domain.modes import Mode
from atp.domain.times import rfc3339, to_ms
from atp.facade.context import EXCEPTIONS, FRESHNESS, LEDGER, MODE_CHANGES, Facade
from atp.facade.health import readiness
from atp.lane import DeadLetter

HISTORY = 120  # samples of a sparkline
SHOWN = 200  # rows of a list
FRESHNESS_TARGET_S = 300
# Late but consistent, or current but contradicting the system of record: each has a runbook of its own.
KINDS = {
    "STALE_SOURCE": "DELAYED",
    "RESTORING": "DELAYED",
    "DRIFT": "UNTRUSTED",
    "SNAPSHOT_MISSING": "UNTRUSTED",
    "OPERATOR": "OPERATOR",
}


class ConsoleState:
    """Gathers the state; keeps the short history behind the sparklines."""

    def __init__(self, facade: Facade) -> None:
        self._facade = facade
        self._ages_s: dict[str, deque[int]] = {}

    def gather(self) -> dict[str, Any]:
        """Everything the page shows. Takes its time with many records or silent workers: run it in a thread."""
        now_ms = time.time_ns() // 1_000_000
        return {
            "now": rfc3339(now_ms),
            "ready": readiness(self._facade),
            "channels": self._channels(),
            "sources": self._sources(now_ms),
            "freshness": self._documents(FRESHNESS),
            "exceptions": self._documents(EXCEPTIONS),
            "ledger": self._documents(LEDGER),
            "mode_changes": self._events(MODE_CHANGES),
            "dead_letters": self._dead_letters(),
            "workers": [msgspec.to_builtins(ask(url)) for url in self._facade.config.worker_urls],
            "partitions": self._facade.config.partitions,
        }

    def _channels(self) -> list[dict[str, Any]]:
        """Every (region, channel): its mode, why and since when, and what its records come to."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for held in list(self._facade.client.view.records.values()):
            for channel, offer in held.record.channels.items():
                at = (held.record.region, channel)
                row = found.setdefault(at, {"records": 0, "careful": 0, "confident": 0, "conservative": 0})
                row["records"] += 1
                row["careful"] += offer.confidence != "HIGH"
                row["confident"] += offer.confident
                row["conservative"] += offer.conservative
        modes = self._facade.documents.of(topics.MODES.name)
        for key in modes:
            region, _, channel = key.partition("|")
            found.setdefault((region, channel), {"records": 0, "careful": 0, "confident": 0, "conservative": 0})
        return [{**self._mode(r, c, modes.get(f"{r}|{c}")), **found[r, c]} for r, c in sorted(found)]

    def _mode(self, region: str, channel: str, document: dict[str, Any] | None) -> dict[str, Any]:
        key = f"{region}|{channel}"
        routed = self._facade.answerer(region, channel)
        row = {"region": region, "channel": channel, "mode": Mode.CONFIDENT, "cause": "", "kind": "", "since": None}
        if document is None:
            return {**row, "answered_by": routed}
        cause = str(document.get("cause", ""))
        written = self._facade.documents.written_ms(topics.MODES.name, key)
        return {
            **row,
            "mode": document.get("mode", Mode.CONFIDENT),
            "cause": cause,
            "kind": " + ".join(document.get("degradation") or [KINDS.get(cause, "")]),
            "since": document.get("since") or rfc3339(written),
            "runbook": document.get("runbook", ""),
            "answered_by": routed,
        }

    def _sources(self, now_ms: int) -> list[dict[str, Any]]:
        """How far each source says it has come, with its recent history."""
        found = []
        for key, document in sorted(self._facade.documents.of(topics.HEARTBEATS.name).items()):
            try:
                beat = parse_heartbeat(document)
            except HeartbeatError:
                continue
            age_s = max(0, now_ms - to_ms(beat.watermark)) // 1000
            history = self._ages_s.setdefault(key, deque(maxlen=HISTORY))
            history.append(age_s)
            row = {"source": beat.source, "region": beat.region, "watermark": rfc3339(to_ms(beat.watermark))}
            found.append({**row, "age_s": age_s, "target_s": FRESHNESS_TARGET_S, "history": list(history)})
        return found

    def _documents(self, topic: str) -> dict[str, Any]:
        rows = self._facade.documents.of(topic)
        shown = [{"key": key, **row} for key, row in sorted(rows.items(), reverse=True)[:SHOWN]]
        return {
            "topic": topic,
            "missing": self._facade.documents.is_missing(topic),
            "count": len(rows),
            "rows": shown,
        }

    def _events(self, topic: str) -> dict[str, Any]:
        events = self._facade.documents.events(topic)[-20:]
        rows = [{"at": rfc3339(event.at_ms), **event.value} for event in events if isinstance(event.value, dict)]
        return {"topic": topic, "missing": self._facade.documents.is_missing(topic), "rows": rows[::-1]}

    def _dead_letters(self) -> dict[str, Any]:
        letters = []
        for event in self._facade.documents.events(topics.DEAD_LETTERS.name):
            try:
                letters.append(Letter(event.at_ms, msgspec.convert(event.value, DeadLetter)))
            except msgspec.ValidationError:
                continue
        return {"latest": len(letters), "groups": groups(letters)}

"""The catalogue of metrics: name, kind, unit, meaning."""

from __future__ import annotations

from prometheus_client import Counter

DEAD_LETTERS = Counter(
    "atp_dead_letters", "Records refused, by the topic they came from and the reason code.", ["topic", "reason"]
)

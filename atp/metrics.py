"""The catalogue of metrics: name, kind, unit, meaning."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

DEAD_LETTERS = Counter(
    "atp_dead_letters", "Records refused, by the topic they came from and the reason code.", ["topic", "reason"]
)

REQUESTS = Counter(
    "atp_facade_requests", "Requests answered by the façade, by route and status.", ["route", "status"]
)
REQUEST_SECONDS = Histogram(
    "atp_facade_request_seconds",
    "Time to answer a request, by route (s).",
    ["route"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0),
)
SHADOW = Counter(
    "atp_shadow_answers",
    "Look-ups that legacy mart and product both know: agree; over, the mart promises more; under, less.",
    ["region", "channel", "outcome"],
)
VIEW_AGE_SECONDS = Gauge("atp_view_age_seconds", "How long ago the façade's view was last known to be complete (s).")
VIEW_KEYS = Gauge("atp_view_keys", "Records in the façade's view.")
VIEW_LAG = Gauge("atp_view_lag", "Offsets that the façade has not read yet.")

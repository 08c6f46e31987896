"""The catalogue of metrics: name, kind, unit (the last word of a name), labels, meaning. Business signals first."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram


class Scraped(NamedTuple):
    """A metric whose values are asked for when somebody scrapes (`atp/worker_metrics.py`)."""

    name: str
    kind: str  # counter or gauge
    meaning: str
    labels: tuple[str, ...] = ()


PUBLISH_LAG_SECONDS = Histogram(
    "atp_publish_lag_seconds",
    "From the latest recorded_at among a SKU's facts to the publication of its changed record (s).",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)
FRESHNESS_CHECKS = Counter(
    "atp_freshness_checks",
    "Checks every 10 s whether a region's required sources and this worker's tasks are within the freshness target.",
    ["region", "result"],
)
FRESHNESS_LAG = Scraped(
    "atp_freshness_lag_seconds",
    "gauge",
    "From recorded_at to publication (s): the quantile over a region's facts of a source, of one to two hours.",
    ("region", "source", "quantile"),
)
FRESHNESS_BUDGET = Scraped(
    "atp_freshness_budget_left",
    "gauge",
    "Share of the day's allowed bad freshness checks that is left; below 0: overdrawn.",
    ("region",),
)
DEAD_LETTERS = Counter(
    "atp_dead_letters", "Records refused, by the topic they came from and the reason code.", ["topic", "reason"]
)
IMPOSSIBLE_TRANSITIONS = Counter(
    "atp_impossible_transitions",
    "Facts that contradict themselves, their document or an earlier fact, by topic and reason code.",
    ["topic", "reason"],
)
FACTS = Counter("atp_facts", "Decodable facts: new, duplicate or refused.", ["topic", "outcome"])
BACKFILLED_FACTS = Counter(
    "atp_backfilled_facts", "Of them, those that a source calls a back-fill.", ["topic", "outcome"]
)
STRANGE_FACTS = Counter(
    "atp_facts_without_reference", "Of them, those of a node that the reference lacks.", ["topic"]
)
SOURCE_SILENCE_SECONDS = Scraped(
    "atp_source_silence_seconds", "gauge", "Age of a source's watermark (s).", ("source", "region")
)
SOURCE_COMPLETENESS = Scraped(
    "atp_source_completeness_share",
    "gauge",
    "Facts that came, of those that a source's control totals of two days name, 0 to 1.",
    ("source", "region"),
)
MISSING_NUMBERS = Scraped(
    "atp_source_missing_numbers", "gauge", "Numbers of a source's sequence that never came.", ("source", "region")
)
SNAPSHOT_OUTCOME = Scraped(
    "atp_snapshot_outcome",
    "gauge",
    "1 for what the latest snapshot that was due came to.",
    ("region", "source", "kind", "outcome"),
)
SNAPSHOT_AGE = Scraped(
    "atp_snapshot_age_seconds",
    "gauge",
    "Age of the latest snapshot that was compared (s).",
    ("region", "source", "kind"),
)
SNAPSHOT_DIVERGENCE = Scraped(
    "atp_snapshot_divergence_share",
    "gauge",
    "Units on which a source's latest snapshot and this product differ, of all its units, 0 to 1.",
    ("region", "source", "kind"),
)
OVER_PROMISED = Scraped(
    "atp_snapshot_over_promised_units",
    "gauge",
    "Of them, units that this product held too many.",
    ("region", "source", "kind"),
)
EXCEPTIONS_OPEN = Scraped("atp_exceptions_open", "gauge", "Exceptions that wait for somebody.", ("region",))
EXCEPTIONS_OLDEST = Scraped(
    "atp_exceptions_oldest_seconds", "gauge", "Age of the oldest of them; 0 without any (s).", ("region",)
)
CORRECTION_LAG_SECONDS = Histogram(
    "atp_correction_lag_seconds",
    "From the opening of an exception to its correction in the figures (s).",
    ["region"],
    buckets=(10, 60, 300, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600, 48 * 3600),
)
MODE = Scraped("atp_mode", "gauge", "1 for the mode in force.", ("region", "channel", "mode"))
MODE_CAUSE = Scraped(
    "atp_mode_cause", "gauge", "1 for every cause of the mode in force.", ("region", "channel", "cause")
)
DOCUMENTS_REFUSED = Scraped(
    "atp_control_documents_refused", "gauge", "Control documents whose latest version cannot be used.", ("topic",)
)

TASK_STATE = Scraped("atp_task_state", "gauge", "1 for the state of a task.", ("lane", "partition", "state"))
PARTITIONS = Scraped("atp_partitions", "gauge", "Partitions that some worker must serve.", ("lane",))
TASK_LAG = Scraped("atp_task_lag_records", "gauge", "Records not worked off.", ("lane", "partition", "topic"))
COMMIT_AGE = Scraped("atp_task_last_commit_seconds", "gauge", "Since the last commit (s).", ("lane", "partition"))
STORE_FREE = Scraped("atp_store_free_share", "gauge", "Free share of the disk of the local stores, 0 to 1.")
RESTORE_ETA = Scraped("atp_task_restore_eta_seconds", "gauge", "Until state is restored (s).", ("lane", "partition"))
RESTORED = Scraped("atp_task_restored_records", "gauge", "Records restored by this task.", ("lane", "partition"))
TASK_COUNTERS = {
    name: Scraped(f"atp_task_{name}", "counter", f"{meaning}, since the task was created.", ("lane", "partition"))
    for name, meaning in {
        "records": "Facts read",
        "commits": "Commits",
        "outputs": "Records published",
        "errors": "Errors after which the partition was taken over again",
        "takeovers": "Take-overs",
        "fenced": "Times that another producer had taken over",
        "wiped": "Times that the local store was rebuilt from nothing",
    }.items()
}

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


def catalogue() -> list[Scraped]:
    """Every metric of the product, in the order of this file."""
    found: list[Scraped] = []
    for value in list(globals().values()):
        if isinstance(value, Scraped):
            found.append(value)
        elif isinstance(value, dict):
            found += (one for one in value.values() if isinstance(one, Scraped))
        elif isinstance(value, Counter | Gauge | Histogram):
            (family,) = value.describe()
            found.append(Scraped(family.name, family.type, family.documentation, tuple(value._labelnames)))
    return found

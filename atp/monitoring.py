"""Alert rules and the dashboard as files, made from the catalogue of metrics; each alert names its runbook page."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import yaml

from atp import metrics
from atp.domain.policy import Policy
from atp.metrics import Scraped

ALERTS_FILE, DASHBOARD_FILE = "docker/prometheus/alerts.yaml", "docker/grafana/atp.json"
POLICY = Policy()
ACCURACY_SHARE = 0.999  # of facts that are valid and name what the reference has; the accuracy that is promised
BACKLOG_EXCEPTIONS = 100
BACKLOG_S = 4 * 3600


class Alert(NamedTuple):
    """One rule. `severity`: page wakes a person, ticket waits for the morning; `runbook`: stem of the page."""

    name: str
    expression: str
    hold: str
    severity: str
    runbook: str
    summary: str


def burn(windows: tuple[str, str], factor: float) -> str:
    """Bad share of freshness checks over a long and a short window, against the budget times a factor."""
    limit = round(factor * (1 - POLICY.freshness_share), 4)
    return " and ".join(
        f'sum by (region) (rate(atp_freshness_checks_total{{result="bad"}}[{window}]))'
        f" / sum by (region) (rate(atp_freshness_checks_total[{window}])) > {limit}"
        for window in windows
    )


def grown(counter: str, by: str, window: str, above: int) -> str:
    """A counter's increase over a window; one that appeared within it has grown by all that it says."""
    return (
        f"sum by ({by}) (increase({counter}[{window}])) > {above}"
        f" or sum by ({by}) ({counter} unless {counter} offset {window}) > {above}"
    )


def snapshot(outcome: str) -> str:
    """Sources whose latest snapshot came to this."""
    return f'max by (region, source, kind) (atp_snapshot_outcome{{outcome="{outcome}"}}) == 1'


ALERTS = (
    Alert("AtpFreshnessBurnFast", burn(("1h", "5m"), 14.4), "0s", "page", "delayed-but-safe",
          "{{ $labels.region }} burns its freshness budget 14.4 times too fast"),
    Alert("AtpFreshnessBurn", burn(("6h", "30m"), 6), "0s", "page", "delayed-but-safe",
          "{{ $labels.region }} burns its freshness budget 6 times too fast"),
    Alert("AtpFreshnessBurnSlow", burn(("3d", "2h"), 1), "0s", "ticket", "delayed-but-safe",
          "{{ $labels.region }} will have used up its freshness budget"),
    Alert("AtpSourceSilent", f"atp_source_silence_seconds > {POLICY.heartbeat_timeout_s}", "1m", "page",
          "source-silent", "{{ $labels.source }} has sent no heartbeat for {{ $labels.region }}"),
    Alert("AtpPublishLagHigh",
          "histogram_quantile(0.95, sum by (le) (rate(atp_publish_lag_seconds_bucket[10m])))"
          f" > {POLICY.freshness_target_s}", "5m", "page", "delayed-but-safe",
          "5 % of changed records are published later than the freshness target"),
    Alert("AtpChannelHeld", 'max by (region, channel) (atp_mode_cause{cause="OPERATOR"}) == 1', "8h", "ticket",
          "channel-suspended", "{{ $labels.channel }} in {{ $labels.region }} is held by an operator's word"),
    Alert("AtpImpossibleTransitions",
          grown("atp_impossible_transitions_total", "topic", "15m", 0), "0s", "ticket",
          "dead-letters", "facts of {{ $labels.topic }} contradict themselves or earlier ones"),
    Alert("AtpDrift", snapshot("DRIFT"), "0s", "page", "drift",
          "{{ $labels.source }} and we disagree about {{ $labels.region }}: current but untrusted"),
    Alert("AtpSnapshotsDiverge",
          f"max by (region, source, kind) (atp_snapshot_divergence_share) > {round(1 - ACCURACY_SHARE, 4)}",
          "1h", "ticket", "drift",
          "{{ $labels.source }} and we have differed on {{ $labels.region }} for an hour by more than is promised"),
    Alert("AtpSnapshotOverdue", snapshot("MISSING"), "0s", "page", "snapshot-missing",
          "{{ $labels.source }} has sent no snapshot of {{ $labels.region }} by the time it was due"),
    Alert("AtpSnapshotIncomplete", snapshot("INCOMPLETE"), "0s", "page", "snapshot-missing",
          "the latest snapshot of {{ $labels.region }} by {{ $labels.source }} is incomplete"),
    Alert("AtpExceptionBacklog",
          f"sum by (region) (atp_exceptions_open) > {BACKLOG_EXCEPTIONS}"
          f" or max by (region) (atp_exceptions_oldest_seconds) > {BACKLOG_S}", "10m", "ticket", "exception-backlog",
          "exceptions of {{ $labels.region }} wait for somebody"),
    Alert("AtpExceptionsOld",
          f"max by (region) (atp_exceptions_oldest_seconds) > {POLICY.correction_hours * 3600}", "0s", "page",
          "exception-backlog", "an exception of {{ $labels.region }} is older than corrections may take"),
    Alert("AtpSourceIncomplete",
          f"min by (source, region) (atp_source_completeness_share) < {POLICY.ledger_completeness}"
          " or max by (source, region) (atp_source_missing_numbers) > 0", "30m", "ticket", "replay",
          "facts that {{ $labels.source }} has sent for {{ $labels.region }} did not come"),
    Alert("AtpBackfillStorm",
          "sum by (topic) (rate(atp_backfilled_facts_total[10m])) > 0.5 * sum by (topic) (rate(atp_facts_total[10m]))"
          " and sum by (topic) (rate(atp_backfilled_facts_total[10m])) > 10", "5m", "ticket", "backfill-storm",
          "most facts of {{ $labels.topic }} are sent again or late"),
    Alert("AtpReferenceMissing",
          "sum by (topic) (rate(atp_facts_without_reference_total[15m]))"
          " / sum by (topic) (rate(atp_facts_total[15m]))"
          f" > {round(1 - ACCURACY_SHARE, 4)}", "10m", "ticket", "control-document-refused",
          "facts of {{ $labels.topic }} name nodes that the reference does not have"),
    Alert("AtpAccuracyLow",
          "sum by (topic) (rate(atp_dead_letters_total[1h])) / sum by (topic) (rate(atp_facts_total[1h]))"
          f" > {round(1 - ACCURACY_SHARE, 4)}", "15m", "ticket", "dead-letters",
          "more facts of {{ $labels.topic }} are refused than is promised"),
    Alert("AtpDeadLetters", grown("atp_dead_letters_total", "topic, reason", "15m", 10), "0s", "ticket",
          "dead-letters", "records of {{ $labels.topic }} are refused: {{ $labels.reason }}"),
    Alert("AtpControlDocumentRefused", "max by (topic) (atp_control_documents_refused) > 0", "1m", "page",
          "control-document-refused", "a document of {{ $labels.topic }} cannot be used; the one before it stays"),
    Alert("AtpTaskFailed", 'max by (lane, partition) (atp_task_state{state="FAILED"}) == 1', "0s", "page",
          "task-failed", "{{ $labels.lane }}/{{ $labels.partition }} has stopped itself"),
    Alert("AtpBrokerUnreachable", 'count(atp_task_state) > 0 unless count(atp_task_state{state="RUNNING"})', "2m",
          "page", "broker-down", "no task of any worker runs"),
    Alert("AtpPartitionsUnserved",
          "max by (lane) (atp_partitions) >"
          ' count by (lane) (count by (lane, partition) (atp_task_state{state="RUNNING"})) or absent(atp_partitions)',
          "2m", "page", "worker-lost", "partitions of {{ $labels.lane }} are served by nobody"),
    Alert("AtpStoreAlmostFull", "min by (instance) (atp_store_free_share) < 0.1", "5m", "page", "disk-full",
          "the disk of the stores of {{ $labels.instance }} is almost full"),
    Alert("AtpRestoreRunning", 'max by (lane, partition) (atp_task_state{state="RESTORING"}) == 1', "10m", "ticket",
          "worker-lost", "{{ $labels.lane }}/{{ $labels.partition }} still restores its state"),
)  # fmt: skip


def rules() -> dict[str, Any]:
    """Prometheus' rule file."""
    return {"groups": [{"name": "atp", "rules": [_rule(alert) for alert in ALERTS]}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.hold,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook": f"runbooks/{alert.runbook}.md"},
    }


def query(metric: Scraped) -> str:
    """What a panel shows: rates of counters, the 95th percentile of histograms, gauges as they are."""
    if metric.kind == "counter":
        return f"sum by ({', '.join(metric.labels)}) (rate({metric.name}_total[5m]))"
    if metric.kind == "histogram":
        by = ", ".join(("le", *metric.labels))
        return f"histogram_quantile(0.95, sum by ({by}) (rate({metric.name}_bucket[5m])))"
    return metric.name


def dashboard() -> dict[str, Any]:
    """Grafana's dashboard: a panel per metric, two in a row, in the catalogue's order."""
    panels = [_panel(index, metric) for index, metric in enumerate(metrics.catalogue())]
    head = {"title": "Available to Promise", "uid": "atp", "schemaVersion": 39, "refresh": "10s"}
    return {**head, "time": {"from": "now-1h", "to": "now"}, "panels": panels}


def _panel(index: int, metric: Scraped) -> dict[str, Any]:
    unit = "s" if metric.name.endswith("_seconds") else "short"
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": metric.name,
        "description": metric.meaning,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "gridPos": {"x": 12 * (index % 2), "y": 8 * (index // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [{"refId": "A", "expr": query(metric), "legendFormat": _legend(metric)}],
    }


def _legend(metric: Scraped) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in metric.labels) or metric.name


def files() -> dict[str, str]:
    """Text by file name, from the repository's root."""
    return {
        ALERTS_FILE: "---\n" + yaml.safe_dump(rules(), sort_keys=False, width=110),
        DASHBOARD_FILE: json.dumps(dashboard(), indent=1) + "\n",
    }

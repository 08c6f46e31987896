"""Alert rules and dashboard: current, each alert with a page, and every rule fires when it must and only then."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from atp import metrics, monitoring
from docs.generate import named_alerts
from tests.conftest import require_promtool

ROOT = Path(__file__).resolve().parents[2]
TASK = 'lane="sku",partition="3"'
BAD, GOOD = (f'atp_freshness_checks_total{{region="uk",result="{result}"}}' for result in ("bad", "good"))
RUNNING = 'atp_task_state{lane="sku",partition="0",state="RUNNING"}'
BACKFILLED, NEW = (
    'atp_backfilled_facts_total{topic="t",outcome="duplicate"}',
    'atp_facts_total{topic="t",outcome="new"}',
)
IMPOSSIBLE = 'atp_impossible_transitions_total{topic="t",reason="DOCUMENT_CHANGED"}'
STRANGE = 'atp_facts_without_reference_total{topic="t"}'
LETTER = 'atp_dead_letters_total{topic="t",reason="TOO_OLD"}'
OLDEST = 'atp_exceptions_oldest_seconds{region="uk"}'
COMPLETENESS = 'atp_source_completeness_share{source="wms",region="uk"}'
MISSING = 'atp_source_missing_numbers{source="wms",region="uk"}'
ONE = 'atp_partitions{lane="sku"}'
SERVED = {RUNNING: "1+0x4400", ONE: "1+0x4400"}


def outcome(word: str) -> str:
    """What the latest snapshot of the warehouse came to."""
    return f'atp_snapshot_outcome{{region="uk",source="wms",kind="stock",outcome="{word}"}}'


# alert → series with which it fires, series with which it does not, minute at which both are looked at
CASES: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    # within the last hour and five minutes 73 % are bad; then long ago all were, but no more
    "AtpFreshnessBurnFast": ({BAD: "0+73x400", GOOD: "0+27x400"},
                             {BAD: "0+100x55 5500+0x400", GOOD: "0+0x55 0+100x400"}, "70m"),
    "AtpFreshnessBurn": ({BAD: "0+31x800", GOOD: "0+69x800"}, {BAD: "0+29x800", GOOD: "0+71x800"}, "400m"),
    "AtpFreshnessBurnSlow": ({BAD: "0+6x4400", GOOD: "0+94x4400"}, {BAD: "0+4x4400", GOOD: "0+96x4400"}, "4330m"),
    "AtpSourceSilent": ({'atp_source_silence_seconds{source="wms",region="uk"}': "0+60x30"},
                        {'atp_source_silence_seconds{source="wms",region="uk"}': "300+0x30"}, "10m"),
    "AtpPublishLagHigh": ({'atp_publish_lag_seconds_bucket{le="300"}': "0+94x60",
                           'atp_publish_lag_seconds_bucket{le="600"}': "0+100x60",
                           'atp_publish_lag_seconds_bucket{le="+Inf"}': "0+100x60"},
                          {'atp_publish_lag_seconds_bucket{le="300"}': "0+96x60",
                           'atp_publish_lag_seconds_bucket{le="+Inf"}': "0+100x60"}, "30m"),
    "AtpChannelHeld": ({'atp_mode_cause{region="uk",channel="web",cause="OPERATOR"}': "1+0x600"},
                       {'atp_mode_cause{region="uk",channel="web",cause="OPERATOR"}': "1+0x60 stale"}, "500m"),
    "AtpImpossibleTransitions": ({IMPOSSIBLE: "0x5 1x40"}, {IMPOSSIBLE: "3+0x40"}, "15m"),
    "AtpDrift": ({outcome("DRIFT"): "1+0x9"}, {outcome("CLEAN"): "1+0x9"}, "5m"),
    "AtpSnapshotsDiverge": ({"atp_snapshot_divergence_share": "0.002+0x90"},
                            {"atp_snapshot_divergence_share": "0.002+0x50 0x40"}, "80m"),
    "AtpSnapshotOverdue": ({outcome("MISSING"): "1+0x9"}, {outcome("CLEAN"): "1+0x9"}, "5m"),
    "AtpSnapshotIncomplete": ({outcome("INCOMPLETE"): "1+0x9"}, {outcome("MISSING"): "1+0x9"}, "5m"),
    "AtpExceptionBacklog": ({'atp_exceptions_open{region="uk"}': "101+0x30"},
                            {'atp_exceptions_open{region="uk"}': "100+0x30", OLDEST: "14000+0x30"}, "20m"),
    "AtpExceptionsOld": ({OLDEST: "86000+60x20"}, {OLDEST: "80000+60x20"}, "15m"),
    "AtpSourceIncomplete": ({COMPLETENESS: "0.999+0x60"}, {COMPLETENESS: "0.9999+0x60", MISSING: "0x60"}, "50m"),
    "AtpAccuracyLow": ({LETTER: "0+2x120", NEW: "0+1000x120"}, {LETTER: "0+1x120", NEW: "0+2000x120"}, "100m"),
    # 30 facts a second, two thirds of them repeats; then as many, a third of them
    "AtpBackfillStorm": ({BACKFILLED: "0+1200x40", NEW: "0+1800x40"},
                         {BACKFILLED: "0+600x40", NEW: "0+1800x40"}, "30m"),
    "AtpReferenceMissing": ({STRANGE: "0+2x60", NEW: "0+1000x60"}, {STRANGE: "0+1x60", NEW: "0+2000x60"}, "50m"),
    "AtpDeadLetters": ({LETTER: "0+1x40"}, {LETTER: "9+0x40"}, "20m"),
    "AtpControlDocumentRefused": ({'atp_control_documents_refused{topic="atp.policies.v1"}': "1+0x30"},
                                  {'atp_control_documents_refused{topic="atp.policies.v1"}': "0+0x30"}, "5m"),
    "AtpTaskFailed": ({f'atp_task_state{{{TASK},state="FAILED"}}': "1+0x30"},
                      {f'atp_task_state{{{TASK},state="WAITING"}}': "1+0x30"}, "1m"),
    "AtpBrokerUnreachable": ({f'atp_task_state{{{TASK},state="WAITING"}}': "1+0x30"},
                             {f'atp_task_state{{{TASK},state="WAITING"}}': "1+0x30"} | SERVED, "5m"),
    "AtpPartitionsUnserved": ({RUNNING: "1+0x30", ONE: "2+0x30"}, SERVED, "5m"),
    "AtpStoreAlmostFull": ({'atp_store_free_share{instance="w"}': "0.05+0x30"},
                           {'atp_store_free_share{instance="w"}': "0.5+0x30"}, "10m"),
    "AtpRestoreRunning": ({f'atp_task_state{{{TASK},state="RESTORING"}}': "1+0x30"},
                          {f'atp_task_state{{{TASK},state="RESTORING"}}': "1+0x5 stale"}, "20m"),
}  # fmt: skip
EMPTY: dict[str, str] = {}


def unit_test(name: str, series: dict[str, str], minute: str, fires: bool) -> dict[str, Any]:
    """One test of promtool: it counts how often an alert fires, whatever its labels."""
    said = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": said, "eval_time": minute, "exp_samples": [{"labels": "{}", "value": 1 if fires else 0}]}
        ],
    }


def promtool(*arguments: str, folder: Path = ROOT) -> str:
    """Run promtool; its output when it succeeded."""
    require_promtool()
    run = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def play(name: str, tests: list[dict[str, Any]], folder: Path) -> None:
    """Play histories to one rule as it is in the file; every ten minutes is often enough for one of days."""
    rules = yaml.safe_load(monitoring.files()[monitoring.ALERTS_FILE])
    (group,) = rules["groups"]
    group["rules"] = [rule for rule in group["rules"] if rule["alert"] == name]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    pace = "10m" if name == "AtpFreshnessBurnSlow" else "1m"
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": pace, "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(whole))
    promtool("test", "rules", "tests.yaml", folder=folder)


def test_the_whole_file_is_valid() -> None:
    """promtool takes every rule of the file."""
    promtool("check", "rules", monitoring.ALERTS_FILE)


def test_the_files_are_current() -> None:
    """Rules and dashboard are what the catalogue makes; `python -m docs.generate` writes them anew."""
    for name, text in monitoring.files().items():
        assert (ROOT / name).read_text() == text, name


def test_every_alert_names_a_page_that_names_it() -> None:
    """The runbook of an alert exists and begins with its name; a page names no alert that no rule has."""
    known = {alert.name: alert.runbook for alert in monitoring.ALERTS}
    named = {path.stem: named_alerts(path.read_text()) for path in (ROOT / "runbooks").glob("*.md")}
    assert {name for name, page in known.items() if name not in named.get(page, [])} == set()
    assert {name for names in named.values() for name in names} <= set(known)


def test_alerts_ask_for_metrics_that_exist() -> None:
    """Every series in a rule is in the catalogue of metrics."""
    known = {metric.name for metric in metrics.catalogue()}
    for alert in monitoring.ALERTS:
        asked = {re.sub("_(total|bucket)$", "", name) for name in re.findall(r"\batp_\w+", alert.expression)}
        assert asked
        assert asked <= known, alert.name


def test_the_dashboard_shows_every_metric() -> None:
    """A panel per metric, none twice."""
    shown = [panel["title"] for panel in monitoring.dashboard()["panels"]]
    assert shown == [metric.name for metric in metrics.catalogue()]


def test_every_alert_is_tested() -> None:
    """A rule without a case here might never fire."""
    assert set(CASES) == {alert.name for alert in monitoring.ALERTS}


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_must_and_only_then(name: str, tmp_path: Path) -> None:
    """promtool plays two histories: in one the alert fires, in the other it does not."""
    bad, good, minute = CASES[name]
    play(name, [unit_test(name, bad, minute, True), unit_test(name, good, minute, False)], tmp_path)


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("AtpImpossibleTransitions", {IMPOSSIBLE: "_x10 1x40"}),
        ("AtpDeadLetters", {LETTER: "_x10 11x40"}),
        ("AtpExceptionBacklog", {OLDEST: "15000+0x40"}),
        ("AtpSourceIncomplete", {MISSING: "1+0x40"}),
        ("AtpDrift", {outcome("DRIFT"): "1+0x40", 'atp_snapshot_outcome{outcome="CLEAN"}': "1+0x40"}),
    ],
)
def test_the_other_ways_to_an_alert(name: str, series: dict[str, str], tmp_path: Path) -> None:
    """A counter appears with its first events; the second side of an `or` holds; one source of several is bad."""
    play(name, [unit_test(name, series, "20m" if name != "AtpSourceIncomplete" else "40m", True)], tmp_path)


def test_no_worker_at_all_is_noticed(tmp_path: Path) -> None:
    """When nobody reports anything, partitions count as unserved."""
    play("AtpPartitionsUnserved", [unit_test("AtpPartitionsUnserved", EMPTY, "10m", True)], tmp_path)

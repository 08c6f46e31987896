"""What a worker tells Prometheus: its tasks when somebody scrapes, and a freshness check of every region."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psutil
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from atp import metrics
from atp.app import app, config, control, lanes, region_control
from atp.domain.slo import report
from atp.lane import TaskState
from atp.truth_metrics import Sample, committed, truth_samples
from tables.freshness import freshness as table

CHECK_INTERVAL_S = 10.0
KINDS: dict[str, Any] = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}


class WorkerCollector(Collector):
    """Asked at every scrape; keeps nothing."""

    def collect(self) -> Iterator[Any]:
        """A family per metric."""
        families: dict[str, Any] = {}
        for metric, labels, value in samples(time.time_ns() // 1_000_000):
            family = families.get(metric.name)
            if family is None:
                family = families[metric.name] = KINDS[metric.kind](metric.name, metric.meaning, labels=metric.labels)
            family.add_metric(labels, value)
        yield from families.values()


def samples(now_ms: int) -> Iterator[Sample]:
    """Everything that is asked for at a scrape."""
    yield from task_samples()
    yield from control_samples(now_ms)
    yield from freshness_samples(now_ms)
    yield from truth_samples(now_ms)


def task_samples() -> Iterator[Sample]:
    """State, lag, restore and totals of every task."""
    if config.data_dir.exists():
        disk = psutil.disk_usage(str(config.data_dir))
        yield metrics.STORE_FREE, (), disk.free / disk.total
    for name, lane in lanes.items():
        yield metrics.PARTITIONS, (name,), lane.settings.partitions
        for task in lane.status():
            at = (name, str(task.partition))
            yield metrics.TASK_STATE, (*at, task.state.value), 1
            yield metrics.RESTORED, at, task.restored_records
            for topic, records in task.lag.items():
                yield metrics.TASK_LAG, (*at, topic), records
            if task.last_commit_s is not None:
                yield metrics.COMMIT_AGE, at, task.last_commit_s
            if task.state is TaskState.RESTORING and task.restore_eta_s is not None:
                yield metrics.RESTORE_ETA, at, task.restore_eta_s
        for partition, counters in lane.counters().items():
            for field, metric in metrics.TASK_COUNTERS.items():
                yield metric, (name, str(partition)), getattr(counters, field)


def control_samples(now_ms: float) -> Iterator[Sample]:
    """What sources and people say."""
    for (source, region), watermark_ms in control.world.watermarks.items():
        yield metrics.SOURCE_SILENCE_SECONDS, (source, region), (now_ms - watermark_ms) / 1000
    for mode in control.world.modes.values():
        yield metrics.MODE, (mode.region, mode.channel, mode.mode.value), 1
        for cause in mode.reasons():
            yield metrics.MODE_CAUSE, (mode.region, mode.channel, cause), 1
    refused: dict[str, int] = {}
    for document in control.wrong:
        topic = document.partition("|")[0]
        refused[topic] = refused.get(topic, 0) + 1
    for topic, count in refused.items():
        yield metrics.DOCUMENTS_REFUSED, (topic,), count


def freshness_samples(now_ms: int) -> Iterator[Sample]:
    """How fresh the regions are whose tasks run here."""
    world = region_control.world
    for region in world.nodes.regions:
        state = committed(table, region)
        if state is None:
            continue
        row = report(state, region, world.watermarks, world.policies.of_region(region), now_ms)
        yield metrics.FRESHNESS_BUDGET, (region,), row.budget_left
        for source, found in row.sources.items():
            for quantile, lag_ms in found.lags().items():
                yield metrics.FRESHNESS_LAG, (region, source, quantile), lag_ms / 1000


def fresh(region: str, now_ms: int) -> bool:
    """Whether a region is within its target: its sources by their watermarks, and every task of this worker."""
    policy = control.world.policies.resolve("", region)
    target_ms = policy.freshness_target_ms
    stale_from_ms = control.world.watermarks.stale_from_ms(region, tuple(policy.required_sources), target_ms)
    tasks = [task for lane in lanes.values() for task in lane.status()]
    late = any((task.last_commit_s or 0) * 1000 > target_ms and any(task.lag.values()) for task in tasks)
    running = all(task.state is TaskState.RUNNING for task in tasks)
    return running and not late and (stale_from_ms is None or now_ms < stale_from_ms)


@app.timer(CHECK_INTERVAL_S)
async def check_freshness() -> None:
    """One good or bad check per region; the burn-rate alerts live on these."""
    now_ms = time.time_ns() // 1_000_000
    for region in control.world.nodes.regions:
        result = "good" if fresh(region, now_ms) else "bad"
        metrics.FRESHNESS_CHECKS.labels(region, result).inc()


if config.web_port:
    REGISTRY.register(WorkerCollector())

"""The figures as a table for people and as JSON for later comparison."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

LATEST = Path(__file__).parent / "latest.json"
YARDSTICKS = {"kafka_streams_100_ms": "Kafka Streams, 100 ms", "stock_faust_rocksdb": "stock Faust, rocksdb table"}


def machine() -> dict[str, Any]:
    """What the run ran on."""
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "load_before": os.getloadavg(),
        "python": platform.python_version(),
        "java": java.splitlines()[0] if java else "none",
        "commit": commit.strip(),
        "packages": {name: version(name) for name in ("aiokafka", "faust-streaming", "rocksdict", "msgspec")},
    }


def ratios(peers: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each peer against the yardsticks: events per second and per CPU-second."""
    by_name = {peer["name"]: peer for peer in peers}
    found: dict[str, dict[str, float]] = {}
    for label, yardstick in YARDSTICKS.items():
        for name, peer in by_name.items():
            if yardstick in by_name and name != yardstick:
                base = by_name[yardstick]
                found.setdefault(name, {})[f"events_per_s_vs_{label}"] = peer["events_per_s"] / base["events_per_s"]
                found[name][f"events_per_cpu_s_vs_{label}"] = peer["events_per_cpu_s"] / base["events_per_cpu_s"]
    return found


def write(document: dict[str, Any], path: Path = LATEST) -> None:
    """Keep the run."""
    path.write_text(json.dumps(document, indent=1) + "\n")


def show(document: dict[str, Any]) -> None:
    """Print the run."""
    columns = (
        "peer",
        "events",
        "events/s",
        "events/CPU-s",
        "broker CPU-s/M",
        "commits/s",
        "outputs/commit",
        "RSS MB",
    )
    table = Table(
        *columns, title=f"{document['params']['facts']:,} facts, {document['params']['partitions']} partitions"
    )
    for peer in document["peers"]:
        table.add_row(
            peer["name"],
            f"{peer['events']:,}",
            f"{peer['events_per_s']:,.0f}",
            f"{peer['events_per_cpu_s']:,.0f}",
            f"{peer['broker_cpu_s'] / peer['events'] * 1e6:.1f}",
            f"{peer['commits_per_s']:.1f}" if "commits_per_s" in peer else "",
            f"{peer['outputs_per_partition_commit']:,.0f}" if "outputs_per_partition_commit" in peer else "",
            f"{peer['rss_max_mb']:,}",
        )
    console = Console(width=140)
    console.print(table)
    for label, yardstick in YARDSTICKS.items():
        against = Table("", "events/s", "events/CPU-s", title=f"as multiples of {yardstick}")
        for name, found in document["ratios"].items():
            if f"events_per_s_vs_{label}" in found:
                wall, cpu = found[f"events_per_s_vs_{label}"], found[f"events_per_cpu_s_vs_{label}"]
                against.add_row(name, f"{wall:.2f}", f"{cpu:.2f}")
        if against.row_count:
            console.print(against)
    if latency := document.get("latency"):
        figures = ", ".join(f"{name} {value:,}" for name, value in latency.items())
        console.print(f"latency produce → canonical: {figures}")

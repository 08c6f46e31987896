"""The worker: the app with all its agents, named one by one so that a broken module stops the start.

faust -A atp.worker worker
"""

from __future__ import annotations

import gc
import logging

from agents import (
    arrivals,
    availability,
    closing,
    damages,
    dead_letters,
    freshness,
    intake,
    lags,
    ledger,
    modes,
    partials,
    receipts,
    reconciliation,
    reservations,
    stock,
)
from atp import pages, worker_metrics
from atp.app import app, lane

__all__ = [
    "app",
    "arrivals",
    "availability",
    "closing",
    "damages",
    "dead_letters",
    "freshness",
    "intake",
    "lags",
    "lane",
    "ledger",
    "modes",
    "pages",
    "partials",
    "receipts",
    "reconciliation",
    "reservations",
    "stock",
    "worker_metrics",
]

# The caches hold many long-lived containers and no cycles; collecting them at Python's default pace costs the
# worker a quarter of its processor time (bench/README.md). The youngest are collected in portions that take
# milliseconds: a million of them at once held everything up for half a second.
gc.set_threshold(50_000, 1_000, 1_000)

# Faust lets every record of every logger be made and only then thrown away. Of the Kafka client's debug lines, a
# hundred a turn, this alone took a tenth of the worker's processor time.
logging.getLogger("aiokafka").setLevel(logging.INFO)

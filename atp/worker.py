"""The worker: the app with all its agents, named one by one so that a broken module stops the start.

faust -A atp.worker worker
"""

from __future__ import annotations

from agents import availability, damages, dead_letters, intake, receipts, reservations, stock
from atp import admin
from atp.app import app, config, lane

__all__ = [
    "app",
    "availability",
    "damages",
    "dead_letters",
    "intake",
    "lane",
    "receipts",
    "reservations",
    "stock",
]


@app.on_worker_init.connect  # type: ignore[untyped-decorator]
def check_topics(*_args: object, **_kwargs: object) -> None:
    """Create what is missing and refuse to run on topics that are not as the catalogue says."""
    if config.create_topics:
        admin.ensure(config.admin(), config.partitions, config.replication)
    wrong = admin.problems(config.admin(), config.partitions, check_settings=False)
    if wrong:
        raise admin.BrokerError("; ".join(wrong))

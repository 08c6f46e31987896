"""The toy application on the embedded broker: at least once, and the worker says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lane.toy import Toy


@pytest.mark.broker("embedded")
@pytest.mark.slow
def test_counts_on_a_broker_without_transactions(embedded_broker: Any, tmp_path: Path) -> None:
    """The lane finds out that there are no transactions, says which guarantee holds, and works."""
    toy = Toy(embedded_broker.bootstrap, tmp_path, partitions=2)
    toy.create_topics()
    toy.produce(1_000)
    try:
        worker = toy.start()
        toy.await_counts(120)
        assert "guarantee=at_least_once" in worker.log.read_text()
        worker.await_running(2)
        assert {task["guarantee"] for task in worker.status()["status"]} == {"at_least_once"}
        assert worker.stop() == 0
    finally:
        toy.stop()

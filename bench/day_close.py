"""Closing a large day under live traffic: `python -m bench.day_close [--rows 1000000]`, kept in `day_close.json`.

One worker on real Kafka holds yesterday's facts of every SKU in two regions. Adjustments of today flow at a steady
rate and are timed from producer to canonical record: first alone, then while yesterday is closed, which begins when
its source says that it has passed midnight. Reported: the seconds from then until both regions have their day, its
status and rows, and the 99th percentile before and during.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from atp.topics import LEDGER_DAYS, POLICIES
from bench.latency import Probes, _follow
from bench.reconcile import Shop, beside_traffic, drive, traffic_options

PLACES = [("uk", "uk-1"), ("de", "de-1")]
CLOSE_LIMIT_S = 1200.0
# closed as soon as its source has passed midnight, whatever the time of day of the run
POLICY = {"scope": "default", "version": 1, "ledger_grace_s": 0, "ledger_final_at": "00:00"}


class Day(Shop):
    """Yesterday's facts, and a source that says for how long it has not passed midnight."""

    def __init__(self, bootstrap: str, rows: int) -> None:
        super().__init__(bootstrap, rows, PLACES)
        self.yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        self.passed = False

    def at(self, time_of_day: str) -> str:
        """An instant of yesterday."""
        return f"{self.yesterday}T{time_of_day}.000Z"

    def reference(self) -> None:
        """Nodes, and the policy."""
        super().reference()
        self.send(POLICIES.name, "default", POLICY, 0)
        self.beat()

    def live(self, moves: int) -> None:
        """A count of every SKU in the morning, then what was sold."""
        self.count_everything(self.at("08:00:00"))
        for number in range(moves):
            self.everywhere("stock.shipped", self.at(f"{9 + number:02d}:00:00"), quantity=1)

    def watermark(self) -> str:
        """All of yesterday but its last second, until midnight has passed."""
        return super().watermark() if self.passed else self.at("23:59:59")


class Days:
    """The days that the worker closes."""

    def __init__(self, bootstrap: str, wanted: str) -> None:
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": "bench-days", "isolation.level": "read_committed",
        })  # fmt: skip
        self._consumer.assign([TopicPartition(LEDGER_DAYS.name, 0, 0)])
        self._wanted, self._began_s = wanted, time.monotonic()
        self.found: dict[str, dict[str, Any]] = {}

    def closed(self) -> bool:
        """Whether both regions have the day."""
        message = self._consumer.poll(0)
        if message is not None and not message.error():
            day = json.loads(message.value())
            if day["stand"] != "CLOSING" and day["business_date"] == self._wanted:
                seconds = round(time.monotonic() - self._began_s, 1)
                said = {name: day[name] for name in ("status", "stand", "rows", "revision")}
                self.found.setdefault(day["region"], {"seconds": seconds, **said})
        assert time.monotonic() < self._began_s + CLOSE_LIMIT_S, f"not closed: {self.found}"
        return len(self.found) == len(PLACES)

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


def measure(bootstrap: str, day: Day, options: argparse.Namespace) -> dict[str, Any]:
    """The two phases."""
    consumer, alone, beside = _follow(bootstrap), Probes(), Probes()
    until_s = time.monotonic() + options.seconds
    drive(day, alone, consumer, options.rate, lambda: time.monotonic() > until_s, iter(()))
    days, day.passed = Days(bootstrap, day.yesterday), True
    drive(day, beside, consumer, options.rate, days.closed, iter(()))
    days.close()
    consumer.close()
    rows = sum(found["rows"] for found in days.found.values())
    took_s = max(found["seconds"] for found in days.found.values())
    return {
        "rows": rows,
        "facts": day.facts,
        "closed_s": took_s,
        "rows_per_s": round(rows / took_s),
        "days": days.found,
        "alone": alone.summary(options.rate),
        "beside": beside.summary(options.rate),
    }


def main(arguments: list[str] | None = None) -> int:
    """Load, measure, keep."""
    parser = traffic_options("day_close", "SKU-region rows of the day")
    parser.add_argument("--moves", type=int, default=2, help="facts of a row beside its count, at most 14")
    options = parser.parse_args(arguments)

    def load(bootstrap: str) -> Day:
        day = Day(bootstrap, options.rows)
        day.reference()
        day.live(options.moves)
        return day

    beside_traffic(options, load, measure)
    return 0


if __name__ == "__main__":
    sys.exit(main())

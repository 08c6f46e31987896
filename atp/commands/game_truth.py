"""Harms of a game day that reconciliation finds: a warehouse in a region of its own says something else than we.

The drill plays the warehouse's owner: once the exceptions are decided on, it sends the next snapshots, which say what
the first one said. Every drill has a region of its own, so that none is in the way of the next.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import msgspec

from atp import topics
from atp.commands import clients, exceptions
from atp.commands.errors import CommandError
from atp.commands.game_harms import DRILL, HARM_S, Harm, seconds_until
from atp.commands.lines import Outgoing
from atp.commands.markers import to_partitions
from atp.commands.publish import produce
from atp.domain.exceptions import ExceptionRecord, Stage
from atp.domain.modes import Cause
from atp.domain.times import HOUR_MS, rfc3339
from atp.settings import Settings

SOURCE = "drill"
HELD_UNITS, LEFT_UNITS = 50, 20
AGE_MS, PAUSE_MS = 5_000, 3_000
UNDECIDED = (Stage.OPEN, Stage.PROPOSED, Stage.APPROVED)


class Warehouse:
    """The node of a region that is there for the drill alone. `lossy`: of its SKUs, those that have lost units."""

    def __init__(self, config: Settings, skus: int, lossy: int, **rules: float) -> None:
        self.config, self.snapshot_ms = config, 0
        now_ms = time.time_ns() // 1_000_000
        self.region = self.node = f"{DRILL}{now_ms // 1000:x}"
        self.truth = {f"{self.node}-{n}": LEFT_UNITS if n < lossy else HELD_UNITS for n in range(skus)}
        rule = {"scope": f"region:{self.region}", "version": 1, "clean_cycles_to_restore": 1, **rules}
        self._send(
            self._line(topics.NODES, self.node, {"node": self.node, "region": self.region}),
            self._line(topics.POLICIES, str(rule["scope"]), rule),
            *(self._line(topics.STOCK, sku, self._count(sku, rfc3339(now_ms - HOUR_MS))) for sku in self.truth),
        )
        self.say()

    def _count(self, sku: str, at: str) -> dict[str, Any]:
        times = {"occurred_at": at, "recorded_at": at, "as_of": at}
        head = {
            "event_id": f"c-{sku}",
            "type": "stock.counted",
            "schema_version": "1.0",
            "source": SOURCE,
            "sku": sku,
        }
        return {**head, **times, "node": self.node, "quantities": {"sellable": HELD_UNITS}}

    def say(self) -> None:
        """Send a snapshot, unless the one before was sent just now, and a heartbeat."""
        now_ms = time.time_ns() // 1_000_000
        if now_ms < self.snapshot_ms + PAUSE_MS:
            return
        self.snapshot_ms = now_ms
        as_of = rfc3339(now_ms - AGE_MS)
        head = {"snapshot_id": f"{self.node}-{as_of}", "source": SOURCE, "as_of": as_of, "region": self.region}
        lines = []
        for sku, units in self.truth.items():
            row = {"type": "snapshot.row", "sku": sku, "node": self.node, "quantities": {"sellable": units}}
            lines.append(self._line(topics.WMS_SNAPSHOTS, sku, {**head, **row}))
        marker = {"type": "snapshot.closed", "rows": len(self.truth), "units": sum(self.truth.values())}
        lines.append(self._line(topics.WMS_SNAPSHOTS, head["snapshot_id"], {**head, **marker}))
        alive = {"type": "source.alive", "source": SOURCE, "region": self.region, "watermark": rfc3339(now_ms)}
        self._send(*lines, self._line(topics.HEARTBEATS, f"{SOURCE}|{self.region}", alive))

    def _line(self, topic: topics.Topic, key: str, document: dict[str, Any]) -> Outgoing:
        return Outgoing(topic.name, key, msgspec.json.encode(document), None, 1)

    def _send(self, *lines: Outgoing) -> None:
        produce(to_partitions(list(lines), self.config.partitions), self.config)

    def waiting(self) -> list[ExceptionRecord]:
        """Its exceptions that nobody has decided on."""
        known = exceptions.read(self.config).values()
        return [one for one in known if one.region == self.region and one.state in UNDECIDED]

    def drifts(self) -> bool:
        """Whether its region sells carefully because of what the snapshot said."""
        rows = clients.documents(self.config.admin(), topics.MODES.name).values()
        return any(row["region"] == self.region and Cause.DRIFT in row.get("causes", ()) for row in rows)

    def await_harm(self, shows: Callable[[], bool]) -> None:
        """Return once the harm shows, or raise."""
        if seconds_until(shows, HARM_S) is None:
            raise CommandError(f"nothing came of a snapshot of {self.region}; does a worker run?")


def drift(config: Settings, chance: random.Random) -> Harm:
    """A warehouse has lost units that nobody told us of; mended when the region sells confidently again."""
    lossy = chance.randint(1, 3)
    wms = Warehouse(config, skus=8, lossy=lossy)
    wms.await_harm(lambda: wms.drifts() and len(wms.waiting()) == lossy)

    def mended() -> bool:
        if wms.waiting():
            return False
        wms.say()
        return not wms.drifts()

    detail = f"{lossy} SKUs of {wms.region} have {HELD_UNITS - LEFT_UNITS} units less than we say"
    return Harm("drift", "runbooks/drift.md", detail, mended)


def backlog(config: Settings, chance: random.Random) -> Harm:
    """Exceptions that wait for somebody, too few to switch their region; mended when all are decided on."""
    lossy = chance.randint(4, 8)
    wms = Warehouse(config, skus=8, lossy=lossy, region_drift_keys_share=1.0, region_drift_units_share=1.0)
    wms.await_harm(lambda: len(wms.waiting()) == lossy)
    detail = f"{lossy} exceptions of {wms.region} waited for a decision"
    return Harm("exception-backlog", "runbooks/exception-backlog.md", detail, lambda: not wms.waiting())

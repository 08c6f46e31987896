"""What people and sources say, read from the control topics: the worker's view of policies, nodes, modes, sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from atp.domain.availability import outlook
from atp.domain.closing import LedgerDay, LedgerDayError, Stand, parse_day
from atp.domain.fold import World
from atp.domain.freshness import HeartbeatError, Sightings, WatermarkBook, parse_heartbeat
from atp.domain.modes import ModeBook, ModeError, parse_mode
from atp.domain.nodes import NodeBook, NodeError, parse_node
from atp.domain.policy import PolicyBook, PolicyError, parse_policy
from atp.lane import View

logger = structlog.get_logger("atp.world")


class ControlWorld:
    """A world kept up to date by views. A document that cannot be used is named, and the one before it stays."""

    def __init__(self) -> None:
        self.world = World()
        self.asked: list[LedgerDay] = []  # dates of the ledger that are being closed
        # By partition. When what was seen counts is a matter of waiting, not of state: a new owner waits anew.
        self.sightings: defaultdict[int, Sightings] = defaultdict(Sightings)
        self.wrong: dict[str, str] = {}  # topic|key → what is wrong with the document
        self._last: dict[str, Any] = {}
        # by partition, then by (SKU or "", region)
        self._outlooks: dict[int, dict[tuple[str, str], tuple[int, bool]]] = {}

    def outlook_changed(self, partition: int, now_ms: int) -> bool:
        """Whether a day began or a source fell silent or came back since a partition last asked."""
        before = self._outlooks.get(partition, {})
        places = before.keys() | {("", region) for region in self.world.nodes.regions}
        now = {place: self._outlook(place, now_ms) for place in places}
        self._outlooks[partition] = now
        return any(now[place] != known for place, known in before.items())

    def reckoned(self, partition: int, sku: str, region: str, now_ms: int) -> None:
        """A record was reckoned: from now on its region, or the SKU with a policy of its own, is watched."""
        place = (sku if self.world.policies.decides_outlook(sku) else "", region)
        known = self._outlooks.setdefault(partition, {})
        if place not in known:
            known[place] = self._outlook(place, now_ms)

    def _outlook(self, place: tuple[str, str], now_ms: int) -> tuple[int, bool]:
        world, (sku, region) = self.world, place
        return outlook(region, world.policies.resolve(sku, region), world.watermarks, now_ms)

    def watch_policies(self, view: View) -> None:
        """`atp.policies.v1`"""
        book = PolicyBook()
        for policy in self._parsed(view, parse_policy, PolicyError):
            book.put(policy)
        self.world.policies = book

    def watch_nodes(self, view: View) -> None:
        """`reference.nodes.v1`"""
        nodes = self._parsed(view, parse_node, NodeError)
        self.world.nodes = NodeBook({node.node: node for node in nodes})

    def watch_modes(self, view: View) -> None:
        """`atp.modes.v1`"""
        modes = self._parsed(view, parse_mode, ModeError)
        self.world.modes = ModeBook({(mode.region, mode.channel): mode for mode in modes})

    def watch_heartbeats(self, view: View) -> None:
        """`sources.heartbeats.v1`"""
        book = WatermarkBook(self.world.watermarks)
        for heartbeat in self._parsed(view, parse_heartbeat, HeartbeatError):
            book.put(heartbeat)
        self.world.watermarks = book

    def watch_ledger_days(self, view: View) -> None:
        """`atp.ledger.days.v1`: the revisions that are asked for."""
        days = self._parsed(view, parse_day, LedgerDayError)
        self.asked = [day for day in days if day.stand is Stand.CLOSING]

    def _parsed(self, view: View, parse: Callable[[Any], Any], error: type[ValueError]) -> list[Any]:
        found = []
        for key, value in view.items():
            name = f"{view.topic}|{key.decode(errors='replace')}"
            try:
                self._last[name] = parse(msgspec.json.decode(value))
                self.wrong.pop(name, None)
            except (error, msgspec.DecodeError, UnicodeDecodeError) as problem:
                if self.wrong.get(name) != str(problem):
                    logger.error("control_document_refused", document=name, problem=str(problem))
                self.wrong[name] = str(problem)
            if name in self._last:
                found.append(self._last[name])
        return found

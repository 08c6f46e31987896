"""A product with a desk beside it: snapshots, corrections and decisions for tests that read like stories."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from atp.domain import reconciliation, resolution
from atp.domain.decoding import decode
from atp.domain.desk import Books, Desk, Outcome
from atp.domain.exceptions import ExceptionRecord, decode_decision
from atp.domain.facts import CORRECTIONS_TOPIC
from atp.domain.intake import Admitted
from atp.domain.lateness import late_fact, too_old_fact
from atp.domain.partials import ExceptionsOpen, SnapshotCompared
from atp.domain.refusals import Reason, Refusal
from atp.domain.snapshots import KINDS, SnapshotClosed, decode_snapshot
from atp.domain.times import to_ms
from tests.unit.builders import SKU, Fact, Product, stamp


class Reconciled(Product):
    """Facts and snapshots go in; corrections that are approved come back as facts, unless they are held back."""

    def __init__(self, now: datetime, *, corrects: bool = True) -> None:
        super().__init__(now)
        self.books = Books.in_memory()
        self.reports: list[SnapshotCompared] = []
        self.lying: list[ExceptionsOpen] = []
        self.exceptions: dict[str, ExceptionRecord] = {}
        self.corrections: list[Fact] = []
        self.corrects = corrects

    @property
    def desk(self) -> Desk:
        """What reconciliation works with."""
        return Desk(self.books, self.state, self.world, self.world.policies.horizons(), to_ms(self.now))

    @property
    def compared_ms(self) -> int:
        """Up to here facts were held against snapshots."""
        return self.books.book.compared_ms

    def take(self, topic: str, value: Fact) -> Any:
        """Take a fact; one that is dated before the latest snapshot has it compared anew."""
        outcome = super().take(topic, value)
        self._note_late(topic, value, outcome)
        if isinstance(outcome, Admitted) and outcome.recheck:
            correction = outcome.fact.event_id if topic == CORRECTIONS_TOPIC else ""
            self._note(resolution.settle(outcome.fact.sku, self.desk, correction))
        return outcome

    def _note_late(self, topic: str, value: Fact, outcome: Any) -> None:
        too_old = isinstance(outcome, Refusal) and outcome.reason is Reason.TOO_OLD
        if too_old or isinstance(outcome, Admitted):
            fact = decode(topic, msgspec.json.encode(value))
            assert not isinstance(fact, Refusal)
            region = self.world.region_of(fact)
            late = too_old_fact(fact, region) if too_old else late_fact(outcome, region, self.world.policies)
            if late is not None:
                self._note(resolution.note_late(late, self.desk))

    def snapshot(
        self,
        topic: str,
        rows: list[Fact],
        as_of: datetime,
        *,
        source: str = "wms",
        region: str = "uk",
        name: str = "",
        closed: dict[str, int] | None = None,
    ) -> None:
        """Send the rows of a snapshot and its marker (`closed={}`: none), and go on with what can be compared."""
        head = {
            "snapshot_id": name or f"{source}|{stamp(as_of)}",
            "source": source,
            "as_of": stamp(as_of),
            "region": region,
        }
        for row in rows:
            self.row(topic, {**head, "type": "snapshot.row", "sku": SKU, **row})
        units = sum(sum(row["quantities"].values()) if "quantities" in row else _open(row) for row in rows)
        sums = {"rows": len(rows), "units": units} if closed is None else closed
        if sums:
            self.row(topic, {**head, "type": "snapshot.closed", **sums})
        self.advance()

    def row(self, topic: str, value: Fact) -> None:
        """Take one record of a snapshot topic."""
        found = decode_snapshot(topic, msgspec.json.encode(value), to_ms(self.now))
        assert not isinstance(found, Refusal), found
        if isinstance(found, SnapshotClosed):
            reconciliation.take_marker(found, KINDS[topic], self.desk)
        else:
            reconciliation.take_row(found, self.desk)

    def advance(self) -> None:
        """Compare all that may be compared."""
        while True:
            outcome = reconciliation.advance(self.desk, self._passed, self._page, 100)
            self._note(outcome)
            if not outcome.more:
                return

    def decide(self, exception_id: str, verb: str, reason: str = "seen") -> Refusal | None:
        """A person's word on an exception."""
        value = {
            "type": f"exception.{verb}",
            "exception_id": exception_id,
            "sku": SKU,
            "by": "ops",
            "reason": reason,
            "decided_at": stamp(self.now),
        }
        decision = decode_decision(msgspec.json.encode(value))
        assert not isinstance(decision, Refusal), decision
        outcome = resolution.decide(decision, self.desk)
        if isinstance(outcome, Refusal):
            return outcome
        self._note(outcome)
        return None

    def post(self) -> None:
        """Let the corrections that were held back come in."""
        waiting, self.corrections = self.corrections, []
        for value in waiting:
            self.take(CORRECTIONS_TOPIC, value)

    def _note(self, outcome: Outcome) -> None:
        self.reports += [p for p in outcome.partials if isinstance(p, SnapshotCompared)]
        self.lying += [p for p in outcome.partials if isinstance(p, ExceptionsOpen)]
        self.exceptions.update({record.exception_id: record for record in outcome.exceptions})
        self.corrections += [msgspec.json.decode(msgspec.json.encode(fact)) for fact in outcome.corrections]
        if self.corrects:
            self.post()

    def _passed(self, source: str, region: str) -> int:
        return self.world.watermarks.get((source, region), 0)

    def _page(self, after: str, limit: int) -> list[str]:
        return sorted(key[0] for key in self.state.heads if key[0] > after)[:limit]  # type: ignore[attr-defined]


def _open(row: Fact) -> int:
    return sum(line["open"] for line in row["lines"])


def stock_row(node: str, **quantities: int) -> Fact:
    """A row of a stock snapshot."""
    return {"node": node, "quantities": quantities}


def line_row(*lines: Fact) -> Fact:
    """A row of an OMS snapshot."""
    return {"lines": list(lines)}


def line(name: str, version: int, state: str, open_units: int, **body: Any) -> Fact:
    """A line of an OMS snapshot."""
    reservation_id, number = name.split("/")
    parts = {"consumed": 0, "released": 0, **body}
    requested = open_units + parts["consumed"] + parts["released"]
    return {
        "reservation_id": reservation_id,
        "line": int(number),
        "version": version,
        "channel": "web",
        "state": state,
        "requested": requested,
        "open": open_units,
        **parts,
    }

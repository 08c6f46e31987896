"""The ledger of everything gathered: every date of every region in order, as columns, with how it may close."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from atp.domain.daily_ledger import reckon
from atp.domain.ledger_book import Posting
from atp.domain.ledger_close import Judgement, Status, judge
from atp.domain.ledger_days import Settled
from atp.domain.ledger_difference import Line
from atp.domain.ledger_rules import policy_of, rules_of
from atp.domain.policy import RecordPolicy
from atp.domain.refusals import Reason
from atp.domain.times import Day
from atp.ledger.columns import Region
from atp.ledger.gather import Gathered, Missed

LATE = "LATE"  # came after the correction window of its date


class LedgerDay(msgspec.Struct):
    """A business date of a region. `lines` explain its differences; `missed`: facts recorded on it, in no row."""

    region: str
    day: Day
    policy: RecordPolicy
    judgement: Judgement
    columns: dict[str, Any]
    lines: list[tuple[str, Line]]
    settled: list[tuple[str, Settled]]
    missed: list[Missed]


def ledger_days(gathered: Gathered, close_ms: int, wanted: str | None = None) -> Iterator[LedgerDay]:
    """Region by region, date by date, up to the last one whose midnight has passed."""
    regions = _Regions(gathered, close_ms)
    for name in sorted(regions.found):
        if wanted is None or name == wanted:
            yield from regions.days(name)


class _Regions:
    """The entries of all SKUs, by region."""

    def __init__(self, gathered: Gathered, close_ms: int) -> None:
        self._gathered, self._close_ms = gathered, close_ms
        self.found: dict[str, Region] = {}
        self._lines: dict[tuple[str, int], list[tuple[str, Line]]] = defaultdict(list)
        self._settled: dict[tuple[str, int], list[tuple[str, Settled]]] = defaultdict(list)
        self._missed: dict[tuple[str, int], list[Missed]] = defaultdict(list)
        self._rules = rules_of(gathered.world, gathered.horizons, close_ms)
        skus = sorted(gathered.facts)
        for number, sku in enumerate(skus):
            self._reckon(number, sku, skus)
        self._miss(missed for missed in gathered.refused if missed.reason == Reason.TOO_OLD)

    def _reckon(self, number: int, sku: str, skus: list[str]) -> None:
        ledger = reckon(self._gathered.facts[sku], self._rules)
        for entry in ledger.entries:
            region = self.found.get(entry.region)
            if region is None:
                region = self.found[entry.region] = Region(entry.region, skus)
            region.add(number, entry)
        for line in ledger.lines:
            self._lines[line.region, line.ordinal].append((sku, line))
        for settled in ledger.settled:
            self._settled[settled.region, settled.ordinal].append((sku, settled))
        self._miss(self._late(sku, posting) for posting in ledger.late)

    def _late(self, sku: str, posting: Posting) -> Missed:
        region = self._rules.region_of(posting.node) or ""
        return Missed(posting.event_id, sku, region, LATE, posting.time_ms, posting.recorded_ms)

    def _miss(self, found: Iterable[Missed]) -> None:
        for missed in found:
            if missed.region:
                ordinal = self._rules.calendar_of(missed.region).day(missed.recorded_ms).ordinal
                self._missed[missed.region, ordinal].append(missed)

    def days(self, name: str) -> Iterator[LedgerDay]:
        """Every date of a region whose midnight has passed."""
        policy, region = policy_of(self._gathered.world, name), self.found[name]
        last = policy.calendar.day(self._close_ms).ordinal - 1
        for ordinal, columns in region.days(last):
            day = Day(ordinal, policy.calendar.zone)
            judgement = judge(name, day, self._gathered.totals, policy, self._close_ms)
            key = (name, ordinal)
            missed = sorted(self._missed[key], key=lambda known: (known.sku, known.event_id))
            yield LedgerDay(name, day, policy, judgement, columns, self._lines[key], self._settled[key], missed)


def closable(days: Iterable[LedgerDay]) -> Iterator[LedgerDay]:
    """The dates of each region up to the first that is still open: a later one would open on nothing closed."""
    stopped = ""
    for day in days:
        if day.judgement.status is Status.OPEN:
            stopped = day.region
        if day.region != stopped:
            yield day

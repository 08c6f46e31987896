"""Balances: what a source says it has sent against what has come, once per region and source.

numbers of its sequence that never came      gaps
facts and units by topic and hour            shortfalls against the control totals of its heartbeats
"""

from __future__ import annotations

import msgspec

from atp.domain.arrivals import Arrivals
from atp.domain.facts import Identity
from atp.domain.freshness import Heartbeat
from atp.domain.ledger_close import Shortfall
from atp.domain.times import Stamp, rfc3339, to_ms


class SourceArrivals(msgspec.Struct, array_like=True):
    """What came from a source, and the number of its balances that were told."""

    arrivals: Arrivals
    told: int = 0
    said: tuple[list[tuple[int, int]], list[Shortfall]] = ([], [])

    @property
    def missing_numbers(self) -> int:
        """Numbers of its sequence that never came, by the latest balance."""
        return missing_numbers(self.said[0], self.arrivals.lost)

    def completeness(self, beat: Heartbeat | None) -> float | None:
        """Facts that came ÷ facts that a heartbeat names, by the latest balance; None where it names none."""
        expected = sum(facts for hours in beat.totals.values() for facts, _ in hours.values()) if beat else 0
        missing = sum(max(0, one.expected_facts - one.facts) for one in self.said[1])
        return max(0.0, 1 - missing / expected) if expected else None


class SourceBalance(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="source.balanced"):
    """One fact of `atp.reconciliation.results.v1`: what of a source is missing. Without gaps and shortfalls: nothing.

    `gaps`: first and last number of each stretch that never came; `lost`: numbers that were given up.
    """

    schema_version: str = "1.0"
    event_id: str
    region: Identity
    source: Identity
    gaps: list[tuple[int, int]]
    lost: int
    shortfalls: list[Shortfall]
    judged_at: Stamp

    @property
    def detail(self) -> str:
        """What is missing in words; empty if nothing is."""
        missing = missing_numbers(self.gaps, self.lost)
        said = [f"{missing} numbers of its sequence did not come"] if missing else []
        said += [f"{one.topic} {one.hour}: {one.facts} of {one.expected_facts} facts came" for one in self.shortfalls]
        return "; ".join(said)


def missing_numbers(gaps: list[tuple[int, int]], lost: int) -> int:
    """Numbers that did not come: those of the gaps, and those that were given up."""
    return lost + sum(last - first + 1 for first, last in gaps)


def balance(
    row: SourceArrivals, region: str, source: str, beat: Heartbeat | None, now_ms: int, grace_ms: int
) -> SourceBalance | None:
    """The balance of a source, if it is another than was told last. `grace_ms`: how long facts may be under way."""
    gaps = [(gap.first_seq, gap.last_seq) for gap in row.arrivals.gaps(now_ms, grace_ms)]
    shortfalls: list[Shortfall] = []
    if beat is not None:
        shortfalls = row.arrivals.shortfalls(beat, min(to_ms(beat.watermark), now_ms) - grace_ms)
    if (gaps, shortfalls) == tuple(row.said):
        return None
    row.said, row.told = (gaps, shortfalls), row.told + 1
    return SourceBalance(
        event_id=f"{region}|{source}|{row.told}",
        region=region,
        source=source,
        gaps=gaps,
        lost=row.arrivals.lost,
        shortfalls=shortfalls,
        judged_at=rfc3339(now_ms),
    )

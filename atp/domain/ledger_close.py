"""How a business date of a region closes: OPEN → PROVISIONAL → FINAL → RESTATED, and what its completeness lacks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction

import msgspec

from atp.domain.freshness import Heartbeat
from atp.domain.policy import RecordPolicy
from atp.domain.times import HOUR_MS, Day, rfc3339, to_ms


class Status(StrEnum):
    """Where a date stands."""

    OPEN = "OPEN"  # still running, or a source has not passed its midnight
    PROVISIONAL = "PROVISIONAL"  # closed; the hour of the final close has not come, or source records are missing
    FINAL = "FINAL"  # closed, and complete against the sources' own totals
    RESTATED = "RESTATED"  # was FINAL; facts that came later changed it


CLOSED_FOR_GOOD = (Status.FINAL, Status.RESTATED)
Watermarks = Mapping[tuple[str, str], int]  # ms, by (source, region)


class Shortfall(msgspec.Struct):
    """Records of an hour that a source says it recorded and that never came."""

    source: str
    topic: str
    hour: str
    expected_facts: int
    facts: int
    expected_units: int
    units: int


class Completeness(msgspec.Struct):
    """Records that came out of those that the sources say they recorded on a date. No totals: nothing to compare."""

    expected: int = 0
    came: int = 0
    shortfalls: list[Shortfall] = []

    @property
    def share(self) -> Fraction | None:
        """Came ÷ expected; None where no source gave totals."""
        return Fraction(self.came, self.expected) if self.expected else None

    def reaches(self, least: Fraction) -> bool:
        """Whether it is enough for a final close."""
        return self.share is None or self.share >= least


class Judgement(msgspec.Struct):
    """What a date of a region may be called at an instant. `waiting`: sources that have not passed its midnight."""

    status: Status
    completeness: Completeness
    waiting: list[str] = []


def sources_of(region: str, watermarks: Watermarks, policy: RecordPolicy) -> list[str]:
    """The sources that a region waits for: those its policy requires, and those that ever spoke of it."""
    return sorted({*policy.required_sources, *(source for source, place in watermarks if place == region)})


def waiting_for(region: str, day: Day, watermarks: Watermarks, policy: RecordPolicy) -> list[str]:
    """The sources of a region that have not passed the midnight of a date."""
    sources = sources_of(region, watermarks, policy)
    return [source for source in sources if watermarks.get((source, region), 0) < day.end_ms]


class ControlTotals(msgspec.Struct):
    """What sources say of themselves, and what came from them, by (source, region) and hour of recorded_at."""

    watermarks: dict[tuple[str, str], int] = {}
    expected: dict[tuple[str, str], dict[tuple[str, int], tuple[int, int]]] = {}
    came: dict[tuple[str, str], dict[tuple[str, int], list[int]]] = {}

    def hear(self, beat: Heartbeat) -> None:
        """Take a heartbeat; of an hour, the latest total stands."""
        key = (beat.source, beat.region)
        self.watermarks[key] = max(self.watermarks.get(key, 0), to_ms(beat.watermark))
        totals = self.expected.setdefault(key, {})
        for topic, hours in beat.totals.items():
            for hour, total in hours.items():
                totals[topic, to_ms(datetime.fromisoformat(hour))] = total

    def count(self, source: str, region: str, topic: str, recorded_ms: int, units: int) -> None:
        """Count a distinct fact that came."""
        hours = self.came.setdefault((source, region), {})
        sums = hours.setdefault((topic, recorded_ms // HOUR_MS * HOUR_MS), [0, 0])
        sums[0] += 1
        sums[1] += units

    def sources_of(self, region: str, policy: RecordPolicy) -> list[str]:
        """The sources that a region waits for: those its policy requires, and those that ever spoke of it."""
        return sources_of(region, self.watermarks, policy)

    def completeness(self, region: str, day: Day, policy: RecordPolicy) -> Completeness:
        """The records of the hours of a date, source by source."""
        found = Completeness(shortfalls=[])
        for source in self.sources_of(region, policy):
            came = self.came.get((source, region), {})
            for (topic, hour_ms), total in sorted(self.expected.get((source, region), {}).items()):
                if hour_ms + HOUR_MS <= day.start_ms or hour_ms >= day.end_ms:
                    continue
                facts, units = came.get((topic, hour_ms), (0, 0))
                found.expected += total[0]
                found.came += min(facts, total[0])
                if facts < total[0]:
                    hour = rfc3339(hour_ms)
                    found.shortfalls.append(Shortfall(source, topic, hour, total[0], facts, total[1], units))
        return found


def final_ms(day: Day, policy: RecordPolicy) -> int:
    """The instant of the final close: an hour of the day after, on that region's clock."""
    after = date.fromordinal(day.ordinal) + timedelta(days=1)
    return to_ms(datetime.combine(after, policy.ledger_final_at, tzinfo=policy.calendar.zone))


def judge(region: str, day: Day, totals: ControlTotals, policy: RecordPolicy, at_ms: int) -> Judgement:
    """The status of a date at an instant, but for RESTATED, which only a revision can be."""
    completeness = totals.completeness(region, day, policy)
    waiting = waiting_for(region, day, totals.watermarks, policy)
    if waiting or at_ms < day.end_ms + policy.ledger_grace_ms:
        return Judgement(Status.OPEN, completeness, waiting)
    if at_ms < final_ms(day, policy) or not completeness.reaches(policy.ledger_completeness):
        return Judgement(Status.PROVISIONAL, completeness)
    return Judgement(Status.FINAL, completeness)

"""The answer to "how many may this channel sell?", and the rule when it is not known well. Pure.

From a record, the mode in force and the age of what we know (ms since the view was last known to be complete):

1. not yet complete                → 0, refused, `NOT_READY`
2. older than `refuse_after_ms`    → 0, refused, `STALE_VIEW`
3. no record, or no such channel   → 0, `UNKNOWN_KEY`, `UNKNOWN_CHANNEL`
4. SUSPENDED                       → 0
5. not CONFIDENT, or the record names a reason that is more than a remark, or older than `degrade_after_ms`, or
   nobody measured the region's freshness for `unmeasured_after_ms`: `UNMEASURED`
                                   → the conservative quantity, LOW
6. otherwise                       → the confident quantity, HIGH

Who measures freshness also switches modes: where nobody does, a mode is only what was true before.
The mode is that of `atp.modes.v1`, else the one in the record: a switch counts before the records follow.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from atp.client.records import Offer, Record
from atp.domain.modes import Mode

# Flag only: they leave the confident quantity standing (docs: effect of a reason). OPERATOR acts by the mode itself.
REMARKS = frozenset({"OVERDUE_RECEIPT", "BACKFILL", "LATE_CONFIRM", "OPERATOR"})


class Doubt(StrEnum):
    """Why the client itself doubts, beside the record's own reasons."""

    NOT_READY = "NOT_READY"
    STALE_VIEW = "STALE_VIEW"
    UNMEASURED = "UNMEASURED"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    UNKNOWN_CHANNEL = "UNKNOWN_CHANNEL"


class Staleness(msgspec.Struct, frozen=True):
    """From which age (ms) an answer is conservative, and from which it is refused.

    The defaults: half a minute is far beyond the design target of a second; five minutes is the guaranteed floor; a
    minute is six checks of freshness.
    """

    degrade_after_ms: int = 30_000
    refuse_after_ms: int = 300_000
    unmeasured_after_ms: int = 60_000

    def __post_init__(self) -> None:
        if not 0 < self.degrade_after_ms <= self.refuse_after_ms:
            raise ValueError(
                f"degrade_after_ms = {self.degrade_after_ms}: more than 0 and at most refuse_after_ms "
                f"({self.refuse_after_ms}) is allowed"
            )


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a channel may sell (units), and how much that may be believed. `age_ms`: see `Staleness`; None: never."""

    sku: str
    region: str
    channel: str
    sellable: int
    mode: Mode
    confidence: str
    reasons: tuple[str, ...]
    age_ms: int | None
    refused: bool = False
    version: int = 0
    as_of: str | None = None
    published_at: str | None = None
    atp: int = 0
    confident: int = 0
    conservative: int = 0

    @property
    def known(self) -> bool:
        """Whether there is a record behind it."""
        return self.version > 0


def nothing(sku: str, region: str, channel: str, doubt: Doubt, age_ms: int | None, *, refused: bool) -> Answer:
    """No units: there is nothing to stand on."""
    return Answer(sku, region, channel, 0, Mode.CONSERVATIVE, "LOW", (doubt.value,), age_ms, refused)


def answer(
    record: Record, channel: str, mode: Mode | None, age_ms: int, staleness: Staleness, unmeasured_ms: int = 0
) -> Answer:
    """What the rule above says of a record. `unmeasured_ms`: since when nobody has measured its region."""
    if age_ms > staleness.refuse_after_ms:
        return nothing(record.sku, record.region, channel, Doubt.STALE_VIEW, age_ms, refused=True)
    offer = record.channels.get(channel)
    if offer is None:
        return nothing(record.sku, record.region, channel, Doubt.UNKNOWN_CHANNEL, age_ms, refused=False)
    in_force = Mode(offer.mode) if mode is None else mode
    reasons = offer.reasons
    if age_ms > staleness.degrade_after_ms:
        reasons = (*reasons, Doubt.STALE_VIEW.value)
    if unmeasured_ms > staleness.unmeasured_after_ms:
        reasons = (*reasons, Doubt.UNMEASURED.value)
    sure = in_force is Mode.CONFIDENT and REMARKS.issuperset(reasons)
    return Answer(
        record.sku,
        record.region,
        channel,
        _units(offer, in_force, sure),
        in_force,
        "HIGH" if sure else "LOW",
        reasons,
        age_ms,
        False,
        record.version,
        record.as_of,
        record.published_at,
        record.atp,
        offer.confident,
        offer.conservative,
    )


def _units(offer: Offer, mode: Mode, sure: bool) -> int:
    if mode is Mode.SUSPENDED:
        return 0
    return offer.confident if sure else offer.conservative

"""Partials: what SKU tasks tell region tasks in their transactions, each of its own partition.

Topic `atp.region-partials.v1`, key region. A partial may come twice; none is a sum over partitions.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from atp.domain.decoding import explain_invalid


class SnapshotCompared(msgspec.Struct, tag="snapshot.compared", kw_only=True):
    """How one partition's rows of a snapshot compare with our state at its as_of; one per partition and snapshot.

    `expected_…`: what the closing marker says; `rows, units`: what came. `complete`: they agree, and the marker came.
    `over_promised_units`: units that we held too many.
    """

    region: str
    source: str
    kind: str  # stock or reservations
    snapshot_id: str
    as_of_ms: int
    partition: int
    partitions: int
    expected_rows: int
    expected_units: int
    rows: int
    units: int
    keys: int
    drifting_keys: int
    drifted_units: int
    over_promised_units: int
    complete: bool
    compared_ms: int


class SourceCounted(msgspec.Struct, tag="source.counted", kw_only=True):
    """Distinct facts and units of one hour of recorded_at; cumulative, the latest of a partition counts."""

    source: str
    region: str
    topic: str
    hour: str  # as heartbeats name it
    partition: int
    facts: int
    units: int


class SourceNumbered(msgspec.Struct, tag="source.numbered", kw_only=True):
    """Numbers of a source's sequence that came since the last of these: bit n of `seen` stands for first_seq + n.

    A partition sees some of the numbers only; the region's task joins them and knows the gaps (`arrivals.py`).
    """

    source: str
    region: str
    partition: int
    first_seq: int
    seen: bytes  # least significant bit first


class LagMeasured(msgspec.Struct, tag="lag.measured", kw_only=True):
    """Fact → published lags since the last of these: a quantile sketch, units of facts by bucket (`lags.py`)."""

    region: str
    source: str
    partition: int
    measured_ms: int
    facts: int
    in_time: int  # of them, within the freshness target
    sketch: dict[int, int]


class ExceptionsOpen(msgspec.Struct, tag="exceptions.open", kw_only=True):
    """The exceptions of one partition that are not settled. `oldest_ms`: when the oldest was opened."""

    region: str
    partition: int
    open: int
    units: int
    oldest_ms: int


class LedgerTotalled(msgspec.Struct, tag="ledger.totalled", kw_only=True):
    """One partition's rows of a business date are published; the sum of every figure over all of them."""

    region: str
    business_date: date
    revision: int
    partition: int
    rows: int
    totals: dict[str, int]


class LedgerChanged(msgspec.Struct, tag="ledger.changed", kw_only=True):
    """Rows of a date that was closed are others now. `revision`: the one that had them as they were."""

    region: str
    business_date: date
    revision: int
    partition: int


Partial = (
    SnapshotCompared | SourceCounted | SourceNumbered | LagMeasured | ExceptionsOpen | LedgerTotalled | LedgerChanged
)


class PartialError(ValueError):
    """A partial that cannot be used: names field, value and what is allowed."""


def parse_partial(document: Any) -> Partial:
    """A validated partial, or PartialError."""
    try:
        found: Partial = msgspec.convert(document, Partial, str_keys=True)
        return found
    except msgspec.ValidationError as error:
        raise PartialError(explain_invalid(document, error)) from None

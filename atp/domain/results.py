"""What `atp.reconciliation.results.v1` holds: verdicts on snapshots, and what is missing of a source."""

from __future__ import annotations

import msgspec

from atp.domain.balances import SourceBalance
from atp.domain.verdicts import Verdict

Result = Verdict | SourceBalance
decode_result = msgspec.json.Decoder(Result).decode


def about(result: Result) -> tuple[str, str, str]:
    """What a result is about: a later one of the same region, source and kind takes its place."""
    return result.region, result.source, result.kind if isinstance(result, Verdict) else ""

"""The room of the channels: every (region, channel) with its mode, what kind of degradation it is, and since when."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from atp.client.records import Record
from atp.domain.modes import CONFIDENT, OPERATOR, ChannelMode, ModeError, kinds_of, parse_mode
from atp.domain.times import rfc3339

Sums = dict[tuple[str, str], dict[str, int]]
NO_RECORDS = {"records": 0, "careful": 0}


def rows(
    sums: Sums,
    modes: dict[str, dict[str, Any]],
    written_ms: Callable[[str], int],
    answerer: Callable[[str, str], str],
) -> list[dict[str, Any]]:
    """One row per (region, channel) that has a record or a mode, in order. `modes`, `written_ms`: by modes' keys."""
    known = {
        place: mode for mode in map(_readable, modes.values()) if mode for place in [(mode.region, mode.channel)]
    }
    return [
        {
            "region": region,
            "channel": channel,
            **_mode(known.get((region, channel), CONFIDENT), written_ms(f"{region}|{channel}")),
            **sums.get((region, channel), NO_RECORDS),
            "answered_by": answerer(region, channel),
        }
        for region, channel in sorted(sums.keys() | known.keys())
    ]


def sums_of(records: Iterable[Record]) -> Sums:
    """Records by region and channel, and how many of them sell carefully."""
    found: Sums = {}
    for record in records:
        for channel, offer in record.channels.items():
            row = found.setdefault((record.region, channel), dict(NO_RECORDS))
            row["records"] += 1
            row["careful"] += offer.confidence != "HIGH"
    return found


def _readable(document: dict[str, Any]) -> ChannelMode | None:
    try:
        return parse_mode(document)
    except ModeError:
        return None


def _mode(row: ChannelMode, written_ms: int) -> dict[str, Any]:
    return {
        "mode": row.mode,
        "kinds": kinds(row),
        "causes": list(row.causes) or ([row.cause] if row.cause else []),
        "reason": row.reason,
        "evidence": [f"{one.source}: {one.detail}" for one in row.evidence],
        "since": row.since or (rfc3339(written_ms) if written_ms else None),
        "expires_at": row.expires_at,
        "runbook": row.runbook,
    }


def kinds(row: ChannelMode) -> list[str]:
    """What a channel suffers from: DELAYED, UNTRUSTED, an OPERATOR's word; several may hold at once."""
    found: list[str] = [*(row.degradation or kinds_of([row.cause]))]
    return [*found, OPERATOR] if OPERATOR in row.reasons() else found


def careful(modes: Iterable[ChannelMode]) -> dict[str, list[str]]:
    """The channels that do not sell confidently, as `region|channel`, by kind."""
    found: dict[str, list[str]] = {}
    for row in sorted(modes, key=lambda mode: (mode.region, mode.channel)):
        if row.mode is not CONFIDENT.mode:
            for kind in kinds(row) or [OPERATOR]:
                found.setdefault(kind, []).append(f"{row.region}|{row.channel}")
    return found

"""Switching: when a region sells carefully and when confidently again. One decision per region, from data alone.

    breach (a verdict, a snapshot that did not come, a silent source) → a standing cause → CONSERVATIVE
    clean cycles of that source, its heartbeat fresh, nobody's exceptions left lying → the cause falls → CONFIDENT

A cycle of a source is a snapshot of it. A source that sends no snapshots has none to wait for: there a fresh
heartbeat is enough. `hear` takes in what is new, `decide` says what follows; both change only the
`RegionModes` they are given, and the same inputs in another order of partitions end in the same decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from atp.domain.freshness import WatermarkBook
from atp.domain.modes import (
    OPERATOR,
    PRECEDENCE,
    Cause,
    ChannelMode,
    Evidence,
    Mode,
    ModeChange,
    ModeCommand,
    kinds_of,
    runbook_of,
)
from atp.domain.partials import ExceptionsOpen, SnapshotCompared
from atp.domain.policy import RegionPolicy
from atp.domain.times import FOREVER_MS, rfc3339, to_ms
from atp.domain.verdicts import Outcome, Series, Verdict, judge, missing

BREACHES = {
    Outcome.DRIFT: Cause.DRIFT,
    Outcome.INCOMPLETE: Cause.SNAPSHOT_MISSING,
    Outcome.MISSING: Cause.SNAPSHOT_MISSING,
}
RESTORED, WITHDRAWN, EXPIRED = "RESTORED", "WITHDRAWN", "EXPIRED"


class Standing(msgspec.Struct):
    """A cause that holds: the breach it began with, and the clean cycles of its source since the last one."""

    evidence: Evidence
    since_ms: int
    clean: int = 0


class Override(msgspec.Struct, frozen=True):
    """An operator's word on a channel."""

    mode: Mode
    reason: str
    by: str
    expires_ms: int = FOREVER_MS


class RegionModes(msgspec.Struct):
    """All that is known of a region's modes."""

    series: dict[str, Series] = {}  # by source|kind
    standings: dict[str, Standing] = {}  # by cause|source|kind
    exceptions: dict[int, tuple[int, int]] = {}  # by partition: how many are open, and since when the oldest (ms)
    overrides: dict[str, Override] = {}  # by channel
    channels: dict[str, ChannelMode] = {}  # what was last published
    asked: list[str] = []  # channels with a command that no row has answered yet


class Decision(NamedTuple):
    """What follows: rows of the modes topic, their changes as facts, verdicts on snapshots that did not come."""

    rows: list[ChannelMode]
    changes: list[ModeChange]
    verdicts: list[Verdict]


def hear(
    state: RegionModes,
    said: SnapshotCompared | ExceptionsOpen | ModeCommand,
    policy: RegionPolicy,
    now_ms: int,
) -> list[Verdict]:
    """Take in what a SKU task or an operator says of the region; the verdicts that it completes."""
    match said:
        case SnapshotCompared():
            return _compared(state, said, policy, now_ms)
        case ExceptionsOpen():
            state.exceptions[said.partition] = (said.open, said.oldest_ms)
        case ModeCommand():
            _order(state, said)
    return []


def _compared(state: RegionModes, partial: SnapshotCompared, policy: RegionPolicy, now_ms: int) -> list[Verdict]:
    name = f"{partial.source}|{partial.kind}"
    series = state.series.get(name)
    if series is None:
        series = state.series[name] = Series(partial.source, partial.kind, partial.as_of_ms)
    series.since_ms = min(series.since_ms, partial.as_of_ms)
    verdicts = [judge(partial.region, series, *ended, policy, now_ms) for ended in series.take(partial)]
    for verdict in verdicts:
        _weigh(state, verdict, policy, now_ms)
    return verdicts


def _order(state: RegionModes, command: ModeCommand) -> None:
    """The latest word on a channel stands; CONFIDENT takes it back. Every word is answered by a row."""
    if command.channel not in state.asked:
        state.asked.append(command.channel)
    if command.mode is Mode.CONFIDENT:
        state.overrides.pop(command.channel, None)
        return
    expires_ms = FOREVER_MS if command.expires_at is None else to_ms(command.expires_at)
    state.overrides[command.channel] = Override(command.mode, command.reason, command.by, expires_ms)


def decide(
    state: RegionModes,
    region: str,
    watermarks: WatermarkBook,
    policy: RegionPolicy,
    now_ms: int,
    read_ms: int | None = None,
) -> Decision:
    """What follows at `now`.

    `read_ms`: all that was said before it was read, by default everything. A snapshot is missing only once it would
    have been read.
    """
    verdicts = list(_missed(state, region, policy, now_ms, now_ms if read_ms is None else read_ms))
    for verdict in verdicts:
        _weigh(state, verdict, policy, now_ms)
    silent = _silent(state, region, watermarks, policy, now_ms)
    released = _release(state, silent, policy, now_ms)
    ended = {channel for channel, word in state.overrides.items() if word.expires_ms <= now_ms}
    for channel in ended:
        del state.overrides[channel]
    decision = Decision([], [], verdicts)
    for channel in sorted({*policy.channels, *state.asked, *state.channels}):
        before = state.channels.get(channel) or ChannelMode(region, channel, Mode.CONFIDENT)
        row = _row(state, before)
        changed = row != before
        if not changed and channel not in state.asked:
            continue
        since = before.since if row.mode is before.mode else rfc3339(now_ms)
        row = msgspec.structs.replace(row, since=since, policy_version=policy.version, version=before.version + 1)
        state.channels[channel] = row
        decision.rows.append(row)
        if changed:
            end = EXPIRED if channel in ended else WITHDRAWN if before.cause == OPERATOR else RESTORED
            decision.changes.append(_change(state, before, row, end, released, now_ms))
    state.asked.clear()
    return decision


def _weigh(state: RegionModes, verdict: Verdict, policy: RegionPolicy, now_ms: int) -> None:
    """A breach opens a cause, or begins its count anew; a clean cycle counts for every cause of its source.

    A snapshot so old that the next one is overdue does not bring back the one that is missing.
    """
    series = state.series[f"{verdict.source}|{verdict.kind}"]
    series.note(verdict)
    if verdict.outcome in BREACHES:
        cause = BREACHES[verdict.outcome]
        evidence = Evidence(
            cause, verdict.source, verdict.detail, verdict.kind, verdict.snapshot_id, verdict.as_of, verdict.figures()
        )
        _breach(state, evidence, now_ms)
        return
    is_old = series.overdue_ms(policy, now_ms) is not None
    for standing in state.standings.values():
        seen = standing.evidence
        if is_old and seen.cause is Cause.SNAPSHOT_MISSING:
            continue
        if seen.source == verdict.source and seen.kind in ("", verdict.kind):
            standing.clean += 1


def _breach(state: RegionModes, evidence: Evidence, now_ms: int) -> None:
    name = f"{evidence.cause}|{evidence.source}|{evidence.kind}"
    state.standings.setdefault(name, Standing(evidence, now_ms)).clean = 0


def _missed(state: RegionModes, region: str, policy: RegionPolicy, now_ms: int, read_ms: int) -> Iterator[Verdict]:
    """One verdict for each source whose latest snapshot is overdue and was not missed before."""
    for _, series in sorted(state.series.items()):
        due_ms = series.overdue_ms(policy, read_ms)
        if due_ms is not None and due_ms > series.missed_ms:
            series.missed_ms = due_ms
            yield missing(region, series, due_ms, policy, now_ms)


def _silent(
    state: RegionModes, region: str, watermarks: WatermarkBook, policy: RegionPolicy, now_ms: int
) -> set[str]:
    """The sources whose heartbeat is not fresh; of those that the region requires, silence is a breach."""
    known = {source for source, place in watermarks if place == region}
    sources = {*policy.required_sources, *known.intersection(series.source for series in state.series.values())}
    silent = set()
    for source in sorted(sources):
        watermark_ms = watermarks.get((source, region), 0)
        if now_ms <= watermark_ms + policy.heartbeat_timeout_ms:
            continue
        silent.add(source)
        if source in policy.required_sources:
            detail = f"{source} has sent no heartbeat for {policy.heartbeat_timeout_ms // 1000} s"
            _breach(state, Evidence(Cause.STALE_SOURCE, source, detail, as_of=rfc3339(watermark_ms)), now_ms)
    return silent


def _release(state: RegionModes, silent: set[str], policy: RegionPolicy, now_ms: int) -> tuple[Evidence, ...]:
    """Let causes fall whose time has come; answers with what."""
    checked = {series.source for series in state.series.values()}
    left_lying = any(
        count and now_ms - oldest_ms >= policy.reconcile_interval_ms for count, oldest_ms in state.exceptions.values()
    )
    released = []
    for name, standing in sorted(state.standings.items()):
        seen = standing.evidence
        needed = policy.clean_cycles_to_restore if seen.source in checked else 0
        held = seen.source in silent or standing.clean < needed or (seen.cause is Cause.DRIFT and left_lying)
        if not held:
            del state.standings[name]
            detail = f"{standing.clean} clean cycles, heartbeat fresh"
            released.append(Evidence(seen.cause, seen.source, detail, seen.kind, figures={"clean": standing.clean}))
    return tuple(released)


def _row(state: RegionModes, before: ChannelMode) -> ChannelMode:
    """What a channel's row says now."""
    word = state.overrides.get(before.channel)
    evidence = _evidence(state)
    found = {seen.cause for seen in evidence} | ({Cause.OPERATOR} if word else set())
    causes = tuple(cause for cause in PRECEDENCE if cause in found)
    mode = word.mode if word else Mode.CONSERVATIVE if causes else Mode.CONFIDENT
    return msgspec.structs.replace(
        before,
        mode=mode,
        cause=causes[0].value if causes else "",
        reason=word.reason if word else evidence[0].detail if evidence else "",
        causes=tuple(cause.value for cause in causes),
        degradation=kinds_of(causes),
        evidence=evidence,
        expires_at=None if word is None or word.expires_ms >= FOREVER_MS else rfc3339(word.expires_ms),
        runbook=runbook_of(causes),
    )


def _evidence(state: RegionModes) -> tuple[Evidence, ...]:
    """What the standing causes began with, the weightiest first."""
    found = [standing.evidence for standing in state.standings.values()]
    return tuple(sorted(found, key=lambda seen: (PRECEDENCE.index(seen.cause), seen.source, seen.kind)))


def _change(
    state: RegionModes, before: ChannelMode, row: ChannelMode, end: str, released: tuple[Evidence, ...], now_ms: int
) -> ModeChange:
    """The fact of a change, with what it rests on: for a way up, the cycles that earned it."""
    word = state.overrides.get(row.channel)
    return ModeChange(
        type="mode.switched" if row.mode is not before.mode else "mode.updated",
        event_id=f"{row.region}|{row.channel}|{row.version}",
        region=row.region,
        channel=row.channel,
        from_mode=before.mode,
        to=row.mode,
        cause=row.cause or end,
        causes=row.causes,
        degradation=row.degradation,
        evidence=row.evidence or released,
        reason=row.reason,
        by=word.by if word else "",
        expires_at=row.expires_at,
        occurred_at=rfc3339(now_ms),
        policy_version=row.policy_version,
        runbook=row.runbook or before.runbook,
    )

"""Switching of modes: readable scenarios, and the laws that hold for whatever happens."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.domain.freshness import Heartbeat, WatermarkBook
from atp.domain.modes import Cause, Degradation, Mode, ModeChange, ModeCommand, ModeError, parse_command, runbook_of
from atp.domain.partials import ExceptionsOpen, SnapshotCompared
from atp.domain.policy import PolicyBook, RegionPolicy, parse_policy
from atp.domain.switching import RegionModes, decide, hear
from atp.domain.times import MINUTE_MS, from_ms
from atp.domain.verdicts import Outcome, Verdict
from tests.unit.test_properties import law

FILES = sorted((Path(__file__).parents[1] / "scenarios" / "switching").glob("*.txt"))
PARTITIONS = 3
REGION = "uk"
FIGURES: dict[str, int] = {"keys": 100, "drifting": 0, "units": 1000, "drifted": 0}


def policy_of(**fields: Any) -> RegionPolicy:
    """A policy of the region."""
    book = PolicyBook()
    book.put(parse_policy({"scope": "default", "version": 1, "channels": ["web", "app"], **fields}))
    return book.of_region(REGION)


def compared(source: str, name: str, as_of_ms: int, partition: int, **figures: Any) -> SnapshotCompared:
    """What one partition says of a snapshot; the whole difference lies in partition 0."""
    found = {**FIGURES, **figures} if partition == 0 else dict.fromkeys(FIGURES, 0)
    return SnapshotCompared(
        region=REGION, source=source, kind="reservations" if source == "oms" else "stock", snapshot_id=name,
        as_of_ms=as_of_ms, partition=partition, partitions=PARTITIONS, expected_rows=found["keys"],
        expected_units=found["units"], rows=found["keys"], units=found["units"], keys=found["keys"],
        drifting_keys=found["drifting"], drifted_units=found["drifted"], over_promised_units=0,
        complete=figures.get("complete", True), compared_ms=as_of_ms,
    )  # fmt: skip


class Stage:
    """A region, played line by line."""

    def __init__(self) -> None:
        self.policy = policy_of()
        self.state = RegionModes()
        self.watermarks = WatermarkBook()
        self.now_ms = 0
        self.verdicts: list[Verdict] = []
        self.changes: list[ModeChange] = []
        self.as_of_ms: dict[str, int] = {}  # of each snapshot that was named

    def play(self, words: list[str]) -> None:
        """One line; a time lets the clock go on, and ends in a decision."""
        if not re.match(r"\d", words[0]):
            getattr(self, f"say_{words[0]}")(*words[1:])
            return
        self.now_ms = self.instant_ms(words[0])
        getattr(self, f"on_{words[1]}")(*words[2:])
        decision = decide(self.state, REGION, self.watermarks, self.policy, self.now_ms)
        self.changes += decision.changes
        self.verdicts += decision.verdicts
        again = decide(self.state, REGION, self.watermarks, self.policy, self.now_ms)
        assert again == ([], [], []), "a second look at the same instant found something new"

    def instant_ms(self, text: str) -> int:
        """A time of the one day of the story."""
        hours, minutes = text.split(":")
        return (int(hours) * 60 + int(minutes)) * MINUTE_MS

    # --- what happens

    def on_look(self) -> None:
        """Time has passed."""

    def on_alive(self, source: str) -> None:
        """A heartbeat."""
        self.watermarks.put(Heartbeat(source, REGION, from_ms(self.now_ms)))

    def on_snapshot(self, source: str, name: str, *words: str) -> None:
        """Every partition has compared a snapshot."""
        figures: dict[str, Any] = {n: int(v) for n, _, v in (word.partition("=") for word in words) if v}
        figures["complete"] = "incomplete" not in words
        for partition in range(PARTITIONS):
            self.take(compared(source, name, self.as_of_ms.setdefault(name, self.now_ms), partition, **figures))

    def on_part(self, source: str, name: str, partition: str) -> None:
        """One partition has compared a snapshot."""
        self.take(compared(source, name, self.as_of_ms.setdefault(name, self.now_ms), int(partition)))

    def on_exceptions(self, partition: str, *words: str) -> None:
        """The exceptions of a partition."""
        named = dict(word.split("=") for word in words)
        oldest_ms = self.instant_ms(named["oldest"])
        self.take(
            ExceptionsOpen(
                region=REGION, partition=int(partition), open=int(named["open"]), units=9, oldest_ms=oldest_ms
            )
        )

    def on_say(self, channel: str, mode: str, *words: str) -> None:
        """An operator's word."""
        minutes = [int(word[4:]) for word in words if word.startswith("for=")]
        document = {
            "command_id": "c", "region": REGION, "channel": channel, "mode": mode, "by": "ann",
            "issued_at": from_ms(self.now_ms),
            "reason": " ".join(word for word in words if not word.startswith("for=")),
            "expires_at": from_ms(self.now_ms + minutes[0] * MINUTE_MS) if minutes else None,
        }  # fmt: skip
        hear(self.state, parse_command(document), self.policy, self.now_ms)

    def take(self, partial: SnapshotCompared | ExceptionsOpen) -> None:
        """A partial arrives."""
        self.verdicts += hear(self.state, partial, self.policy, self.now_ms)

    # --- what is said of it

    def say_policy(self, *fields: str) -> None:
        """Another policy."""
        self.policy = policy_of(**{name: json.loads(value) for name, _, value in (f.partition("=") for f in fields)})

    def say_expect(self, *words: str) -> None:
        """The mode of a channel (of both), its causes and kinds of degradation."""
        channels = [words[0]] if words[0].islower() else ["web", "app"]
        expected = list(words) if words[0].isupper() else list(words[1:])
        for channel in channels:
            row = self.state.channels.get(channel)
            found = [row.mode.value if row else "CONFIDENT"]
            if row and row.causes:
                assert row.cause == row.causes[0]
                found += [",".join(row.causes)] + (
                    [",".join(sorted(row.degradation)[::-1])] if row.degradation else []
                )
            assert found == expected, f"{channel}: {row}"

    def say_changed(self, channel: str, switch: str, cause: str) -> None:
        """A switch of a mode that has not been told yet."""
        found = next(c for c in self.changes if c.channel == channel and c.type == "mode.switched")
        self.changes.remove(found)
        assert (f"{found.from_mode}->{found.to}", found.cause) == (switch, cause)
        assert found.runbook
        assert found.evidence or found.causes in ((), ("OPERATOR",))

    def say_verdict(self, outcome: str, name: str = "") -> None:
        """A verdict that has not been told yet; those before it are passed over."""
        while (found := self.verdicts.pop(0)).outcome.value != outcome:
            pass
        assert name in ("", found.snapshot_id)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    """Every line of a scenario holds."""
    stage = Stage()
    assert path.read_text().startswith("# ")
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        words = raw.partition("#")[0].split()
        if words:
            try:
                stage.play(words)
            except AssertionError as error:
                raise AssertionError(f"{path.name}:{number}: {raw}\n{error}") from None


def test_a_row_tells_kind_evidence_and_runbook() -> None:
    """A degraded row carries all that a reader needs to act: kinds, since when, figures, what to read."""
    stage = Stage()
    stage.play(["10:00", "snapshot", "wms", "s1", "drifting=50", "drifted=7"])
    row = stage.state.channels["web"]
    (seen,) = row.evidence
    assert row.degradation == (Degradation.UNTRUSTED,)
    assert row.since == "1970-01-01T10:00:00.000Z"
    assert (seen.cause, seen.source, seen.snapshot_id) == (Cause.DRIFT, "wms", "s1")
    assert seen.figures["drifting_keys"] == 50
    assert row.reason == "50 of 100 keys and 7 of 1000 units drift"
    assert (row.policy_version, row.version, row.runbook) == (1, 1, "runbooks/drift.md")


def test_the_latest_snapshot_is_remembered() -> None:
    """What it came to and how far it differed; one that does not come leaves the figures of the one before."""
    stage = Stage()
    stage.play(["10:00", "snapshot", "wms", "s1", "drifting=50", "drifted=7"])
    series = stage.state.series["wms|stock"]
    assert (series.outcome, series.units, series.divergence) == (Outcome.DRIFT, 1000, 0.007)
    stage.play(["14:00", "look"])
    assert (series.outcome, series.units, series.divergence) == (Outcome.MISSING, 1000, 0.007)


def test_late_and_wrong_at_once_have_a_page_of_their_own() -> None:
    """The page is the weightiest cause's, unless both kinds hold; an operator's word comes before all."""
    assert runbook_of([]) == ""
    assert runbook_of([Cause.DRIFT, Cause.SNAPSHOT_MISSING]) == "runbooks/drift.md"
    assert runbook_of([Cause.SNAPSHOT_MISSING, Cause.STALE_SOURCE]) == "runbooks/delayed-and-untrusted.md"
    assert runbook_of(list(Cause)) == "runbooks/channel-suspended.md"


def test_nothing_is_missed_before_all_that_was_said_is_read() -> None:
    """A task that has just started has not read yet what came while it was away; what comes later does not matter."""
    stage = Stage()
    stage.play(["10:00", "snapshot", "wms", "s1"])
    late_ms = stage.instant_ms("14:00")
    for read_ms, known in ((stage.instant_ms("10:00"), False), (stage.instant_ms("13:59"), True)):
        found = decide(stage.state, REGION, stage.watermarks, stage.policy, late_ms, read_ms)
        assert [verdict.outcome for verdict in found.verdicts] == [Outcome.MISSING] * known


def test_an_old_snapshot_does_not_stand_for_the_one_that_is_missing() -> None:
    """It is told apart by partition: the next one is missed before all have compared it, and stays missed after."""
    stage = Stage()
    stage.policy = policy_of(clean_cycles_to_restore=1)
    stage.as_of_ms["s1"] = stage.instant_ms("10:00")
    for line in ("14:00 alive wms", "14:00 part wms s1 0", "14:01 part wms s1 1", "14:01 part wms s1 2"):
        stage.play(line.split())
    assert [verdict.outcome for verdict in stage.verdicts] == [Outcome.MISSING, Outcome.CLEAN]
    assert stage.state.channels["web"].causes == ("SNAPSHOT_MISSING",)
    stage.play(["14:02", "snapshot", "wms", "s2"])
    assert stage.state.channels["web"].mode is Mode.CONFIDENT


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mode": "SUSPENDED"}, "reason is missing"),
        ({"mode": "PERHAPS", "reason": "r"}, "mode = 'PERHAPS'"),
        ({"mode": "SUSPENDED", "reason": "r", "expires_at": "1970-01-01T00:00:00Z"}, "after issued_at"),
        ({"type": "mode.clear", "mode": "CONFIDENT"}, "mode.set is allowed"),
    ],
)
def test_a_command_that_cannot_be_used_is_refused(fields: dict[str, str], words: str) -> None:
    """An operator's word needs a reason, a known mode and an end that lies ahead."""
    whole = {"command_id": "c", "region": "uk", "channel": "web", "issued_at": "2026-01-01T00:00:00Z", **fields}
    with pytest.raises(ModeError, match=words):
        parse_command(whole)


# --- laws

Told = SnapshotCompared | ExceptionsOpen | ModeCommand | Heartbeat
SOURCES = ("wms", "oms")
STEP_MS = 10 * MINUTE_MS


@st.composite
def cycles(draw: st.DrawFn) -> list[tuple[int, list[Told]]]:
    """Instants, and what is said at each; the partials of a snapshot may spread over several."""
    said: dict[int, list[Told]] = {}
    for at in range(draw(st.integers(1, 14))):
        now_ms = (at + 1) * STEP_MS
        said.setdefault(now_ms, [])
        for source in SOURCES:
            if draw(st.booleans()):
                said[now_ms].append(Heartbeat(source, REGION, from_ms(now_ms)))
            if draw(st.booleans()):
                figures: dict[str, Any] = {
                    "drifting": draw(st.sampled_from([0, 2, 3])), "complete": draw(st.integers(0, 9)) > 0
                }  # fmt: skip
                for partition in range(PARTITIONS):
                    later_ms = now_ms + draw(st.sampled_from([0, 0, STEP_MS]))
                    part = compared(source, f"{source}{at}", now_ms, partition, **figures)
                    said.setdefault(later_ms, []).append(part)
        if draw(st.integers(0, 4)) == 0:
            mode = draw(st.sampled_from(list(Mode)))
            ends = draw(st.sampled_from([None, from_ms(now_ms + 3 * STEP_MS)]))
            said[now_ms].append(
                ModeCommand(
                    command_id="c",
                    region=REGION,
                    channel="web",
                    mode=mode,
                    reason="r",
                    issued_at=from_ms(now_ms),
                    expires_at=ends,
                )
            )
    return sorted(said.items())


class Run:
    """A region through cycles; keeps what was decided."""

    def __init__(self) -> None:
        self.policy = policy_of(required_sources=["wms"])
        self.state, self.watermarks = RegionModes(), WatermarkBook()
        self.told: list[Any] = []
        self.verdicts: list[Verdict] = []

    def at(self, now_ms: int, said: list[Told]) -> None:
        """All that is said at an instant, then one decision."""
        for one in said:
            if isinstance(one, Heartbeat):
                self.watermarks.put(one)
            else:
                self.verdicts += hear(self.state, one, self.policy, now_ms)
        decision = decide(self.state, REGION, self.watermarks, self.policy, now_ms)
        self.verdicts += decision.verdicts
        self.told.append((decision.rows, decision.changes))


@given(cycles())
@law(200)
def test_no_channel_is_confident_with_an_open_breach(story: list[tuple[int, list[Told]]]) -> None:
    """CONFIDENT means: the latest verdict of every source is clean, none is overdue, and required sources speak."""
    run = Run()
    for now_ms, said in story:
        run.at(now_ms, said)
        latest = {(v.source, v.kind): v for v in run.verdicts}
        breach = any(v.outcome.value != "CLEAN" for v in latest.values())
        silent = now_ms > run.watermarks.get(("wms", REGION), 0) + run.policy.heartbeat_timeout_ms
        modes = {channel: row.mode for channel, row in run.state.channels.items()}
        confident = [c for c in run.policy.channels if modes.get(c, Mode.CONFIDENT) is Mode.CONFIDENT]
        assert not (confident and (breach or silent)), (confident, latest)
        for row in run.state.channels.values():
            kinds = {Degradation.DELAYED} if "STALE_SOURCE" in row.causes else set()
            kinds |= {Degradation.UNTRUSTED} if {"DRIFT", "SNAPSHOT_MISSING"}.intersection(row.causes) else set()
            assert set(row.degradation) == kinds
            assert (row.mode is Mode.CONFIDENT) == (not row.causes)


@given(cycles(), st.randoms(use_true_random=False))
@law(200)
def test_the_order_of_partitions_does_not_matter(story: list[tuple[int, list[Told]]], chance: Any) -> None:
    """What the partitions say in one instant, in another order of partitions, ends in the same decisions."""
    straight, mixed = Run(), Run()
    for now_ms, said in story:
        straight.at(now_ms, said)
        mixed.at(now_ms, interleaved(said, chance))
    assert mixed.told == straight.told
    assert msgspec.msgpack.encode(mixed.state.channels) == msgspec.msgpack.encode(straight.state.channels)


def interleaved(said: list[Told], chance: Any) -> list[Told]:
    """The same, with the partitions in another order; each still speaks in its own."""

    def partition(one: Told) -> int:
        return one.partition if isinstance(one, SnapshotCompared) else -1

    queues = [list(group) for _, group in groupby(sorted(said, key=partition), key=partition)]
    mixed = []
    while queues:
        queue = chance.choice(queues)
        mixed.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    return mixed


@given(cycles())
@law(200)
def test_a_replay_of_partials_changes_nothing(story: list[tuple[int, list[Told]]]) -> None:
    """All partials once more after the end: no row, no fact and no verdict come of it."""
    run = Run()
    for now_ms, said in story:
        run.at(now_ms, said)
    whole = {v.snapshot_id for v in run.verdicts}
    before = msgspec.msgpack.encode(run.state)
    again = [one for _, said in story for one in said if getattr(one, "snapshot_id", None) in whole]
    told = len(run.verdicts)
    run.at(story[-1][0], again)
    assert run.told[-1] == ([], [])
    assert len(run.verdicts) == told
    assert msgspec.msgpack.encode(run.state) == before


@given(cycles(), st.integers(0, 13))
@law(100)
def test_a_restart_changes_nothing(story: list[tuple[int, list[Told]]], at: int) -> None:
    """State that was written and read back decides as the one that stayed in memory."""
    stayed, restarted = Run(), Run()
    for number, (now_ms, said) in enumerate(story):
        if number == at:
            restarted.state = msgspec.msgpack.decode(msgspec.msgpack.encode(restarted.state), type=RegionModes)
        stayed.at(now_ms, said)
        restarted.at(now_ms, said)
    assert restarted.told == stayed.told

"""`atp exceptions`: keys that drift, what is known of each, and a person's word on a proposed correction."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterable
from typing import IO, Any

import msgspec

from atp import admin, topics
from atp.commands import clients
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.lines import Outgoing
from atp.commands.publish import produce
from atp.commands.worker import checked_settings
from atp.domain.causes import Cause
from atp.domain.exceptions import Decision, ExceptionRecord, Stage
from atp.domain.times import MINUTE_MS, from_ms, rfc3339, to_ms
from atp.lane.keys import partition_of
from atp.settings import Settings

ANSWER_S, LOOK_S = 10.0, 0.2
VERBS = {"approve": "exception.approved", "reject": "exception.rejected"}
_decode = msgspec.json.Decoder(ExceptionRecord).decode


class Selection(msgspec.Struct, frozen=True):
    """Which exceptions are meant; without a state, all that are not VERIFIED."""

    region: str | None = None
    state: str | None = None
    cause: str | None = None
    min_age_ms: int = 0

    @classmethod
    def of(cls, region: str | None, state: str | None, cause: str | None, min_age_minutes: int) -> Selection:
        """A selection from the command line's words, or WrongUseError."""
        for name, word, allowed in (("--state", state, Stage), ("--cause", cause, Cause)):
            if word is not None and word.upper() not in list(allowed):
                raise WrongUseError(f"{name} = {word!r}: allowed are {', '.join(allowed)}")
        return cls(region, state and state.upper(), cause and cause.upper(), min_age_minutes * MINUTE_MS)

    def holds(self, found: ExceptionRecord, now_ms: int) -> bool:
        """Whether an exception is meant."""
        return (
            self.region in (None, found.region)
            and (found.state == self.state if self.state else found.state is not Stage.VERIFIED)
            and self.cause in (None, found.cause)
            and now_ms - to_ms(found.opened_at) >= self.min_age_ms
        )


def list_exceptions(selection: Selection, as_json: bool, out: IO[str], ids: bool = False) -> None:
    """Print exceptions, the oldest first. `ids`: nothing but their ids."""
    now_ms = time.time_ns() // 1_000_000
    chosen = [one for one in read(checked_settings()).values() if selection.holds(one, now_ms)]
    chosen.sort(key=lambda one: (one.opened_at, one.exception_id))
    if as_json:
        out.write(msgspec.json.encode({"exceptions": [said(one, now_ms) for one in chosen]}).decode() + "\n")
        return
    if ids:
        out.writelines(f"{one.exception_id}\n" for one in chosen)
        return
    out.writelines(f"{in_words(one)}  {age_in_words(now_ms - to_ms(one.opened_at))} old\n" for one in chosen)
    out.write(f"{len(chosen)} exceptions, {sum(one.units for one in chosen)} units\n")


def show(exception_id: str, as_json: bool, out: IO[str]) -> None:
    """Print all that is known of one exception."""
    one, now_ms = find(exception_id, checked_settings()), time.time_ns() // 1_000_000
    if as_json:
        out.write(msgspec.json.encode(said(one, now_ms)).decode() + "\n")
        return
    out.write(f"{in_words(one)}\n")
    out.write(f"  {one.kind} of {one.source}, snapshot {one.snapshot_id}, as of {_stamp(one.as_of)}\n")
    for name in one.ours:
        out.write(f"  {name}: ours {one.ours[name]}, theirs {one.theirs.get(name, 0)}\n")
    if one.correction:
        out.write(f"  correction {one.correction}\n")
    for step in one.history:
        out.write(f"  {_stamp(step.at)}  {step.state}  by {step.by}{'  ' if step.why else ''}{step.why}\n")


def decide(exception_id: str, verb: str, reason: str, out: IO[str], by: str | None = None) -> None:
    """Approve or reject a proposed correction, and wait for what becomes of it. `verb`: approve or reject."""
    config = checked_settings()
    if not reason.strip():
        raise WrongUseError(f"--reason = {reason!r}: say why, for those who read it later")
    before = find(exception_id, config)
    if before.state is not Stage.PROPOSED:
        raise CommandError(
            f"ID = {exception_id!r}: is {before.state}; only one that is PROPOSED waits for a decision"
        )
    send(before, verb, reason, by or getpass.getuser(), config)
    after = await_answer(before, config)
    if after is None:
        out.write(f"{exception_id}: asked to {verb}, but no worker has answered within {ANSWER_S:.0f} s\n")
    else:
        out.write(f"{exception_id} is {after.state}\n")


def send(record: ExceptionRecord, verb: str, reason: str, by: str, config: Settings) -> Decision:
    """Send a person's word on an exception to the task of its SKU. `verb`: approve or reject."""
    now = from_ms(time.time_ns() // 1_000_000)
    named = {"exception_id": record.exception_id, "sku": record.sku}
    decision = Decision(type=VERBS[verb], **named, by=by, reason=reason, decided_at=now)  # type: ignore[arg-type]
    produce([Outgoing(topics.DECISIONS.name, record.sku, msgspec.json.encode(decision), None, 1)], config)
    return decision


def await_answer(before: ExceptionRecord, config: Settings, patience_s: float = ANSWER_S) -> ExceptionRecord | None:
    """The exception once it has moved on; None when it did not in time."""
    partition = partition_of(before.sku, config.partitions)
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        after = read(config, [partition]).get(before.exception_id)
        if after is not None and len(after.history) > len(before.history):
            return after
        time.sleep(LOOK_S)
    return None


def find(exception_id: str, config: Settings) -> ExceptionRecord:
    """An exception, or one clear line."""
    found = read(config).get(exception_id)
    if found is None:
        raise CommandError(f"ID = {exception_id!r}: no exception has this id; `atp exceptions list` shows them")
    return found


def read(config: Settings, partitions: Iterable[int] | None = None) -> dict[str, ExceptionRecord]:
    """The latest record of every exception, by id: of all partitions, or of some."""
    found = {}
    with clients.one_line(config.bootstrap):
        if partitions is None:
            known = admin.partition_counts(admin.client(config.admin()), config.bootstrap)
            partitions = range(known.get(topics.EXCEPTIONS.name, 0))
        with clients.consumer(config.admin()) as reader:
            for message in clients.read_whole(reader, [(topics.EXCEPTIONS.name, p) for p in partitions]):
                found[message.key().decode()] = message.value()
    return {name: _decode(value) for name, value in found.items() if value is not None}


def said(one: ExceptionRecord, now_ms: int) -> dict[str, Any]:
    """An exception for programs, with its age."""
    plain: dict[str, Any] = msgspec.to_builtins(one)
    return plain | {"age_s": max(0, now_ms - to_ms(one.opened_at)) // 1000}


def in_words(one: ExceptionRecord) -> str:
    """One exception: what it is about, whose it is, how much."""
    about = one.node if one.reservation_id is None else f"{one.reservation_id}/{one.line}"
    over = f" ({one.over_promised_units} promised too many)" if one.over_promised_units else ""
    return (
        f"{one.exception_id}  {one.state:<9}{one.region}  {one.sku} {about}  {one.cause}  "
        f"{one.units} units{over}  owner {one.owner}"
    )


def age_in_words(age_ms: int) -> str:
    """`3 h 20 min`."""
    hours, minutes = divmod(max(0, age_ms) // MINUTE_MS, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _stamp(instant: Any) -> str:
    return rfc3339(to_ms(instant))

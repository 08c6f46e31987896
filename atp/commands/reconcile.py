"""`atp reconcile`: how the snapshots of a file compare with its facts, and the latest verdicts of the workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, Any

import msgspec

from atp import admin, topics
from atp.commands import clients, exceptions
from atp.commands.errors import CommandError
from atp.commands.exceptions import age_in_words, in_words
from atp.commands.files import instant_ms, load_nodes, load_policies, read_bytes
from atp.commands.fold import Folded, fold_file
from atp.commands.worker import checked_settings
from atp.domain.audit import Audit, Pending
from atp.domain.balances import SourceBalance
from atp.domain.exceptions import ExceptionRecord, Stage
from atp.domain.fold import World
from atp.domain.partials import SnapshotCompared
from atp.domain.results import Result, about, decode_result
from atp.domain.times import rfc3339, to_ms
from atp.domain.verdicts import Outcome, Verdict
from atp.settings import Settings


class Verify(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    facts: Path
    policy: Path | None = None
    nodes: Path | None = None
    now: str | None = None
    as_json: bool = False


def verify(options: Verify, out: IO[str], err: IO[str]) -> None:
    """Print how every snapshot compares, and the exceptions that would be open; raise when anything is not right."""
    folded = _fold(options)
    assert folded.audit is not None
    err.writelines(msgspec.json.encode(refusal).decode() + "\n" for refusal in folded.refusals)
    exceptions = folded.audit.exceptions()
    if options.as_json:
        out.write(msgspec.json.encode(_report(folded.audit, exceptions)).decode() + "\n")
    else:
        out.writelines(_compared(one) + "\n" for one in folded.audit.compared)
        out.writelines(_pending(one) + "\n" for one in folded.audit.pending)
        out.writelines(in_words(one) + "\n" for one in exceptions)
    _check(folded.audit, options.facts)


def _fold(options: Verify) -> Folded:
    world = World()
    if options.policy is not None:
        load_policies(options.policy, world)
    if options.nodes is not None:
        load_nodes(options.nodes, world)
    now_ms = None if options.now is None else instant_ms(options.now, "--now")
    return fold_file(read_bytes(options.facts, "--facts"), world, now_ms)


def _check(audit: Audit, facts: Path) -> None:
    """A drift whose exception a person rejected is right: the snapshot is known to be wrong."""
    found = audit.exceptions()
    rejected = bool(found) and all(one.state is Stage.REJECTED for one in found)
    drifting = 0 if rejected else sum(one.drifting_keys for one in audit.compared)
    incomplete = sum(not one.complete for one in audit.compared)
    if drifting or incomplete:
        raise CommandError(f"{facts}: {drifting} keys drift, {incomplete} snapshots are incomplete")
    if not audit.compared:
        why = "none of them can be compared yet" if audit.pending else "it holds none"
        raise CommandError(f"{facts}: no snapshot was compared, {why}")


def _report(audit: Audit, exceptions: list[ExceptionRecord]) -> dict[str, Any]:
    return {
        "snapshots": [_figures(one) for one in audit.compared],
        "waiting": [{**one._asdict(), "as_of": rfc3339(one.as_of_ms)} for one in audit.pending],
        "exceptions": exceptions,
        "corrections": audit.corrections,
        "drifting_keys": sum(one.drifting_keys for one in audit.compared),
        "incomplete": sum(not one.complete for one in audit.compared),
    }


def _figures(one: SnapshotCompared) -> dict[str, Any]:
    names = (
        "region", "source", "kind", "snapshot_id", "complete", "expected_rows", "expected_units", "rows", "units",
        "keys", "drifting_keys", "drifted_units", "over_promised_units",
    )  # fmt: skip
    return {"outcome": _outcome(one), "as_of": rfc3339(one.as_of_ms)} | {name: getattr(one, name) for name in names}


def _outcome(one: SnapshotCompared) -> str:
    return "INCOMPLETE" if not one.complete else "DRIFT" if one.drifting_keys else "CLEAN"


def _compared(one: SnapshotCompared) -> str:
    line = (
        f"{one.region}  {one.source}  {one.kind}  {one.snapshot_id}  as of {rfc3339(one.as_of_ms)}  {_outcome(one)}: "
        f"{one.drifting_keys} of {one.keys} keys and {one.drifted_units} of {one.units} units drift, "
        f"{one.over_promised_units} promised too many"
    )
    missing = f"; {one.rows} of {one.expected_rows} rows, {one.units} of {one.expected_units} units came"
    return line if one.complete else line + missing


def _pending(one: Pending) -> str:
    return (
        f"{one.region}  {one.source}  {one.kind}  {one.snapshot_id}  as of {rfc3339(one.as_of_ms)}  WAITING: "
        "no heartbeat of the source says that it has passed it"
    )


def status(region: str | None, as_json: bool, out: IO[str], check: bool = False) -> None:
    """Print the latest word on every region and source, and what lies open there.

    `check`: raise unless every snapshot agrees and nothing waits for anybody.
    """
    config, now_ms = checked_settings(), time.time_ns() // 1_000_000
    results = [one for one in latest(config) if region in (None, one.region)]
    verdicts = [one for one in results if isinstance(one, Verdict)]
    balances = [one for one in results if isinstance(one, SourceBalance)]
    lying = [one for one in open_by_region(config, now_ms) if region in (None, one["region"])]
    if as_json:
        found = {"verdicts": verdicts, "balances": balances, "exceptions": lying}
        out.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _say(verdicts, balances, lying, out)
    wrong = [one for one in verdicts if one.outcome is not Outcome.CLEAN]
    if check and (wrong or lying or not verdicts):
        raise CommandError(
            f"{len(wrong)} of {len(verdicts)} snapshots are not clean, {_open(lying)} exceptions are open"
        )


def _say(verdicts: list[Verdict], balances: list[SourceBalance], lying: list[dict[str, Any]], out: IO[str]) -> None:
    for one in verdicts:
        name = f" {one.snapshot_id}" if one.snapshot_id else ""
        out.write(f"{one.region}  {one.source}  {one.kind}{name}  as of {one.as_of}  {one.outcome}: {one.detail}\n")
    out.writelines(f"{one.region}  {one.source}  {one.detail}\n" for one in balances if one.detail)
    for row in lying:
        age = age_in_words(row["oldest_age_s"] * 1000)
        out.write(f"{row['region']}  {row['open']} exceptions open, {row['units']} units, the oldest {age} old\n")
    if not verdicts:
        out.write("no snapshot was judged yet\n")
    if not lying:
        out.write("no exception is open\n")


def _open(lying: list[dict[str, Any]]) -> int:
    return sum(row["open"] for row in lying)


def latest(config: Settings) -> list[Result]:
    """The latest verdict of every region, source and kind, and balance of every source, in order of their names."""
    found: dict[tuple[str, str, str], Result] = {}
    with clients.one_line(config.bootstrap):
        known = admin.partition_counts(admin.client(config.admin()), config.bootstrap).get(topics.RESULTS.name, 0)
        with clients.consumer(config.admin()) as reader:
            for message in clients.read_whole(reader, [(topics.RESULTS.name, p) for p in range(known)]):
                result = decode_result(message.value())
                found[about(result)] = result
    return [found[name] for name in sorted(found)]


def open_by_region(config: Settings, now_ms: int) -> list[dict[str, Any]]:
    """Exceptions that are not settled by region: how many, their units, the age of the oldest (s)."""
    found: dict[str, list[ExceptionRecord]] = {}
    for one in exceptions.read(config).values():
        if one.state not in (Stage.VERIFIED, Stage.REJECTED):
            found.setdefault(one.region, []).append(one)
    return [
        {
            "region": region, "open": len(ones), "units": sum(one.units for one in ones),
            "oldest_age_s": max(0, now_ms - min(to_ms(one.opened_at) for one in ones)) // 1000,
        }
        for region, ones in sorted(found.items())
    ]  # fmt: skip

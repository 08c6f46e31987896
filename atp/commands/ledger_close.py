"""`atp ledger close`: every business date that may be closed, from a file or from the topics."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from atp.commands.errors import WrongUseError
from atp.commands.files import instant_ms
from atp.commands.ledger_words import line_of, shortfalls, told, uncollected
from atp.commands.worker import checked_settings
from atp.domain.ledger_close import Status
from atp.domain.times import rfc3339
from atp.ledger.close import Closing, close
from atp.ledger.columns import date_of
from atp.ledger.days import LedgerDay, closable, ledger_days
from atp.ledger.gather import Gathered, gather
from atp.ledger.log import Archive, LogOrigin
from atp.ledger.origins import FileOrigin, Origin
from atp.ledger.store import Manifest, Store


class Given(msgspec.Struct, frozen=True):
    """Where the facts are: in a file, else on the broker of the settings."""

    facts: Path | None = None
    policy: Path | None = None
    nodes: Path | None = None
    bootstrap: bool = False

    def origin(self, store: Store | None) -> Origin:
        """What facts are read from; with a broker, everything is read now. `store`: has the archive, if any."""
        if self.facts is not None:
            return FileOrigin(self.facts, self.policy, self.nodes)
        require_broker(
            self.bootstrap, "--facts or --bootstrap is needed: a FACTS.jsonl, or a broker that has the facts"
        )
        found = LogOrigin(checked_settings().admin(), Archive(store))
        found.read()
        return found


def require_broker(named: bool, otherwise: str) -> None:
    """Wrong use unless a broker was named, as an option or in the environment: the default is nobody's ledger."""
    if not named and "ATP_BOOTSTRAP" not in os.environ:
        raise WrongUseError(otherwise)


class CloseOptions(msgspec.Struct):
    """Options of `atp ledger close`."""

    out: str
    now: str | None
    region: str | None = None
    with_csv: bool = False
    as_json: bool = False


def close_days(given: Given, options: CloseOptions, out: IO[str], err: IO[str]) -> None:
    """Close every date that may be closed at an instant; exit code 0 also when some must wait.

    From a broker: what is new is archived first, and the rows of what was closed go to their topic last.
    """
    close_ms = _close_ms(given, options.now)
    with told(), uncollected():
        store = Store(options.out)
        origin = given.origin(store)
        if isinstance(origin, LogOrigin):
            origin.archive()
        gathered = gather(origin.records(), origin.world(), close_ms)
        err.writelines(f"atp: {message}\n" for _, message in sorted(origin.wrong.items()))
        err.write(_refused(gathered))
        waiting: list[LedgerDay] = []
        days = _noting(ledger_days(gathered, close_ms, options.region), waiting)
        closing = Closing(close_ms, gathered.inputs, options.with_csv)
        for manifest in close(closable(days), store, closing):
            out.write(_said(manifest, options.as_json))
    for day in waiting:
        out.write(_still_open(day, options.as_json))


def _refused(gathered: Gathered) -> str:
    """The refused facts in one line, so that nobody takes them for booked."""
    reasons = Counter(missed.reason for missed in gathered.refused)
    if not reasons:
        return ""
    said = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"atp: refused and not booked: {said}; `atp fold` names each\n"


def _close_ms(given: Given, now: str | None) -> int:
    if now is not None:
        return instant_ms(now, "--now")
    if given.facts is not None:
        raise WrongUseError("--now is needed with --facts: the instant of the close, such as 2011-11-25T06:00:00Z")
    return time.time_ns() // 1_000_000


def _noting(days: Iterator[LedgerDay], waiting: list[LedgerDay]) -> Iterator[LedgerDay]:
    """Note the first open day of each region: it is what the later ones wait for."""
    for day in days:
        noted = bool(waiting) and waiting[-1].region == day.region
        if day.judgement.status is Status.OPEN and not noted:
            waiting.append(day)
        yield day


def _said(manifest: Manifest, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(manifest).decode() + "\n"
    return f"{line_of(manifest)}\n" + "".join(f"    missing: {text}\n" for text in shortfalls(manifest))


def _still_open(day: LedgerDay, as_json: bool) -> str:
    ends = rfc3339(day.day.end_ms)
    found: dict[str, Any] = {
        "business_date": date_of(day.day.ordinal),
        "region": day.region,
        "status": Status.OPEN,
        "waiting": day.judgement.waiting,
    }
    if as_json:
        return msgspec.json.encode(found).decode() + "\n"
    why = f"no heartbeat past {ends} of {', '.join(day.judgement.waiting)}" if day.judgement.waiting else "grace"
    return f"{found['business_date']}  {day.region:<16}{Status.OPEN:<24}waits: {why}\n"

"""`atp ledger`: close the days of a file, show and prove what was closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import IO, Any

import msgspec

from atp.commands.errors import CommandError, WrongUseError
from atp.commands.files import instant_ms
from atp.domain.ledger_close import Status
from atp.domain.times import rfc3339
from atp.ledger.close import Closing, close
from atp.ledger.columns import BrokenLedgerError, date_of
from atp.ledger.days import LedgerDay, closable, ledger_days
from atp.ledger.gather import gather
from atp.ledger.origins import FileOrigin, Origin
from atp.ledger.store import LedgerStoreError, Manifest, Store


@contextmanager
def told() -> Iterator[None]:
    """What is wrong with a ledger ends as one line."""
    try:
        yield
    except (BrokenLedgerError, LedgerStoreError) as error:
        raise CommandError(f"ledger: {error}") from None


class CloseOptions(msgspec.Struct):
    """Options of `atp ledger close`."""

    out: str
    now: str
    region: str | None = None
    with_csv: bool = False
    as_json: bool = False


def close_days(origin: Origin, options: CloseOptions, out: IO[str]) -> None:
    """Close every date that may be closed at an instant; exit code 0 also when some must wait."""
    close_ms = instant_ms(options.now, "--now")
    with told():
        store = Store(options.out)
        gathered = gather(origin.records(), origin.world(), close_ms)
        waiting: list[LedgerDay] = []
        days = _noting(ledger_days(gathered, close_ms, options.region), waiting)
        closing = Closing(close_ms, gathered.inputs, options.with_csv)
        for manifest in close(closable(days), store, closing):
            out.write(_said(manifest, options.as_json))
    for day in waiting:
        out.write(_still_open(day, options.as_json))


def _noting(days: Iterator[LedgerDay], waiting: list[LedgerDay]) -> Iterator[LedgerDay]:
    for day in days:
        if day.judgement.status is Status.OPEN:
            waiting.append(day)
        yield day


def _said(manifest: Manifest, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(manifest).decode() + "\n"
    return f"{line_of(manifest)}\n" + "".join(f"    missing: {text}\n" for text in shortfalls(manifest))


def line_of(manifest: Manifest) -> str:
    """A revision in one line."""
    share = "no totals" if manifest.completeness is None else f"{manifest.completeness * 100:.3f} %"
    return (
        f"{manifest.business_date}  {manifest.region:<16}revision {manifest.revision:<3}{manifest.status:<12}"
        f"{manifest.rows:>9} rows  complete {share}"
    )


def shortfalls(manifest: Manifest) -> list[str]:
    """What is missing, by source, topic and hour."""
    return [
        f"{found.source}, {found.topic}, hour {found.hour}: {found.facts} of {found.expected_facts} records"
        for found in manifest.shortfalls
    ]


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


def file_origin(facts: Path | None, policy: Path | None, nodes: Path | None) -> Origin:
    """The file that facts are read from."""
    if facts is None:
        raise WrongUseError("--facts is needed: a FACTS.jsonl")
    return FileOrigin(facts, policy, nodes)


def business_date(text: str, option: str) -> str:
    """A date as it names folders."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise WrongUseError(f"{option} = {text!r}: a date is allowed, such as 2011-11-25") from None

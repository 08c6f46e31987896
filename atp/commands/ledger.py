"""`atp ledger`: close the days of a file, show and prove what was closed."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import IO, Any

import msgspec
from pyarrow import compute

from atp.commands.errors import CommandError, WrongUseError
from atp.commands.files import instant_ms
from atp.commands.publish import produce
from atp.commands.worker import checked_settings
from atp.domain.ledger_close import Status
from atp.domain.times import rfc3339
from atp.ledger.close import Closing, close
from atp.ledger.columns import MOVEMENTS, BrokenLedgerError, date_of
from atp.ledger.days import LedgerDay, closable, ledger_days
from atp.ledger.encode import read_parquet
from atp.ledger.export import FORMATS, export
from atp.ledger.gather import Gathered, gather
from atp.ledger.log import Archive, LogOrigin
from atp.ledger.origins import FileOrigin, Origin
from atp.ledger.publish import mark, rows_of, unpublished
from atp.ledger.report import report
from atp.ledger.store import LedgerStoreError, Manifest, Store
from atp.ledger.verify import Verified, verify


@contextmanager
def told() -> Iterator[None]:
    """What is wrong with a ledger ends as one line."""
    try:
        yield
    except (BrokenLedgerError, LedgerStoreError) as error:
        raise CommandError(f"ledger: {error}") from None


class Given(msgspec.Struct, frozen=True):
    """Where the facts are: in a file, else on the broker of the settings."""

    facts: Path | None = None
    policy: Path | None = None
    nodes: Path | None = None
    bootstrap: bool = False

    def origin(self, store: Store) -> Origin:
        """What facts are read from; with a broker, everything is read now."""
        if self.facts is not None:
            return FileOrigin(self.facts, self.policy, self.nodes)
        if not self.bootstrap and "ATP_BOOTSTRAP" not in os.environ:
            raise WrongUseError("--facts or --bootstrap is needed: a FACTS.jsonl, or a broker that has the facts")
        found = LogOrigin(checked_settings().admin(), Archive(store))
        found.read()
        return found


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
    gc.disable()  # millions of facts, no cycles among them: the collector would only walk them again and again
    with told():
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
        if isinstance(origin, LogOrigin):
            _publish(store)
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


def _publish(store: Store) -> None:
    """Put the rows of every revision that is not on its topic yet there."""
    config = checked_settings()
    for manifest in unpublished(store):
        for records in rows_of(manifest, store):
            produce(records, config)
        mark(manifest, store)


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


class Selection(msgspec.Struct):
    """Which revisions: all dates and regions unless some are named; the latest unless one is numbered."""

    out: str
    date: str | None = None
    region: str | None = None
    revision: int | None = None

    def manifests(self, store: Store) -> list[Manifest]:
        """The manifests, in order; there must be one."""
        day = None if self.date is None else business_date(self.date, "--date")
        places = [
            (date, region)
            for date, region in store.folders()
            if day in (None, date) and self.region in (None, region)
        ]
        if not places:
            named = f"{self.date or 'any date'}, {self.region or 'any region'}"
            raise CommandError(
                f"--out = {self.out}: nothing closed of {named}; see `atp ledger show --out {self.out}`"
            )
        return [store.manifest(*place, self.revision) for place in places]


def show(selection: Selection, sku: str | None, check: bool, as_json: bool, out: IO[str]) -> None:
    """The revisions that were closed; of a SKU, its rows and what explains them. `check`: all must be final."""
    with told():
        store = Store(selection.out)
        manifests = selection.manifests(store)
        for manifest in manifests:
            if sku is None:
                text = msgspec.json.encode(manifest).decode() if as_json else "\n".join(_overview(manifest))
            else:
                text = _row(store, manifest, sku, as_json)
            out.write(text + "\n" if text else "")
    provisional = [manifest for manifest in manifests if manifest.status not in (Status.FINAL, Status.RESTATED)]
    if check and provisional:
        raise CommandError(
            f"{len(provisional)} of {len(manifests)} revisions are not final: {line_of(provisional[0])}"
        )


def _overview(manifest: Manifest) -> list[str]:
    sums = manifest.control_totals
    moved = [f"{name} {sums[name]:+}" for name in MOVEMENTS if sums[name] and name.endswith("_sellable")]
    lines = [
        line_of(manifest),
        f"    sellable {sums['opening_sellable']} → {sums['closing_sellable']}: {', '.join(moved)}",
    ]
    lines += [f"    missing: {text}" for text in shortfalls(manifest)]
    lines += [f"    difference to operations: {cause} {units:+}" for cause, units in manifest.differences.items()]
    lines += [
        f"    exception: {found['sku']}, {found['event_id']}, {found['reason']}" for found in manifest.exceptions
    ]
    return lines


def _row(store: Store, manifest: Manifest, sku: str, as_json: bool) -> str:
    table = read_parquet(store.rows_of(manifest))
    rows = table.filter(compute.equal(table["sku"], sku)).to_pylist()
    if not rows:
        return ""
    row = {**rows[0], "business_date": manifest.business_date}
    if as_json:
        return msgspec.json.encode(row).decode()
    content = store.content(manifest, f"lines-{manifest.revision}.csv").decode()
    lines = [f"    {found}" for found in content.splitlines() if found.split(",")[1] == sku]
    shown = [f"    {name:<40}{units:>12}" for name, units in row.items() if isinstance(units, int) and units]
    return "\n".join([f"{line_of(manifest)}  {sku}", *shown, *lines])


def verify_days(given: Given, selection: Selection, as_json: bool, out: IO[str]) -> None:
    """Reckon revisions again from their facts; exit code 1 when one is not what they say."""
    with told():
        store = Store(selection.out)
        wrong, manifests = 0, selection.manifests(store)
        for found in verify(store, given.origin(store), manifests):
            wrong += bool(found.wrong)
            out.write(_verified(found, as_json))
    if wrong:
        raise CommandError(f"{wrong} revisions are not what their facts say")


def _verified(found: Verified, as_json: bool) -> str:
    manifest = found.manifest
    if as_json:
        place = {"business_date": manifest.business_date, "region": manifest.region, "revision": manifest.revision}
        return msgspec.json.encode({**place, "wrong": found.wrong}).decode() + "\n"
    text = "".join(f"    {line}\n" for line in found.wrong)
    return f"{line_of(manifest)}  {'DIFFERS' if found.wrong else 'verified'}\n{text}"


def export_days(selection: Selection, target: str, forms: list[str], out: IO[str]) -> None:
    """Write revisions to another target in the forms asked for."""
    unknown = [form for form in forms if form not in FORMATS]
    if unknown:
        raise WrongUseError(f"--format = {unknown[0]!r}: allowed are {', '.join(FORMATS)}")
    if target.rstrip("/") == selection.out.rstrip("/"):
        raise WrongUseError(f"--to = {target}: a target other than --out is needed; what was closed never changes")
    with told():
        store, other = Store(selection.out), Store(target)
        for manifest in selection.manifests(store):
            written = export(manifest, store, other, forms)
            out.write(f"{line_of(written)}  {', '.join(sorted(written.files))}\n")


def write_report(selection: Selection, target: str, out: IO[str]) -> None:
    """The one-page report of a date."""
    with told():
        found = selection.manifests(Store(selection.out))
        folder, _, name = target.rpartition("/")
        Store(folder or ".").write(name, report(found))
    out.write(f"{target}: {found[0].business_date}, {len(found)} regions\n")


def business_date(text: str, option: str) -> str:
    """A date as it names folders."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise WrongUseError(f"{option} = {text!r}: a date is allowed, such as 2011-11-25") from None

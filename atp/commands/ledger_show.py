"""`atp ledger show`: what was closed, in a target of files or by the worker."""

from __future__ import annotations

from typing import IO

import msgspec
from pyarrow import compute

from atp.commands.errors import CommandError
from atp.commands.ledger import Selection
from atp.commands.ledger_words import line_of, shortfalls, told
from atp.domain.closing import LedgerDay, Stand
from atp.domain.ledger_close import CLOSED_FOR_GOOD
from atp.ledger.columns import MOVEMENTS
from atp.ledger.encode import read_parquet
from atp.ledger.export import Source
from atp.ledger.store import Manifest
from atp.ledger.topic_ledger import manifest_of


def show(selection: Selection, sku: str | None, check: bool, as_json: bool, out: IO[str]) -> None:
    """The revisions that were closed; of a SKU, its rows and what explains them. `check`: all must be final."""
    with told():
        if sku is None and selection.out is None:
            provisional = _show_days(selection, as_json, out)
        else:
            provisional = _show_manifests(selection, sku, as_json, out)
    if check and provisional:
        raise CommandError(f"{len(provisional)} revisions are not final: {provisional[0]}")


def _show_manifests(selection: Selection, sku: str | None, as_json: bool, out: IO[str]) -> list[str]:
    """Manifests of files, or rows of a SKU; the revisions among them that are not final."""
    source, manifests = selection.with_rows()
    for manifest in manifests:
        if sku is not None:
            text = _row(source, manifest, sku, as_json)
        else:
            text = msgspec.json.encode(manifest).decode() if as_json else "\n".join(_overview(manifest))
        out.write(text + "\n" if text else "")
    return [line_of(manifest) for manifest in manifests if manifest.status not in CLOSED_FOR_GOOD]


def _show_days(selection: Selection, as_json: bool, out: IO[str]) -> list[str]:
    """Days as the worker's topic has them, also those that are being closed; what is not final among them."""
    ledger, provisional = selection.topics(), []
    for place in selection.chosen(ledger.places()):
        days = ledger.days(*place, selection.revision)
        lines = [_stand(day) for day in days]
        for day, line in zip(days, lines, strict=True):
            out.write(msgspec.json.encode(day).decode() + "\n" if as_json else f"{line}\n")
        if not _is_final(days):
            provisional += lines[:1]
    return provisional


def _is_final(days: list[LedgerDay]) -> bool:
    """Whether a date has a final revision and none that is broken."""
    closed = [day for day in days if day.stand is Stand.CLOSED and day.status in CLOSED_FOR_GOOD]
    return bool(closed) and not any(day.stand is Stand.BROKEN for day in days)


def _stand(day: LedgerDay) -> str:
    if day.stand is Stand.CLOSED:
        return "\n".join(_overview(manifest_of(day)))
    why = f"CLOSING, asked for at {day.asked_at}" if day.stand is Stand.CLOSING else f"BROKEN: {day.problem}"
    return f"{day.business_date}  {day.region:<16}revision {day.revision:<3}{day.status:<12}{why}"


def _overview(manifest: Manifest) -> list[str]:
    sums = manifest.control_totals
    moved = [f"{name} {sums[name]:+}" for name in MOVEMENTS if sums.get(name) and name.endswith("_sellable")]
    levels = f"{sums.get('opening_sellable', 0)} → {sums.get('closing_sellable', 0)}"
    lines = [line_of(manifest), f"    sellable {levels}: {', '.join(moved)}"]
    lines += [f"    missing: {text}" for text in shortfalls(manifest)]
    lines += [f"    difference to operations: {cause} {units:+}" for cause, units in manifest.differences.items()]
    lines += [
        f"    exception: {found['sku']}, {found['event_id']}, {found['reason']}" for found in manifest.exceptions
    ]
    return lines


def _row(source: Source, manifest: Manifest, sku: str, as_json: bool) -> str:
    table = read_parquet(source.rows_of(manifest))
    rows = table.filter(compute.equal(table["sku"], sku)).to_pylist()
    if not rows:
        return ""
    row = {**rows[0], "business_date": manifest.business_date}
    if as_json:
        return msgspec.json.encode(row).decode()
    shown = [f"    {name:<40}{units:>12}" for name, units in row.items() if isinstance(units, int) and units]
    return "\n".join([f"{line_of(manifest)}  {sku}", *shown, *_lines(source, manifest, sku)])


def _lines(source: Source, manifest: Manifest, sku: str) -> list[str]:
    """What explains a row, where there are lines: the worker's topics have none."""
    name = f"lines-{manifest.revision}.csv"
    if name not in manifest.files:
        return []
    content = source.content(manifest, name).decode()
    return [f"    {found}" for found in content.splitlines() if found.split(",")[1] == sku]

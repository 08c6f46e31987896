"""`atp ledger show`, `verify`, `export` and `report`: what was closed, told, proven and handed on."""

from __future__ import annotations

from typing import IO

import msgspec
from pyarrow import compute

from atp.commands.errors import CommandError, WrongUseError
from atp.commands.ledger_close import Given
from atp.commands.ledger_words import business_date, line_of, shortfalls, told, uncollected
from atp.domain.ledger_close import Status
from atp.ledger.columns import MOVEMENTS
from atp.ledger.encode import read_parquet
from atp.ledger.export import FORMATS, export
from atp.ledger.report import report
from atp.ledger.store import Manifest, Store
from atp.ledger.verify import Verified, verify


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
    with told(), uncollected():
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

"""`atp ledger year`: a year of real retail closed day by day, with every invariant and its totals checked."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack
from typing import IO

import msgspec

from atp.commands.errors import CommandError
from atp.commands.ledger_words import business_date, told, uncollected
from atp.domain.ledger_close import Status
from atp.ledger.close import Closing, close
from atp.ledger.days import closable, ledger_days
from atp.ledger.gather import Gathered, gather
from atp.ledger.store import Manifest, Store
from atp.ledger.year import Check, RetailOrigin, checks, late_facts, sums_of


def run(span: tuple[str, str], target: str | None, as_json: bool, out: IO[str], err: IO[str]) -> None:
    """Close the year; exit code 1 unless every day is final and every total is that of the source."""
    origin = RetailOrigin(*(business_date(day, "--from and --until") for day in span))
    err.write(f"reading the facts of {span[0]} to {span[1]}\n")
    with ExitStack() as stack, told(), uncollected():
        gathered = gather(origin.records(), origin.world(), 2**52)
        late = late_facts(gathered)
        folder = target or stack.enter_context(tempfile.TemporaryDirectory(prefix="ledger-"))
        err.write(f"closing into {folder}\n")
        manifests = _closed(gathered, Store(str(folder)), origin)
    latest: dict[str, Manifest] = {manifest.region: manifest for manifest in manifests}
    closing = Counter[str]()
    for manifest in latest.values():
        closing.update(manifest.control_totals)
    _tell(manifests, checks(sums_of(manifests), origin, closing), late, as_json, out)


def _closed(gathered: Gathered, store: Store, origin: RetailOrigin) -> list[Manifest]:
    closing = Closing(origin.close_ms, gathered.inputs)
    return list(close(closable(ledger_days(gathered, origin.close_ms)), store, closing))


def _tell(manifests: list[Manifest], found: list[Check], late: int, as_json: bool, out: IO[str]) -> None:
    statuses = Counter(manifest.status for manifest in manifests)
    rows = sum(manifest.rows for manifest in manifests)
    said = {
        "days": len({manifest.business_date for manifest in manifests}),
        "regions": len({manifest.region for manifest in manifests}),
        "revisions": len(manifests),
        "rows": rows,
        "statuses": {str(status): n for status, n in statuses.items()},
        "facts_after_their_final_close": late,
        "checks": found,
    }
    if as_json:
        out.write(msgspec.json.encode(said).decode() + "\n")
    else:
        out.writelines(f"{name}: {value}\n" for name, value in said.items() if name != "checks")
        out.writelines(f"{_mark(one)} {one.what}: ledger {one.ledger}, source {one.source}\n" for one in found)
    wrong = [one.what for one in found if one.ledger != one.source]
    if wrong or late or set(statuses) != {Status.FINAL}:
        raise CommandError(f"the year does not close: {', '.join(wrong) or 'not every day is final'}")


def _mark(one: Check) -> str:
    return "equal " if one.ledger == one.source else "DIFFERS"

"""`atp ledger verify`, `export` and `report`: what was closed, proven and handed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO

import msgspec

from atp.commands.errors import CommandError, WrongUseError
from atp.commands.ledger_close import Given, require_broker
from atp.commands.ledger_words import business_date, line_of, told, uncollected
from atp.commands.worker import checked_settings
from atp.ledger.export import FORMATS, Source, export
from atp.ledger.log import topic_ledger
from atp.ledger.report import report
from atp.ledger.store import Manifest, Store
from atp.ledger.topic_ledger import TopicLedger
from atp.ledger.verify import Verified, verify, verify_topics
from atp.topics import LEDGER_DAYS


class Selection(msgspec.Struct):
    """Which revisions: all dates and regions unless some are named; the latest unless one is numbered.

    `out`: the target they were closed in; without it, those that the worker closed on the broker of the settings.
    """

    out: str | None
    date: str | None = None
    region: str | None = None
    revision: int | None = None
    bootstrap: bool = False

    def __post_init__(self) -> None:
        if self.date is not None:
            self.date = business_date(self.date, "--date")

    def store(self) -> Store:
        """The target that was named."""
        assert self.out is not None
        return Store(self.out)

    def topics(self) -> TopicLedger:
        """What the worker closed."""
        require_broker(
            self.bootstrap, "--out or --bootstrap is needed: a ledger of files, or the worker's on a broker"
        )
        return topic_ledger(checked_settings().admin())

    def chosen(self, places: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The (date, region) pairs that are meant."""
        return [place for place in places if self.date in (None, place[0]) and self.region in (None, place[1])]

    def manifests(self, source: Source) -> list[Manifest]:
        """The manifests, in order; there must be one."""
        places = self.chosen(source.folders())
        if not places:
            named = f"{self.date or 'any date'}, {self.region or 'any region'}"
            where = f"--out = {self.out}" if self.out is not None else LEDGER_DAYS.name
            see = "atp ledger show" + (f" --out {self.out}" if self.out is not None else "")
            raise CommandError(f"{where}: nothing closed of {named}; see `{see}`")
        return [source.manifest(*place, self.revision) for place in places]

    def with_rows(self) -> tuple[Source, list[Manifest]]:
        """Where the rows of the revisions are, ready to be read, and their manifests."""
        if self.out is not None:
            store = self.store()
            return store, self.manifests(store)
        ledger = self.topics()
        manifests = self.manifests(ledger)
        ledger.read_rows(manifests)
        return ledger, manifests


def verify_days(given: Given, selection: Selection, archive: str | None, as_json: bool, out: IO[str]) -> None:
    """Reckon revisions again from their facts; exit code 1 when one is not what they say."""
    if archive is not None and selection.out is not None:
        raise WrongUseError(f"--archive = {archive}: not with --out, which has an archive of its own")
    with told(), uncollected():
        wrong = 0
        for found in _verify(given, selection, archive):
            wrong += bool(found.wrong)
            out.write(_verified(found, as_json))
    if wrong:
        raise CommandError(f"{wrong} revisions are not what their facts say")


def _verify(given: Given, selection: Selection, archive: str | None) -> Iterator[Verified]:
    source, manifests = selection.with_rows()
    if isinstance(source, TopicLedger):
        origin = given.origin(None if archive is None else Store(archive))
        return verify_topics(source, origin, manifests)
    store = selection.store()
    return verify(store, given.origin(store), manifests)


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
    if selection.out is not None and target.rstrip("/") == selection.out.rstrip("/"):
        raise WrongUseError(f"--to = {target}: a target other than --out is needed; what was closed never changes")
    with told():
        other, (source, manifests) = Store(target), selection.with_rows()
        for manifest in manifests:
            written = export(manifest, source, other, forms)
            out.write(f"{line_of(written)}  {', '.join(sorted(written.files))}\n")


def write_report(selection: Selection, target: str, out: IO[str]) -> None:
    """The one-page report of a date."""
    with told():
        found = selection.manifests(selection.store())
        folder, _, name = target.rpartition("/")
        Store(folder or ".").write(name, report(found))
    out.write(f"{target}: {found[0].business_date}, {len(found)} regions\n")

"""What the worker closed, read from its topics: exported, shown and proven like a target of files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyarrow import parquet

from atp.commands.errors import CommandError
from atp.commands.ledger import Selection, export_days
from atp.commands.ledger_show import show
from atp.domain.fold import World
from atp.domain.times import to_ms
from atp.ledger.columns import BrokenLedgerError
from atp.ledger.encode import figures_sha256
from atp.ledger.gather import Record
from atp.ledger.store import LedgerStoreError, Manifest, Store
from atp.ledger.topic_ledger import TopicLedger
from atp.ledger.verify import verify_topics
from atp.topics import LEDGER, LEDGER_DAYS
from tests.cli import atp, is_one_line
from tests.unit.builders import Wire
from tests.unit.ledgers import days_of
from tests.unit.test_closing import Company, adjusted, hours

DATE = "2024-03-12"
PLACE = f"date={DATE}/region=uk"


class Topics:
    """The two topics of a company that has closed days, as readers see them."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.rows = [
            (f"{date}|uk|{sku}|{number}", row)
            for (date, sku), versions in company.rows.items()
            for number, row in versions.items()
        ]

    def ledger(self) -> TopicLedger:
        """A reader of both topics."""
        days = [(f"{day.business_date}|uk|{day.revision}", day) for day in self.company.records]
        found = list(_records(LEDGER_DAYS.name, days))
        return TopicLedger(found, self.company.product.world, lambda: _records(LEDGER.name, self.rows))

    def read(self, date: str = DATE, revision: int | None = None) -> tuple[TopicLedger, Manifest]:
        """A revision with its rows."""
        ledger = self.ledger()
        manifest = ledger.manifest(date, "uk", revision)
        ledger.read_rows([manifest])
        return ledger, manifest

    def change(self, sku: str, revision: int = 1, **figures: int) -> None:
        """Write a row of the first date again, with other figures."""
        row = self.company.rows[DATE, sku][revision]
        self.rows.append((f"{DATE}|uk|{sku}|{revision}", msgspec.structs.replace(row, **figures)))

    # what an origin of facts is

    name, wrong = "memory", dict[int, str]()

    def world(self, upto: Mapping[str, int] | None = None) -> World:
        """Policies and nodes."""
        return self.company.product.world

    def records(self, upto: Mapping[str, int] | None = None) -> Iterator[Record]:
        """Every fact."""
        for number, (topic, value) in enumerate(self.company.facts, 1):
            yield Record(topic, None, msgspec.json.encode(value), "facts", number)


def _records(topic: str, found: list[tuple[str, Any]]) -> Iterator[Record]:
    for number, (key, value) in enumerate(found, 1):
        yield Record(topic, key, msgspec.json.encode(value), f"{topic}/0", number)


@pytest.fixture
def topics() -> Topics:
    """Three SKUs, FINAL on the first date; a late fact of one of them restates it; the second date is FINAL."""
    company, wires = Company(), [Wire(f"S{number}") for number in range(3)]
    for number, wire in enumerate(wires):
        company.take([adjusted(wire, 10, 5 + number), adjusted(wire, 30, 1)])
    company.alive(hours(49))
    company.tick(hours(55))
    company.take([adjusted(wires[1], 18, -4, recorded=47)])
    company.tick(hours(56))
    return Topics(company)


def exported(topics: Topics, folder: Path, **chosen: Any) -> dict[str, bytes]:
    """What `atp ledger export` writes of a broker with these topics."""
    selection = Selected(None, **chosen)
    selection.found = topics.ledger()
    export_days(selection, str(folder), ["parquet", "csv"], io.StringIO())
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Selected(Selection):
    """A selection whose broker is in memory."""

    found: Any = None

    def topics(self) -> TopicLedger:
        """The topics of the test."""
        found: TopicLedger = self.found
        return found


def shown(topics: Topics, **options: Any) -> str:
    """What `atp ledger show` says of these topics."""
    selection, out = Selected(None, revision=options.get("revision")), io.StringIO()
    selection.found = topics.ledger()
    show(selection, options.get("sku"), options.get("check", False), False, out)
    return out.getvalue()


def test_an_export_has_the_rows_of_the_pure_close(topics: Topics) -> None:
    """Latest revisions state what the file's close of the same facts states, and say of which records they are."""
    facts, world = topics.company.facts, topics.company.product.world
    pure = {day.day.ordinal: day.columns for day in days_of(facts, world, to_ms(hours(56)))}
    for date in (DATE, "2024-03-13"):
        ledger, manifest = topics.read(date)
        assert (manifest.revision, manifest.status, manifest.rows) == (2, "RESTATED", 3)
        ordinal = ledger.record(manifest).business_date.toordinal()
        assert manifest.figures_sha256 == figures_sha256(pure[ordinal])
        assert manifest.adjusts == 1
        assert set(manifest.inputs) == {f"{LEDGER.name}/0", f"{LEDGER_DAYS.name}/0"}


def test_two_exports_are_the_same_to_the_byte(topics: Topics, tmp_path: Path) -> None:
    """Whatever came to the topics in between: a later revision, or a row again that a crash had cut off."""
    first = exported(topics, tmp_path / "one", revision=1)
    topics.rows.append(topics.rows[0])
    topics.rows.reverse()
    second = exported(topics, tmp_path / "two", revision=1)
    tables = {name: content for name, content in first.items() if not name.endswith(".json")}
    assert sorted(tables) == [
        f"date={date}/region=uk/revision-1.{form}" for date in (DATE, "2024-03-13") for form in ("csv", "parquet")
    ]
    assert tables == {name: second[name] for name in tables}


def test_an_older_revision_stays_what_it_was(topics: Topics, tmp_path: Path) -> None:
    """Revision 1 without the late fact, revision 2 with it; both beside each other in one target."""
    exported(topics, tmp_path, revision=1)
    exported(topics, tmp_path)
    closings = [
        [
            row["closing_sellable"]
            for row in parquet.read_table(tmp_path / PLACE / f"revision-{n}.parquet").to_pylist()
        ]
        for n in (1, 2)
    ]
    assert closings == [[5, 6, 7], [5, 2, 7]]
    store = Store(str(tmp_path))
    for number, manifest in enumerate((store.manifest(DATE, "uk", 1), store.manifest(DATE, "uk", 2)), 1):
        assert (manifest.revision, manifest.control_totals["closing_sellable"]) == (number, sum(closings[number - 1]))
        assert (manifest.time_zone, manifest.starts_at) == ("UTC", "2024-03-12T00:00:00.000Z")


def test_rows_that_are_missing_are_refused(topics: Topics, tmp_path: Path) -> None:
    """Nothing is exported of a revision that has fewer rows than its day says."""
    topics.rows = [(key, row) for key, row in topics.rows if row.sku != "S2"]
    with pytest.raises(CommandError, match=r"revision 2: .* has 2 rows, atp.ledger.days.v1 says 3"):
        exported(topics, tmp_path)
    assert not list(tmp_path.rglob("revision-*"))


def test_rows_that_do_not_sum_to_their_day_are_refused(topics: Topics) -> None:
    """A row that was changed afterwards, and balances in itself, is noticed by the sums."""
    topics.change("S0", adjustments_sellable=9, closing_sellable=9, operational_closing_sellable=9)
    ledger, manifest = topics.read()
    with pytest.raises(LedgerStoreError, match=r"adjustments_sellable sums to 18 on .*, atp.ledger.days.v1 says 14"):
        ledger.rows_of(manifest)


def test_what_the_worker_closed_is_proven_of_its_facts(topics: Topics) -> None:
    """Every latest revision verifies."""
    ledger = topics.ledger()
    manifests = [ledger.manifest(*place) for place in ledger.folders()]
    ledger.read_rows(manifests)
    assert [found.wrong for found in verify_topics(ledger, topics, manifests)] == [[], []]


def test_a_row_that_was_changed_is_named(topics: Topics) -> None:
    """SKU, column, what is found and what the facts say."""
    topics.change("S1", 2, closing_on_hand=99)
    ledger, manifest = topics.read()
    (found,) = verify_topics(ledger, topics, [manifest])
    assert found.wrong[1:] == ["sku S1: closing_on_hand = 99, the facts say 2"]


def test_a_row_that_is_gone_is_named(topics: Topics) -> None:
    """And the number of rows is not that of the day."""
    topics.rows = [(key, row) for key, row in topics.rows if row.sku != "S0"]
    ledger, manifest = topics.read()
    (found,) = verify_topics(ledger, topics, [manifest])
    assert "sku S0: no row" in found.wrong
    assert "has 2 rows" in found.wrong[0]


def test_days_are_shown_with_what_is_under_way(topics: Topics) -> None:
    """Status, revision, rows, sums; a day that is being closed says so, and a broken one why."""
    company = topics.company
    company.alive(hours(97))
    company.region.days[company.region.following - 1].totals["closing_sellable"] = 0
    company.tick(hours(100))
    text = shown(topics)
    assert "2024-03-12  uk              revision 2  RESTATED            3 rows  complete no totals" in text
    assert "    sellable 0 → 14: adjustments_sellable +14" in text
    assert "BROKEN: 2024-03-14: opening_sellable = 17, must be 0" in text
    with pytest.raises(CommandError, match="1 revisions are not final: 2024-03-14"):
        shown(topics, check=True)


def test_a_row_is_shown_by_its_sku(topics: Topics) -> None:
    """Of the revision asked for."""
    assert "closing_sellable                                   6" in shown(topics, sku="S1", revision=1)


def test_a_revision_that_is_not_closed_is_told(topics: Topics) -> None:
    """Which there are."""
    with pytest.raises(LedgerStoreError, match=r"2024-03-12, uk: no revision 7 is closed; there are \[1, 2\]"):
        topics.ledger().manifest(DATE, "uk", 7)


def test_records_that_are_none_are_named(topics: Topics) -> None:
    """By topic, partition and offset."""
    topics.rows[0] = (topics.rows[0][0], {"region": 1})
    with pytest.raises(LedgerStoreError, match=r"atp.ledger.daily.v1/0, offset 0: no row of a ledger"):
        topics.read()
    with pytest.raises(LedgerStoreError, match=r"days/0, offset 4: no day of a ledger"):
        TopicLedger([Record("days", "k", b"{}", "days/0", 5)], World(), list)


def test_an_invariant_that_does_not_hold_stops_an_export(topics: Topics) -> None:
    """Even where all sums are right."""
    topics.change("S0", closing_on_hand=6)
    topics.change("S2", closing_on_hand=6)
    ledger, manifest = topics.read()
    with pytest.raises(BrokenLedgerError, match="sku S0: on_hand = 5, must be the closing 6"):
        ledger.rows_of(manifest)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show"], "--out or --bootstrap is needed"),
        (["export", "--to", "X"], "--out or --bootstrap is needed"),
        (["show", "--out", "X", "--bootstrap", "h:1"], "--bootstrap = h:1: not with --out = X"),
        (["verify", "--out", "X", "--archive", "Y"], "--archive = Y: not with --out"),
        (["show", "--bootstrap", "h:1", "--date", "soon"], "--date = 'soon'"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], said: str) -> None:
    """It names the option, its value and what is allowed; exit code 2."""
    run = atp("ledger", *arguments)
    assert run.returncode == 2, run.stderr
    assert is_one_line(run)
    assert said in run.stderr

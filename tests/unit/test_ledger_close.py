"""How a day closes: what waits, what is missing, what is restated, and that nothing closed ever changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atp.commands.errors import CommandError
from atp.ledger import store
from atp.ledger.columns import MOVEMENTS
from tests.cli import adjusted, atp, count, fact, is_one_line, placed
from tests.unit.ledgers import Books, dated

MORNING = "2026-01-06T07:00:00Z"


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """A day with a count of 10, 5 units found and 3 promised; its source is past midnight."""
    found = Books(tmp_path)
    found.add(count("c1", "10:00:00", 10), adjusted("a1", "10:30:00", 5), placed("r1", "11:00:00", 3))
    found.alive("2026-01-06T00:00:00Z")
    return found


def moved(row: dict[str, Any]) -> dict[str, int]:
    """The movements of a row that are not 0."""
    return {name: row[name] for name in MOVEMENTS if row[name]}


def test_a_row_says_what_came_and_what_is_left(books: Books) -> None:
    """Opening + movements by class = closing; a first count corrects from nothing; promised units are shown."""
    (closed,) = books.close(MORNING)
    row = books.row("2026-01-05", 1)
    assert (closed.status, row["status"], row["revision"]) == ("FINAL", "FINAL", 1)
    assert (row["opening_sellable"], row["closing_sellable"], row["closing_on_hand"]) == (0, 15, 15)
    assert moved(row) == {
        "adjustments_sellable": 5,
        "adjustments_on_hand": 5,
        "count_corrections_sellable": 10,
        "count_corrections_on_hand": 10,
    }
    assert (row["reserved_close"], row["promised_close"]) == (3, 3)


def test_columns_are_those_of_the_contract(books: Books) -> None:
    """Parquet and CSV have exactly the columns that finance was promised, in their order."""
    classes = "receipts returns shipments damages write_offs adjustments moves count_corrections"
    expected = ["business_date", "region", "sku", "revision", "status", "opening_sellable", "opening_on_hand"]
    for name in [*classes.split(), "reconciliation_corrections"]:
        expected += [f"{name}_sellable", f"{name}_on_hand"]
    expected += ["closing_sellable", "closing_on_hand", "reserved_close", "promised_close"]
    expected += ["operational_closing_sellable", "difference_explained"]
    books.close(MORNING, with_csv=True)
    assert list(books.row("2026-01-05", 1)) == expected
    text = books.files()["date=2026-01-05/region=uk/revision-1.csv"].decode()
    assert text.splitlines()[0].split(",") == expected


def test_a_day_waits_for_every_source(books: Books) -> None:
    """Until every source has passed midnight and the grace is over nothing is written."""
    books.lines.pop()
    books.alive("2026-01-05T23:59:59Z")
    assert books.close(MORNING) == []
    books.alive("2026-01-06T00:00:00Z")
    assert books.close("2026-01-06T00:14:59Z") == []
    assert [m.status for m in books.close("2026-01-06T00:15:00Z")] == ["PROVISIONAL"]
    assert [(m.revision, m.status) for m in books.close("2026-01-06T06:00:00Z")] == [(2, "FINAL")]
    assert books.close(MORNING) == []


def test_a_heartbeat_that_came_after_the_close_was_not_known(books: Books) -> None:
    """By its own recorded_at; one that names none may vouch for any earlier instant."""
    beat = books.lines.pop()
    beat["value"] |= {"watermark": "2026-01-09T00:00:00Z", "recorded_at": "2026-01-06T07:00:01Z"}
    books.add(beat)
    assert books.close(MORNING) == []
    del beat["value"]["recorded_at"]
    assert [m.status for m in books.close(MORNING)] == ["FINAL"]


def test_missing_records_keep_a_day_provisional_and_are_named(books: Books) -> None:
    """Below 99.95 % the day stays PROVISIONAL; source, topic and hour are named; it is FINAL once they came."""
    books.alive("2026-01-06T00:00:01Z", stock={"2026-01-05T10:00:00.000Z": [3, 17]})
    (closed,) = books.close(MORNING)
    assert closed.status == "PROVISIONAL"
    assert closed.completeness == pytest.approx(2 / 3)
    (short,) = closed.shortfalls
    assert (short.source, short.topic, short.hour) == ("test", "inventory.stock.v1", "2026-01-05T10:00:00.000Z")
    assert (short.expected_facts, short.facts, short.expected_units, short.units) == (3, 2, 17, 15)
    books.add(adjusted("a2", "10:40:00", 2))
    (closed,) = books.close("2026-01-06T08:00:00Z")
    assert (closed.revision, closed.status, closed.completeness) == (2, "FINAL", 1.0)


def test_completeness_of_exactly_the_threshold_is_enough(books: Books) -> None:
    """1999 of 2000 records are 99.95 %: FINAL; one less is not."""
    for number in range(1997):
        books.add(adjusted(f"b{number}", "12:00:00", 1))
    books.alive("2026-01-06T00:00:01Z", stock={"2026-01-05T10:00:00Z": [2, 15], "2026-01-05T12:00:00Z": [1998, 1998]})
    assert [m.status for m in books.close(MORNING)] == ["FINAL"]
    books.lines.pop(-2)
    assert [m.status for m in Books.close(_elsewhere(books), MORNING)] == ["PROVISIONAL"]


def _elsewhere(books: Books) -> Books:
    books.out = books.folder / "elsewhere"
    return books


def test_a_late_fact_restates_its_day_and_all_later_ones(books: Books) -> None:
    """It becomes adjustment lines of the next revision; the days after open with what the one before closes at."""
    books.add(dated(adjusted("a2", "10:00:00", 1), "2026-01-06T10:00"))
    books.alive("2026-01-07T00:00:00Z")
    assert [(m.business_date, m.revision) for m in books.close("2026-01-07T07:00:00Z")] == [
        ("2026-01-05", 1),
        ("2026-01-06", 1),
    ]
    before = books.files()
    books.add(dated(adjusted("late", "10:00:00", -4), "2026-01-05T18:00", "2026-01-07T00:00"))
    restated = books.close("2026-01-07T08:00:00Z")
    assert [(m.business_date, m.revision, m.status, m.adjusts) for m in restated] == [
        ("2026-01-05", 2, "RESTATED", 1),
        ("2026-01-06", 2, "RESTATED", 1),
    ]
    assert (books.row("2026-01-05", 2)["closing_sellable"], books.row("2026-01-06", 2)["opening_sellable"]) == (
        11,
        11,
    )
    assert books.row("2026-01-06", 2)["closing_sellable"] == 12
    after = books.files()
    assert {name: after[name] for name in before} == before
    lines = after["date=2026-01-05/region=uk/lines-2.csv"].decode().splitlines()
    assert "ADJUSTMENT,S,adjustments_sellable,,5,1,-4" in lines
    assert "DIFFERENCE,S,LATE_FACT,late,,,-4" in lines


def test_a_late_fact_that_a_count_had_seen_moves_with_its_correction(books: Books) -> None:
    """Before a count of the same day the movement is booked and the correction takes it back: the closing stands."""
    books.close(MORNING)
    books.add(dated(adjusted("late", "10:00:00", -4), "2026-01-05T09:00", "2026-01-06T08:00"))
    (restated,) = books.close("2026-01-06T09:00:00Z")
    row = books.row("2026-01-05", 2)
    assert restated.status == "RESTATED"
    assert row["closing_sellable"] == 15
    assert (row["adjustments_sellable"], row["count_corrections_sellable"]) == (1, 14)
    assert row["difference_explained"] == 0


def test_a_fact_after_the_correction_window_is_an_exception(books: Books) -> None:
    """It changes no closed day; the day it came on names it, and the difference to operations is explained by it."""
    books.close(MORNING)
    before = books.files()
    books.add(
        dated(adjusted("too-late", "10:00:00", -4), "2026-01-05T18:00", "2026-01-07T00:01"),
        dated(adjusted("a2", "10:00:00", 1), "2026-01-07T10:00"),
    )
    books.alive("2026-01-08T00:00:00Z")
    closed = books.close("2026-01-08T07:00:00Z")
    assert [(m.business_date, m.revision) for m in closed] == [("2026-01-06", 1), ("2026-01-07", 1)]
    assert {name: books.files()[name] for name in before} == before
    row = books.row("2026-01-07", 1)
    assert (row["closing_sellable"], row["operational_closing_sellable"], row["difference_explained"]) == (16, 12, 4)
    (missed,) = closed[-1].exceptions
    assert (missed["event_id"], missed["reason"]) == ("too-late", "LATE")
    assert closed[-1].differences == {"PENDING_EXCEPTION": 4}


def test_a_correction_is_a_class_of_its_own(books: Books) -> None:
    """A count that a reconciliation posted is a reconciliation correction, and explains itself as one."""
    posted = dated(count("correction|x1", "10:00:00", 12), "2026-01-05T20:00", "2026-01-06T02:00")
    posted["topic"] = "atp.corrections.v1"
    posted["value"] |= {"source": "atp.reconciliation", "correlation_id": "x1"}
    books.add(posted)
    (closed,) = books.close(MORNING)
    row = books.row("2026-01-05", 1)
    assert (row["reconciliation_corrections_sellable"], row["count_corrections_sellable"]) == (-3, 10)
    assert (row["operational_closing_sellable"], row["closing_sellable"]) == (15, 12)
    assert closed.differences == {"CORRECTION": -3}


def test_documents_fall_into_their_classes(books: Books) -> None:
    """Receipts, returns, ships, moves, damages and write-offs; supplier units are settled from the same facts."""
    body = {"receipt_id": "P1", "line": 1, "expected": 9, "eta": "2026-01-05", "supplier": "ACME", "node": "n1"}
    stages = {"received": 9, "put_away": 6, "held": 1}
    books.add(
        fact("receipt.put_away", "p1", "12:00:00", version=1, stage="PUT_AWAY", **body, **stages),
        fact("stock.returned", "t1", "12:10:00", node="n1", quantity=2),
        fact("stock.shipped", "s1", "12:20:00", node="n1", quantity=4),
        fact(
            "stock.moved",
            "m1",
            "12:30:00",
            node="n1",
            from_state="return_hold",
            to_state="sellable",
            quantity=1,
            reason="ok",
        ),
    )
    damage = fact("receipt.x", "d1", "12:40:00", node="n1", damage_id="D1", version=1, to_state="damaged")
    damage["topic"] = "wms.damages.v1"
    damage["value"] |= {"type": "damage.written_off", "reported": 3, "reversed": 0, "written_off": 2}
    books.add(damage)
    (closed,) = books.close(MORNING)
    row = books.row("2026-01-05", 1)
    found = {name: units for name, units in moved(row).items() if not name.startswith(("count", "adjust"))}
    assert found == {
        "receipts_sellable": 6,
        "receipts_on_hand": 9,
        "returns_on_hand": 2,
        "shipments_sellable": -4,
        "shipments_on_hand": -4,
        "moves_sellable": 1,
        "damages_sellable": -3,
        "write_offs_on_hand": -2,
    }
    assert (row["closing_sellable"], row["closing_on_hand"]) == (15, 20)
    assert closed.suppliers == {"ACME": {"received": 9, "returned": 2}}


def test_closing_again_writes_nothing_and_the_same_facts_give_the_same_bytes(books: Books) -> None:
    """A close is repeatable, and two closes of the same facts are equal byte for byte, manifests included."""
    books.close(MORNING)
    first = books.files()
    assert books.close(MORNING) == []
    assert books.files() == first
    books.out = books.folder / "again"
    books.close(MORNING)
    assert books.files() == first


def test_a_crash_in_the_middle_leaves_nothing_half_written(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off at any write, before or after the rename, no revision exists; the next close completes it."""
    expected = _complete(books)
    for fatal in range(1, 5):
        for after in (False, True):
            books.out = books.folder / f"cut-{fatal}-{after}"
            with monkeypatch.context() as patched:
                patched.setattr(store, "_replace", _dying(fatal, after))
                with pytest.raises(KeyboardInterrupt):
                    books.close(MORNING)
            ends = ".json" if fatal < 4 or not after else "-"
            assert not [name for name in books.files() if name.endswith(ends)]
            books.close(MORNING)
            assert books.files() == expected


def _complete(books: Books) -> dict[str, bytes]:
    books.close(MORNING)
    return books.files()


def _dying(fatal: int, after: bool) -> Any:
    """A writer that is killed at its nth file: with half of it on disk, or right after it was renamed."""
    whole, seen = store._replace, []

    def write(path: Path, content: bytes) -> None:
        seen.append(path)
        if len(seen) < fatal:
            whole(path, content)
            return
        if after:
            whole(path, content)
        else:
            path.with_name(path.name + ".unfinished").write_bytes(content[: len(content) // 2])
        raise KeyboardInterrupt

    return write


def test_fewer_facts_than_were_closed_stop_the_close(books: Books) -> None:
    """A file that lost its beginning would restate history; it is refused loudly, and nothing is written."""
    books.close(MORNING)
    first = books.files()
    books.lines = [line for line in books.lines if line["value"].get("event_id") != "a1"]
    with pytest.raises(CommandError, match=r"inventory\.stock\.v1: ends at 1, but 2026-01-05"):
        books.close("2026-01-06T08:00:00Z")
    assert books.files() == first


def test_facts_that_begin_after_a_closed_day_stop_the_close(books: Books) -> None:
    """A day must open as the one before it closed; facts that do not reach back that far cannot say so."""
    books.close(MORNING)
    books.lines = [line for line in books.lines if line["topic"] != "oms.reservations.v1"]
    for line in books.lines:
        if "occurred_at" in line["value"]:
            line["value"] |= dated(line, "2026-01-06T10:00")["value"]
    books.alive("2026-01-07T00:00:00Z")
    with pytest.raises(CommandError, match="the facts begin here, but 2026-01-05 is closed already"):
        books.close("2026-01-07T07:00:00Z")


def test_a_closed_file_that_was_changed_is_noticed(books: Books) -> None:
    """A restatement starts from the revision before; if that is not the file that was closed, it stops."""
    books.close(MORNING)
    path = books.out / "date=2026-01-05/region=uk/revision-1.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    books.add(dated(adjusted("late", "10:00:00", -4), "2026-01-05T18:00", "2026-01-06T08:00"))
    with pytest.raises(CommandError, match="its SHA-256 is not that of the manifest"):
        books.close("2026-01-06T09:00:00Z")


def test_any_fsspec_target_will_do(books: Books) -> None:
    """The same bytes in memory as in a folder."""
    import fsspec

    books.close(MORNING)
    books_out, books.out = books.files(), "memory://ledger-test"  # type: ignore[assignment]
    books.close(MORNING)
    memory = fsspec.filesystem("memory")
    found = {path.removeprefix("/ledger-test/"): memory.cat_file(path) for path in memory.find("/ledger-test")}
    assert found == books_out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--facts", "none.jsonl", "--now", MORNING], "FACTS = none.jsonl: cannot be read"),
        (["--facts", "FILE", "--now", "yesterday"], "--now = 'yesterday': an RFC 3339 instant is allowed"),
        (["--now", MORNING], "--facts"),
        (["--facts", "FILE", "--now", MORNING, "--out", "nowhere://x"], "nowhere"),
    ],
)
def test_wrong_use_is_one_line(books: Books, arguments: list[str], expected: str) -> None:
    """Files, instants and targets that cannot be used are named in one line."""
    found = [str(books.file) if part == "FILE" else part for part in arguments]
    run = atp("ledger", "close", "--out", str(books.out), *found)
    assert run.returncode in (1, 2)
    assert is_one_line(run)
    assert expected in run.stderr


def test_what_cannot_be_used_is_named_and_the_rest_is_closed(books: Books) -> None:
    """A broken line, a refused fact and a wrong policy are told on standard error; they are in no row."""
    books.lines.insert(3, "{broken")  # type: ignore[arg-type]
    nonsense = adjusted("x1", "12:00:00", 5)
    nonsense["value"]["delta"] = "many"
    books.add(nonsense, {"topic": "atp.policies.v1", "value": {"scope": "default", "time_zone": "Mars"}})
    (closed,) = books.close(MORNING)
    assert (closed.status, books.row("2026-01-05", 1)["closing_sellable"]) == ("FINAL", 15)
    told = books.told.getvalue().splitlines()
    assert told[0].startswith("atp: FACTS line 4 is no")
    assert "time_zone = 'Mars'" in told[1]
    assert told[2] == "atp: refused and not booked: 1 SCHEMA_INVALID; `atp fold` names each"

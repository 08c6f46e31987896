"""What was closed can be proven, exported, balanced by accountants' own tools and read on one page."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from pathlib import Path

import pytest
from beancount import loader
from pyarrow import parquet

from atp.ledger.journal import part
from tests.cli import adjusted, atp, count, fact, is_one_line, placed
from tests.unit.ledgers import Books, dated

HLEDGER = shutil.which("hledger")
MORNING = "2026-01-06T07:00:00Z"
PLACE = "date=2026-01-05/region=uk"


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """Two days with movements of every kind, the first restated by a late fact."""
    found = Books(tmp_path_factory.mktemp("books"))
    body = {"receipt_id": "P1", "line": 1, "expected": 9, "eta": "2026-01-05", "supplier": "ACME", "node": "n1"}
    damage = fact("receipt.x", "d1", "12:40:00", node="n1", damage_id="D1", version=1, to_state="damaged")
    damage["topic"] = "wms.damages.v1"
    damage["value"] |= {"type": "damage.written_off", "reported": 3, "reversed": 0, "written_off": 2}
    odd = adjusted("o1", "13:00:00", 4)
    odd["value"]["sku"] = "a,b;ü -Z"
    found.add(
        count("c1", "10:00:00", 10),
        placed("r1", "11:00:00", 3),
        fact(
            "receipt.put_away", "p1", "12:00:00", version=1, stage="PUT_AWAY", **body, received=9, put_away=6, held=1
        ),
        fact("stock.returned", "t1", "12:10:00", node="n1", quantity=2),
        fact("stock.shipped", "s1", "12:20:00", node="n1", quantity=4),
        damage,
        odd,
        dated(adjusted("a1", "10:00:00", -20), "2026-01-06T10:00"),
    )
    found.alive("2026-01-06T00:00:00Z")
    found.alive("2026-01-07T00:00:00Z")
    found.close(MORNING)
    found.add(dated(adjusted("late", "10:00:00", 2), "2026-01-05T18:00", "2026-01-06T08:00"))
    found.close("2026-01-07T07:00:00Z")
    return found


def ledger(command: str, books: Books, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`atp ledger …` on the books."""
    return atp("ledger", command, "--out", str(books.out), *arguments)


def test_every_revision_can_be_derived_again(books: Books) -> None:
    """Latest and earlier revisions are reckoned from the records and as of the instant that they were closed at."""
    for chosen in ([], ["--revision", "1", "--date", "2026-01-05"]):
        run = ledger("verify", books, "--facts", str(books.file), *chosen)
        assert run.returncode == 0, run.stderr
        assert "verified" in run.stdout


def test_a_changed_fact_is_found_row_by_row(books: Books, tmp_path: Path) -> None:
    """Facts that say otherwise: exit code 1, and the row and figure are named."""
    other = tmp_path / "facts.jsonl"
    other.write_bytes(books.file.read_bytes().replace(b'"quantity": 4', b'"quantity": 5'))
    run = ledger("verify", books, "--facts", str(other), "--date", "2026-01-05")
    assert run.returncode == 1
    assert is_one_line(run)
    assert "sku S: shipments_sellable = -4, the facts say -5" in run.stdout


def test_facts_that_are_not_all_there_prove_nothing(books: Books, tmp_path: Path) -> None:
    """A file with fewer records than a day was closed of is named as that."""
    other = tmp_path / "facts.jsonl"
    lines = books.file.read_bytes().splitlines(keepends=True)
    other.write_bytes(b"".join(line for line in lines if b'"late"' not in line and b'"s1"' not in line))
    run = ledger("verify", books, "--facts", str(other))
    assert run.returncode == 1
    assert "inventory.stock.v1:" in run.stdout


def test_two_exports_of_a_revision_are_equal_byte_for_byte(books: Books, tmp_path: Path) -> None:
    """In every form, at any time; and the Parquet file is the one that was closed."""
    forms = [part for name in ("parquet", "csv", "beancount", "hledger") for part in ("--format", name)]
    for name in ("one", "two"):
        run = ledger("export", books, "--to", str(tmp_path / name), *forms)
        assert run.returncode == 0, run.stderr
    one, two = ({str(p.relative_to(tmp_path / n)): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()}
                for n in ("one", "two"))  # fmt: skip
    assert one == two
    assert one[f"{PLACE}/revision-2.parquet"] == books.files()[f"{PLACE}/revision-2.parquet"]
    assert {name.rpartition(".")[2] for name in one} == {"parquet", "csv", "beancount", "journal", "json"}


def test_csv_says_what_parquet_says(books: Books, tmp_path: Path) -> None:
    """Every row and column, names with commas and signs of other alphabets too."""
    ledger("export", books, "--to", str(tmp_path), "--format", "csv", "--date", "2026-01-05")
    text = (tmp_path / PLACE / "revision-2.csv").read_text()
    rows = parquet.read_table(books.out / PLACE / "revision-2.parquet").to_pylist()
    assert [row["sku"] for row in rows] == ["S", "a,b;ü -Z"]
    found = list(csv.DictReader(io.StringIO(text)))
    assert found == [{name: str(field) for name, field in row.items()} for row in rows]


def journals(books: Books, folder: Path, form: str) -> list[Path]:
    """The journals of every closed day."""
    run = ledger("export", books, "--to", str(folder), "--format", form)
    assert run.returncode == 0, run.stderr
    return sorted(folder.rglob("*.beancount" if form == "beancount" else "*.journal"))


def test_beancount_balances_the_movements(books: Books, tmp_path: Path) -> None:
    """Every transaction sums to 0 and every closing is what beancount adds up to; a changed unit does not pass."""
    found = journals(books, tmp_path, "beancount")
    assert len(found) == 2
    for path in found:
        entries, errors, _ = loader.load_file(str(path))
        assert entries
        assert not errors
    text = found[0].read_text()
    for before, after in (("-4 UNIT", "-3 UNIT"), ("10 UNIT\n  Equity:CountCorrections  -10", "11 UNIT\n  Equity:CountCorrections  -11")):  # fmt: skip  # noqa: E501
        assert before in text
        _, errors, _ = loader.load_string(text.replace(before, after, 1))
        assert errors


@pytest.mark.skipif(HLEDGER is None, reason="hledger balances the journal (Debian: hledger)")
def test_hledger_balances_the_movements(books: Books, tmp_path: Path) -> None:
    """The same for hledger, its balance assertions included."""
    for path in journals(books, tmp_path, "hledger"):
        assert subprocess.run([str(HLEDGER), "-f", str(path), "check"], check=False).returncode == 0
        wrong = tmp_path / "wrong.journal"
        wrong.write_text(path.read_text().replace("UNIT = ", "UNIT = 1", 1))
        assert subprocess.run([str(HLEDGER), "-f", str(wrong), "check"], capture_output=True, check=False).returncode


def test_names_become_accounts_that_can_be_told_apart() -> None:
    """Whatever a SKU is called, its account is one that both tools take, and no other SKU's."""
    names = ["85123A", "85123a", "a-b", "a b", "a-20-b", "ü", "A:B"]
    parts = [part(name) for name in names]
    assert len(set(parts)) == len(names)
    assert all(c.isascii() and (c.isalnum() or c == "-") for made in parts for c in made)


def test_show_tells_a_day_and_a_row(books: Books) -> None:
    """Status, movements, differences; of a SKU every figure that is not 0 and the lines that explain it."""
    run = ledger("show", books)
    assert "RESTATED" in run.stdout
    assert "difference to operations: LATE_FACT +2" in run.stdout
    run = ledger("show", books, "--sku", "S", "--date", "2026-01-05")
    assert "DIFFERENCE,S,LATE_FACT,late,,,2" in run.stdout


def test_the_report_is_one_page_with_everything_on_it(books: Books, tmp_path: Path) -> None:
    """Totals, picture, completeness, differences and suppliers are there; it needs nothing from elsewhere."""
    run = ledger("report", books, "--date", "2026-01-05", "--to", str(tmp_path / "day.html"))
    assert run.returncode == 0, run.stderr
    page = (tmp_path / "day.html").read_text()
    for wanted in ("RESTATED", "<svg", "write offs", "late facts", "ACME", "no totals", "promised at close"):
        assert wanted in page
    assert "http" not in page.replace("http://www.w3.org", "")
    ledger("report", books, "--date", "2026-01-05", "--to", str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "day.html").read_bytes()


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("show", ["--date", "2027-01-01"], "nothing closed of 2027-01-01"),
        ("show", ["--date", "soon"], "--date = 'soon': a date is allowed"),
        ("show", ["--revision", "9"], "no revision 9"),
        ("verify", ["--facts", "none"], "FACTS = none: cannot be read"),
        ("export", ["--to", "x", "--format", "xml"], "--format = 'xml': allowed are parquet, csv"),
        ("report", ["--date", "2027-01-01", "--to", "x"], "nothing closed"),
    ],
)
def test_wrong_use_is_one_line(books: Books, command: str, arguments: list[str], expected: str) -> None:
    """What cannot be found or is not known is named."""
    run = ledger(command, books, *arguments)
    assert run.returncode in (1, 2)
    assert is_one_line(run), run.stderr
    assert expected in run.stderr

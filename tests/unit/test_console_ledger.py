"""The console's room of the ledger: the latest dates of an archive, read once and kept when it cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atp import topics
from atp.facade.console import kept, ledger
from atp.facade.console.ledger import DATES, LedgerDays
from atp.facade.documents import Documents
from atp.ledger.store import Manifest, Store
from tests.unit.test_console_rooms import Message

NOTHING: dict[str, Any] = {
    "time_zone": "UTC", "starts_at": "", "ends_at": "", "closed_at": "2026-01-06T07:00:00.000Z", "rows": 3,
    "control_totals": {}, "expected_records": 0, "missing_records": 0, "shortfalls": [], "exceptions": [],
    "differences": {}, "suppliers": {}, "figures_sha256": "", "adjusts": None, "columns": [], "inputs": {},
    "files": {},
}  # fmt: skip


def close(target: Path, date: str, region: str, revision: int = 1, status: str = "FINAL") -> None:
    """A revision in the archive."""
    place = {"business_date": date, "region": region, "revision": revision, "status": status, "completeness": 1.0}
    Store(str(target)).publish(Manifest(**place, **NOTHING), [])


@pytest.fixture
def every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two looks."""
    monkeypatch.setattr(ledger, "LOOK_S", 0.0)


def said(found: dict[str, Any]) -> list[tuple[str, str, str, int | None]]:
    """What is shown of each day."""
    return [(day["date"], day["region"], day["status"], day.get("revision")) for day in found["days"]]


@pytest.mark.usefixtures("every_look")
def test_the_latest_revision_of_every_date_and_region_is_shown(tmp_path: Path) -> None:
    """Newest date first; a region that has not closed a date is OPEN there; a new revision takes its place."""
    close(tmp_path, "2026-01-05", "uk")
    close(tmp_path, "2026-01-06", "uk", status="PROVISIONAL")
    close(tmp_path, "2026-01-05", "dach")
    days = LedgerDays(str(tmp_path))
    assert said(days.look()) == [
        ("2026-01-06", "dach", "OPEN", None),
        ("2026-01-06", "uk", "PROVISIONAL", 1),
        ("2026-01-05", "dach", "FINAL", 1),
        ("2026-01-05", "uk", "FINAL", 1),
    ]
    close(tmp_path, "2026-01-05", "uk", 2, "RESTATED")
    assert said(days.look())[-1] == ("2026-01-05", "uk", "RESTATED", 2)


@pytest.mark.usefixtures("every_look")
def test_a_long_archive_shows_its_latest_dates_only(tmp_path: Path) -> None:
    """However many years finance keeps, as many dates as the page has room for are read."""
    for day in range(1, DATES + 5):
        close(tmp_path, f"2026-01-{day:02}", "uk")
    dates = [day["date"] for day in LedgerDays(str(tmp_path)).look()["days"]]
    assert dates == [f"2026-01-{day:02}" for day in range(DATES + 4, 4, -1)]


@pytest.mark.usefixtures("every_look")
def test_a_broken_manifest_is_named_and_what_was_seen_stays(tmp_path: Path) -> None:
    """An archive that cannot be read is an error on the page, not an empty page."""
    close(tmp_path, "2026-01-05", "uk")
    days = LedgerDays(str(tmp_path))
    before = said(days.look())
    close(tmp_path, "2026-01-06", "uk")
    (tmp_path / "date=2026-01-06/region=uk/revision-1.json").write_text("torn")
    found = days.look()
    assert "revision-1.json: no manifest" in found["error"]
    assert said(found) == before


def test_without_a_target_nothing_is_read(tmp_path: Path) -> None:
    """The page says which setting is missing; a target that is empty has no days; looks are paced."""
    assert LedgerDays(None).look() == {"target": None, "error": None, "regions": [], "days": []}
    days = LedgerDays(str(tmp_path))
    assert days.look()["days"] == []
    close(tmp_path, "2026-01-05", "uk")
    assert days.look()["days"] == [], "within the pause the archive is not asked again"


def test_without_an_archive_the_days_that_the_worker_closed_are_shown() -> None:
    """Of every date and region the latest revision on the topic stays; one that is being closed says so."""
    documents = Documents({}, kept.STATES)
    topic = topics.LEDGER_DAYS.name
    for region, revision, status, stand in (
        ("uk", 1, "FINAL", "CLOSED"),
        ("uk", 2, "RESTATED", "CLOSING"),
        ("dach", 1, "PROVISIONAL", "CLOSED"),
    ):
        day = {"region": region, "business_date": "2026-01-05", "revision": revision, "status": status}
        said = {**day, "stand": stand, "asked_at": "2026-01-06T07:00:00.000Z"}
        documents.take(Message(topic, f"2026-01-05|{region}|{revision}", said))
    documents.take(Message(topic, "odd", {"region": "odd"}))
    found = ledger.published(documents.of(topic))
    assert said_of(found) == [("dach", "PROVISIONAL", "CLOSED", 1), ("uk", "RESTATED", "CLOSING", 2)]
    assert (found["target"], found["regions"]) == (topic, ["dach", "uk"])


def said_of(found: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """What is shown of each day on the topic."""
    return [(day["region"], day["status"], day["stand"], day["revision"]) for day in found["days"]]

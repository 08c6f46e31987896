"""The console in a real browser, over a product that runs: what people see, do and reach with the keyboard alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from docs.scene import DRIFTING, SILENT, SKUS, UNTRUSTED, scene
from docs.screenshots import chromium
from tests.cli import atp

pytestmark = pytest.mark.browser
WAIT_MS = 120_000  # a bound for the slowest machine
playwright_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, str]]:
    """Console and broker of a day with its troubles."""
    if chromium() is None:
        reason = "no Chromium: install Debian's package chromium, or set CHROMIUM=path"
        if os.environ.get("ATP_REQUIRE_BROWSER") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with scene() as found:
        yield found


@pytest.fixture(scope="module")
def browser(running: tuple[str, str]) -> Iterator[playwright_api.Browser]:
    """A headless Chromium."""
    with playwright_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def tab(browser: playwright_api.Browser) -> playwright_api.Page:
    """One tab for all that look at the console as it is."""
    found = browser.new_page()
    found.set_default_timeout(WAIT_MS)
    return found


@pytest.fixture
def page(running: tuple[str, str], tab: playwright_api.Page) -> Iterator[playwright_api.Page]:
    """The console, live; a test fails if its script raised or it asked another host for anything."""
    errors: list[str] = []

    def look(request: playwright_api.Request) -> None:
        if not request.url.startswith((running[0], "data:")):
            errors.append(request.url)

    def note(error: playwright_api.Error) -> None:
        errors.append(str(error))

    tab.on("pageerror", note)
    tab.on("request", look)
    tab.goto(running[0])
    tab.get_by_text(re.compile("^Live, ")).wait_for()
    yield tab
    tab.remove_listener("pageerror", note)
    tab.remove_listener("request", look)
    assert errors == []


def explain(page: playwright_api.Page, sku: str = SKUS[0]) -> None:
    """Ask why a number is what it is."""
    page.locator("#why-form input[name=sku]").fill(sku)
    page.locator("#why-form input[name=region]").fill("uk")
    page.locator("#why-form button").click()
    page.locator("#why-said", has_text=re.compile("ATP|SKU")).wait_for()


def test_the_page_tells_modes_with_kind_and_cause(page: playwright_api.Page) -> None:
    """A degraded channel shows in words and signs which kind of degradation it is, why, and since when."""
    said = {
        SILENT: r"CONSERVATIVE\s+◷ delayed but safe\s+STALE_SOURCE, since (\S+ )?\d\d:\d\d:\d\d",
        UNTRUSTED: r"CONSERVATIVE\s+≠ current but untrusted\s+DRIFT, since (\S+ )?\d\d:\d\d:\d\d",
        "south": r"SUSPENDED\s+⚑ by an operator\s+OPERATOR, since",
    }
    for region, words in said.items():
        row = page.locator("[data-part=channels] tbody tr", has_text=region)
        row.get_by_text(re.compile("CONSERVATIVE|SUSPENDED")).first.wait_for()
        assert re.search(words, row.inner_text()), row.inner_text()
    healthy = page.locator("[data-part=channels] tbody tr", has_text="france").inner_text()
    assert re.findall("CONFIDENT|CONSERVATIVE|SUSPENDED", healthy) == ["CONFIDENT"] * 4


def test_the_pill_says_that_answers_are_careful(page: playwright_api.Page) -> None:
    """Degraded, with how many channels are delayed, untrusted and held back."""
    page.locator(
        "#ready", has_text=re.compile(r"degraded, 4 channels delayed, 4 channels untrusted, \d held")
    ).wait_for()


def test_drift_is_told_per_region_and_source(page: playwright_api.Page) -> None:
    """The latest verdict on every snapshot: in sign and word, with keys, units and those promised too many."""
    rows = page.locator("[data-part=drift] tbody tr")
    assert re.search(r"≠\s*DRIFT\s+10 of 20\s+135 of [\d,]+\s+135", rows.filter(has_text=UNTRUSTED).inner_text())
    assert re.search(r"●\s*CLEAN\s+0 of 30", rows.filter(has_text="uk").inner_text())


def test_an_exception_is_approved_with_the_keyboard_alone(
    page: playwright_api.Page, running: tuple[str, str]
) -> None:
    """Enter on the button, a reason, Enter: the correction is applied, the row says so by itself, the CLI agrees."""
    row = exception(page, SKUS[0])
    exception_id = row.get_attribute("data-id")
    row.get_by_role("button", name=re.compile("^Approve")).focus()
    page.keyboard.press("Enter")
    assert page.locator("#decide").get_by_text("ours").count() >= 1
    page.keyboard.type("recounted")
    page.keyboard.press("Enter")
    page.locator("#exceptions-said", has_text=re.compile(f"{exception_id} is (APPROVED|APPLIED)")).wait_for()
    page.locator(f"tr[data-id={exception_id}]", has_text="APPLIED").wait_for()
    assert page.evaluate("document.activeElement.id") == "exceptions"
    shown = json.loads(atp("exceptions", "show", exception_id, "--json", ATP_BOOTSTRAP=running[1]).stdout)
    assert ("APPROVED", "anyone", "recounted") in [(s["state"], s["by"], s["why"]) for s in shown["history"]]


def test_an_exception_is_rejected_and_leaves_the_list(page: playwright_api.Page) -> None:
    """A reason is demanded; Escape decides nothing; rejected, it is nobody's work any more and the row goes."""
    row = exception(page, SKUS[1])
    exception_id = row.get_attribute("data-id")
    button = row.get_by_role("button", name=re.compile("^Reject"))
    button.click()
    page.keyboard.press("Enter")
    assert page.locator("#decide").is_visible(), "without a reason nothing is sent"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.key") == f"{exception_id}/reject"
    button.click()
    page.locator("#decide input[name=reason]").fill("the snapshot was taken too early")
    page.locator("#decide").get_by_role("button", name="Reject").click()
    page.locator("#exceptions-said", has_text=f"{exception_id} is REJECTED").wait_for()
    page.locator(f"tr[data-id={exception_id}]").wait_for(state="detached")


def exception(page: playwright_api.Page, sku: str) -> playwright_api.Locator:
    """The row of a SKU's exception in the region where two drift."""
    row = page.locator("[data-part=exceptions] tbody tr", has_text=sku).filter(has_text=DRIFTING)
    row.wait_for()
    return row


def test_the_waterfall_is_that_of_the_command_line(page: playwright_api.Page, running: tuple[str, str]) -> None:
    """The page's ATP and its components are the ones `atp explain` prints."""
    explain(page)
    run = atp("explain", SKUS[0], "uk", "--json", ATP_BOOTSTRAP=running[1])
    figures = json.loads(run.stdout)["figures"]
    cells = page.locator(".fall td.number").all_inner_texts()
    assert cells[0] == f"+{figures['sellable']}"
    assert cells[-1] == str(figures["atp"] - figures["shortage"])
    assert sum(int(cell.replace("−", "-").replace(",", "")) for cell in cells[:-1]) == figures["atp"]


def test_an_unknown_sku_is_one_clear_sentence(page: playwright_api.Page) -> None:
    """What the command line would say, at the place where it was asked."""
    explain(page, "nothing")
    assert "SKU = 'nothing'" in page.locator("#why-said.wrong").inner_text()


def test_a_mode_set_with_the_keyboard_alone_is_seen_at_once(
    page: playwright_api.Page, running: tuple[str, str]
) -> None:
    """Tab and type, Enter: the page shows it by itself, and the command line lists it."""
    page.locator("#mode-form input[name=region]").focus()
    page.keyboard.type("uk")
    page.keyboard.press("Tab")
    page.keyboard.type("web")
    page.keyboard.press("Tab")
    page.keyboard.type("SUSPENDED")
    page.keyboard.press("Tab")
    page.keyboard.type("drill")
    page.keyboard.press("Enter")
    page.locator("#mode-said", has_text="uk|web is SUSPENDED").wait_for()
    page.locator("#channels tbody tr", has_text=re.compile(r"^uk")).locator(".chip.stop").wait_for()
    listed = json.loads(atp("modes", "list", "--json", ATP_BOOTSTRAP=running[1]).stdout)["modes"]
    (row,) = [row for row in listed if (row["region"], row["channel"]) == ("uk", "web")]
    assert (row["mode"], row["cause"], row["reason"]) == ("SUSPENDED", "OPERATOR", "drill")
    assert row["expires_at"] > row["since"]


def test_replaying_what_is_still_wrong_is_refused_and_said(page: playwright_api.Page) -> None:
    """The button does what `atp dead-letters replay` does; letters that would be refused again stay."""
    page.locator("#letters button").first.click()
    page.locator("#letters-said.wrong", has_text="would be refused again").wait_for()


def test_every_partition_of_every_lane_is_shown(page: playwright_api.Page) -> None:
    """Eight running tasks of each lane, and one sentence that says that nothing is wrong."""
    page.locator("#workers li", has_text="RUNNING").nth(15).wait_for()
    page.locator("#workers", has_text="Every partition of every lane runs.").wait_for()


def test_freshness_is_shown_against_its_target(page: playwright_api.Page) -> None:
    """The silent source is told in words, its region is late; every source has a course, every region a budget."""
    sources = page.get_by_role("region", name="Sources", exact=True).locator("tbody tr")
    sources.filter(has_text=SILENT).get_by_text("silent").wait_for()
    assert sources.locator("svg.spark").count() == sources.count() >= 7
    label = sources.filter(has_text=SILENT).locator("svg.spark").get_attribute("aria-label")
    assert re.search(rf"wms in {SILENT}: 1[4-9] min behind", label or "")
    regions = page.get_by_role("region", name="Regions against their target").locator("tbody tr")
    late = regions.filter(has_text=SILENT).inner_text()
    assert re.search(r"(late|budget spent)\s+overdrawn by", late), late
    assert re.search(r"in time\s+100 %", regions.filter(has_text="uk").inner_text())


def test_ledger_days_have_status_revision_and_what_is_missing(page: playwright_api.Page) -> None:
    """A restated day with its difference, and one of which a source's records are missing, by hour."""
    newest, before = page.locator("[data-part=ledger] tbody tr").all()[:2]
    assert re.search(r"RESTATED\s+revision 2, 100 % complete", before.inner_text())
    assert newest.get_by_text(re.compile("PROVISIONAL")).count() == 3
    newest.get_by_text("1 missing").click()
    newest.get_by_text(re.compile(r"missing: ims, inventory.stock.v1, hour .*: 1 of 3 records")).wait_for()


def test_nothing_hangs_over_a_narrow_screen(page: playwright_api.Page) -> None:
    """At 320 pixels, or enlarged four times, only tables scroll sideways; every state has a word and a sign."""
    size = page.viewport_size
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.set_viewport_size(size)
    states = page.locator(".chip, .pill").all_inner_texts()
    assert len(states) > 60
    assert [text for text in states if not re.search(r"\S\s*[A-Za-z]{2,}", text)] == []


def told(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a day on which everything else is wrong too."""
    (worker,) = state["workers"]["workers"]
    restoring = {"state": "RESTORING", "restored_records": 1500, "restore_rate": 100.0, "restore_eta_s": 45.0}
    worker["lanes"]["sku"][0] |= restoring
    worker["lanes"]["sku"][1] |= {"state": "FAILED", "last_error": "offsets without state"}
    silent = {"worker": "http://other:6066", "lanes": {}, "error": "does not answer (timed out)"}
    wrong = {"workers": [worker, silent], "problems": ["http://other:6066: does not answer (timed out)"]}
    state["ready"] |= {"ready": False, "status": "unavailable", "state": "RESTORING", "restored_share": 0.42}
    state["freshness"][0]["measured"] = False
    state["drift"][0] |= {"outcome": "MISSING", "missing": ["numbers 5 to 7"]}
    state["ledger"]["error"] = "the archive cannot be read"
    return {**state, "workers": wrong}


def test_what_is_rarely_seen_is_told_too(running: tuple[str, str], browser: playwright_api.Browser) -> None:
    """Restore progress, a failed task, a silent worker, an unmeasured region, a missing snapshot; axe agrees."""
    with httpx.stream("GET", f"{running[0]}/console/events", timeout=60) as events:
        data = next(line for line in events.iter_lines() if line.startswith("data:"))
    body = f"event: state\ndata: {json.dumps(told(json.loads(data[5:])))}\n\n"
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.route("**/console/events", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    page.goto(running[0])
    restore = page.get_by_role("progressbar", name="Restore of sku/")
    restore.wait_for()
    assert (restore.get_attribute("value"), restore.get_attribute("max")) == ("1500", "6000")
    for text in (
        "1,500 restored, 45 s left", "offsets without state", "http://other:6066: does not answer", "not measured",
        "1 missing", "unavailable, restoring 42 %", "the archive cannot be read",
    ):  # fmt: skip
        assert page.get_by_text(text).count() >= 1, text
    assert violations(page) == []
    page.close()


def violations(page: playwright_api.Page) -> list[tuple[str, list[str]]]:
    """What the accessibility checker finds."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(running: tuple[str, str], browser: playwright_api.Browser, scheme: str) -> None:
    """The accessibility checker finds no violation, in either colour scheme, with a waterfall and a detail open."""
    page = browser.new_page(color_scheme=scheme)
    page.set_default_timeout(WAIT_MS)
    page.goto(running[0])
    page.get_by_text(re.compile("^Live, ")).wait_for()
    explain(page)
    page.locator("details > summary").first.click()
    assert violations(page) == []
    page.close()

"""The console in a real browser, over a product that runs: what people see, do and reach with the keyboard alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest

from docs.screenshots import SKUS, chromium, scene
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


@pytest.fixture
def page(running: tuple[str, str], browser: playwright_api.Browser) -> Iterator[playwright_api.Page]:
    """The console, live; a test fails if its script raised or it asked another host for anything."""
    found = browser.new_page()
    found.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("request", lambda r: None if r.url.startswith((running[0], "data:")) else errors.append(r.url))
    found.goto(running[0])
    found.get_by_text(re.compile("^Live, ")).wait_for()
    yield found
    found.close()
    assert errors == []


def explain(page: playwright_api.Page, sku: str = SKUS[0]) -> None:
    """Ask why a number is what it is."""
    page.locator("#why-form input[name=sku]").fill(sku)
    page.locator("#why-form input[name=region]").fill("uk")
    page.locator("#why-form button").click()
    page.locator("#why-said", has_text=re.compile("ATP|SKU")).wait_for()


def test_the_page_tells_modes_with_kind_and_cause(page: playwright_api.Page) -> None:
    """A degraded channel shows its mode in words, which kind of degradation, why and since when."""
    row = page.locator("#channels tbody tr", has_text="nordics")
    assert "CONSERVATIVE" in row.inner_text()
    assert re.search(r"delayed but safe, STALE_SOURCE, since \d\d:\d\d:\d\d|since \d{4}-", row.inner_text())
    south = page.locator("#channels tbody tr", has_text="south").inner_text()
    assert "SUSPENDED" in south
    assert "by an operator" in south


def test_what_does_not_exist_is_said_plainly(page: playwright_api.Page) -> None:
    """A topic that nobody writes yet, or that is empty, is a sentence and not an empty box."""
    for part in ("exceptions", "ledger"):
        text = page.locator(f"[data-part={part}]").inner_text()
        assert re.search(r"does not exist|No .* (open|written)", text), text


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
    page.locator("#channels tbody tr", has_text=re.compile(r"^uk")).get_by_text("SUSPENDED").wait_for()
    listed = json.loads(atp("modes", "list", "--json", ATP_BOOTSTRAP=running[1]).stdout)["modes"]
    (row,) = [row for row in listed if (row["region"], row["channel"]) == ("uk", "web")]
    assert (row["mode"], row["cause"], row["reason"]) == ("SUSPENDED", "OPERATOR", "drill")
    assert row["expires_at"] > row["since"]


def test_replaying_what_is_still_wrong_is_refused_and_said(page: playwright_api.Page) -> None:
    """The button does what `atp dead-letters replay` does; letters that would be refused again stay."""
    page.locator("#letters button").first.click()
    page.locator("#letters-said.wrong", has_text="would be refused again").wait_for()


def test_every_partition_and_source_is_shown(page: playwright_api.Page) -> None:
    """Eight running tasks; the late source is told apart by word, and each source has its line."""
    page.locator("#workers li", has_text="RUNNING").nth(7).wait_for()
    assert page.locator("#freshness tbody tr", has_text="nordics").get_by_text("late").count() == 1
    assert page.locator("#freshness svg.spark").count() >= 7


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(running: tuple[str, str], browser: playwright_api.Browser, scheme: str) -> None:
    """The accessibility checker finds no violation, in either colour scheme, with a waterfall open."""
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(color_scheme=scheme)
    page.set_default_timeout(WAIT_MS)
    page.goto(running[0])
    page.get_by_text(re.compile("^Live, ")).wait_for()
    explain(page)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    page.close()

"""Pictures of the console, taken of a product that runs: `docs/scene.py`.

python -m docs.screenshots     writes docs/console-*.png; needs Chromium (Debian: chromium; or CHROMIUM=path)
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from docs.scene import SKUS, scene


def chromium() -> str | None:
    """Where the browser is."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


def main() -> None:
    """Take the pictures."""
    from playwright.sync_api import sync_playwright

    browser_path = chromium()
    if browser_path is None:
        sys.exit("Chromium is missing: install Debian's package chromium, or set CHROMIUM=path")
    folder = Path(__file__).parent
    with scene() as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
            page.goto(url)
            page.get_by_text("Live, ").wait_for()
            page.locator("#why-form input[name=sku]").fill(SKUS[0])
            page.locator("#why-form input[name=region]").fill("uk")
            page.locator("#why-form button").click()
            page.get_by_text("from ", exact=False).first.wait_for()
            page.wait_for_selector(".fall")
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=folder / f"console-{scheme}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()

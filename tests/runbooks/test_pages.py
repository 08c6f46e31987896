"""Every runbook is executed: its degradation is made, its commands are run, and its verification then passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atp.brokers.embedded import EmbeddedBroker
from atp.brokers.kafka import KafkaCluster
from tests.conftest import require_kafka_tools
from tests.runbooks.degradations import DEGRADATIONS, FLOOD_LIMIT, SERVED, healthy
from tests.runbooks.pages import RUNBOOKS, SECTIONS, Page, pages
from tests.runbooks.product import Product

EVERY = [pytest.param(page, id=page.stem) for page in pages()]


@pytest.mark.parametrize("page", EVERY)
def test_a_page_has_every_section_in_order(page: Page) -> None:
    """A person in a hurry finds the same five headings on every page."""
    assert tuple(page.sections) == SECTIONS
    assert all(text.strip() for text in page.sections.values())
    assert page.actions.strip()
    assert page.verification.strip()


def test_the_index_names_every_page_and_no_other() -> None:
    """From an alert a person comes to a page that is there."""
    index = (RUNBOOKS / "README.md").read_text()
    assert {page.stem for page in pages()} == {
        path.stem for path in RUNBOOKS.glob("*.md") if f"({path.name})" in index
    }


def test_every_page_has_a_degradation_that_it_is_tried_on() -> None:
    """No page goes untried."""
    assert {page.stem for page in pages()} == set(DEGRADATIONS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """One product that runs, for the pages whose degradation concerns a region or a SKU alone."""
    with EmbeddedBroker() as broker, Product(broker, tmp_path_factory.mktemp("shared") / "product") as running:
        healthy(running, ATP_DEAD_LETTERS_PER_MINUTE=str(FLOOD_LIMIT))
        yield running


@pytest.fixture
def product(page: Page, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Product]:
    """The product that the page's degradation is made on: the shared one, or a fresh one on the broker it needs."""
    needed = DEGRADATIONS[page.stem]
    if needed.shared:
        found: Product = request.getfixturevalue("shared")
        found.await_good(SERVED)  # as the page before has left it
        yield found
        return
    if needed.kafka:
        require_kafka_tools()
    broker = KafkaCluster() if needed.kafka else EmbeddedBroker()
    with broker, Product(broker, tmp_path / "product") as running:
        yield running


@pytest.mark.parametrize("page", EVERY)
def test_commands_end_the_degradation(page: Page, product: Product) -> None:
    """Verification fails while the product is degraded, and passes once the page's commands were run."""
    words = DEGRADATIONS[page.stem].make(product)
    degraded = product.shell(page.verification, **words)
    assert degraded.returncode != 0, f"verification passes while degraded:\n{degraded.stdout}"
    done = product.shell(page.actions, **words)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{product.logs()}"
    product.await_good(page.verification, **words)

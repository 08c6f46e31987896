"""The rows that a worker keeps of the ledger, against the pure close of the same facts."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from unittest import mock

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from atp.domain.facts import Reservation
from atp.domain.intake import Admitted
from atp.domain.ledger_account import LedgerRows, take
from atp.domain.ledger_close import Status
from atp.domain.ledger_rows import ledger_of, row_of
from atp.domain.ledger_rules import rules_of
from atp.domain.ledger_settle import settle, settled_until_ms
from atp.domain.times import DAY_MS, from_ms
from tests.unit.builders import SKU, Product
from tests.unit.fact_histories import History, histories, products
from tests.unit.ledgers import Row, ledger
from tests.unit.test_ledger_properties import later
from tests.unit.test_properties import law, moved

HEAD = {"schema_version", "business_date", "region", "sku", "revision", "status"}


class Kept:
    """A product whose admitted facts go to the ledger's rows as well, as in the worker."""

    def __init__(self, product: Product) -> None:
        self.product, self.rows = product, LedgerRows.in_memory()
        product.now += timedelta(days=400)

    def take(self, history: History) -> None:
        """One batch of facts."""
        outcomes = [self.product.take(topic, value) for topic, value in history]
        take((o for o in outcomes if isinstance(o, Admitted) and not isinstance(o.fact, Reservation)), self.rows)

    def settle(self) -> None:
        """Settle what can be settled."""
        head = self.product.state.heads.get((SKU,))
        if head is not None:
            horizons = self.product.world.policies.horizons()
            rules = self.rules(head.stream_ms)
            found = ledger_of(SKU, self.rows, self.product.state.reservations.lines, rules)
            settle(found, self.rows, rules, settled_until_ms(head.stream_ms, horizons))

    def rules(self, until_ms: int) -> Any:
        """The rules of the product's world."""
        return rules_of(self.product.world, self.product.world.policies.horizons(), until_ms)

    def row(self, day: str, region: str, close_ms: int) -> Row | None:
        """A row as the rows of the worker give it."""
        lines = self.product.state.reservations.lines
        found = ledger_of(SKU, self.rows, lines, self.rules(close_ms), [region])
        row = row_of(found, region, date.fromisoformat(day).toordinal(), 1, Status.FINAL)
        if row is None:
            return None
        return {name: units for name, units in msgspec.to_builtins(row).items() if name not in HEAD}


def assert_as_closed(kept: Kept, history: History, close_ms: int, since: str = "") -> None:
    """Every date has the row of the pure close."""
    for (day, region), rows in ledger(history, kept.product.world, close_ms).items():
        if day >= since:
            assert kept.row(day, region, close_ms) == rows.get(SKU), (day, region)


@given(products(), histories(), st.data())
@law(150)
def test_rows_of_the_worker_are_those_of_the_pure_close(
    product: Product, history: History, data: st.DataObject
) -> None:
    """Whatever the order of arrival and the size of a batch, every row is the one of the file's close."""
    kept = Kept(product)
    shuffled = data.draw(st.permutations(history + history[:3]))
    with mock.patch("atp.domain.ledger_account.TAIL_POSTINGS", data.draw(st.sampled_from([1, 3, 32]))):
        for at in range(0, len(shuffled), 4):
            kept.take(shuffled[at : at + 4])
    assert_as_closed(kept, history, later(100))


@given(products(), st.lists(histories(counts=3), min_size=2, max_size=5), st.data())
@law(120)
def test_a_settled_past_changes_no_row(product: Product, chapters: list[History], data: st.DataObject) -> None:
    """Over weeks, what no fact can change any more becomes stock; later rows are those of all facts ever."""
    product.node("X1", "de")  # a SKU with a fact of an unknown node is not settled
    kept, story, start = Kept(product), [], 0
    for number, chapter in enumerate(chapters):
        for topic, value in data.draw(st.permutations(chapter)):
            story.append((topic, moved(value, timedelta(hours=start), f"c{number}")))
        start += data.draw(st.sampled_from([30, 60, 140]))
    with mock.patch("atp.domain.ledger_account.TAIL_POSTINGS", data.draw(st.sampled_from([1, 3]))):
        for at in range(0, len(story), 5):
            kept.take(story[at : at + 5])
            if data.draw(st.booleans()):
                kept.settle()
    settled_ms = max((account.settled_ms for account in kept.rows.accounts.values()), default=0)
    since = from_ms(max(0, settled_ms - 5 * DAY_MS)).date().isoformat()
    assert_as_closed(kept, story, later(100 + start), since)

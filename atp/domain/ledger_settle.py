"""Settling: what no fact can change any more becomes stock and entries, and its postings go.

    no fact to come is dated before      stream time − journal_hours (it would be TOO_OLD)
    nor recorded before                  the same, less what a fact may be dated ahead of its recording

So a SKU's ledger costs what its last days cost, however long it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from atp.domain.daily_ledger import Rules, SkuLedger, parted
from atp.domain.intake import FUTURE_TOLERANCE_MS, Horizons
from atp.domain.ledger_account import (
    FINANCE,
    OPERATIONS,
    Account,
    LedgerRows,
    Opening,
    let_go,
    oldest,
    opening_of,
    postings_of,
)
from atp.domain.ledger_book import ARRIVAL, Posting
from atp.domain.ledger_days import Days, Entry
from atp.domain.times import DAY_MS, Day

SETTLED_WITHIN_MS = 7 * DAY_MS
KEPT_DAYS = 14  # settled entries stay by date as long as the topics of the facts do; older ones become one


def settled_until_ms(stream_ms: int, horizons: Horizons) -> int:
    """The instant before which no fact of a SKU can be dated or recorded any more."""
    return stream_ms - horizons.journal_ms - FUTURE_TOLERANCE_MS


def is_due(sku: str, rows: LedgerRows, until_ms: int) -> bool:
    """Whether to settle up to an instant lets a chunk go, or was not done for long: else it only costs."""
    found = oldest(sku, rows)
    if found and all(posting.time_ms < until_ms > posting.recorded_ms for posting in found):
        return True
    from_ms = (rows.accounts.get((sku,)) or Account()).settled_ms
    return until_ms - from_ms >= SETTLED_WITHIN_MS and bool(_past(postings_of(sku, rows), from_ms, until_ms))


def _past(postings: Iterable[Posting], from_ms: int, until_ms: int) -> list[Posting]:
    """Postings that are settled when what is settled goes on from one instant to another."""
    return [p for p in postings if from_ms <= p.time_ms < until_ms or from_ms <= p.recorded_ms < until_ms]


def settle(ledger: SkuLedger, rows: LedgerRows, rules: Rules, until_ms: int) -> None:
    """Settle a SKU, of its ledger by these rows, up to an instant.

    Not while one of its facts waits for the reference of its node.
    """
    sku = ledger.sku
    opening, postings = opening_of(sku, rows, rules.horizons), ledger.timely + ledger.late
    from_ms = opening.account.settled_ms
    past = _past(postings, from_ms, until_ms)
    if not past or any(rules.region_of(posting.node) is None for posting in past):
        return
    account = opening.account
    entries = _entries(ledger, opening, rules, until_ms)
    operations = opening.book(OPERATIONS, for_good=True)
    for posting in sorted(past, key=ARRIVAL):
        if from_ms <= posting.recorded_ms < until_ms:
            operations.take(posting)
    account.operations, account.entries = operations.kept(until_ms), list(_shortened(entries, rules, until_ms))
    account.settled_ms = until_ms
    _drop(sku, opening, rows, rules)
    rows.accounts[sku,] = account


def _entries(ledger: SkuLedger, opening: Opening, rules: Rules, until_ms: int) -> list[Entry]:
    """Book what is dated before the instant for good; the entries, with the differences of midnights before it."""
    account = opening.account
    days, finance = Days(rules, account.entries), opening.book(FINANCE, for_good=True)
    past = [posting for posting in ledger.timely if posting.time_ms < until_ms]
    for posting in past:
        if posting.time_ms >= account.settled_ms:
            days.take(posting, finance)
    days.touch(past, [posting for posting in ledger.late if posting.recorded_ms < until_ms])
    for entry in ledger.entries:
        if entry.difference and Day(entry.ordinal, rules.calendar_of(entry.region).zone).end_ms <= until_ms:
            days.entry(entry.region, entry.ordinal).difference = entry.difference
    account.finance = finance.kept(until_ms)
    return days.ordered()


def _shortened(entries: Iterable[Entry], rules: Rules, until_ms: int) -> Iterable[Entry]:
    """Entries of a region by date; those of long ago as one, so that what follows goes on from the same stock."""
    for region, found in groupby(entries, attrgetter("region")):
        oldest = rules.calendar_of(region).day(until_ms).ordinal - KEPT_DAYS
        before: Entry | None = None
        for entry in found:
            if before is not None and entry.ordinal <= oldest:
                entry.movements = [one + other for one, other in zip(before.movements, entry.movements, strict=True)]
            elif before is not None:
                yield before
            before = entry
        if before is not None:
            yield before


def _drop(sku: str, opening: Opening, rows: LedgerRows, rules: Rules) -> None:
    """Let go of postings that both books have; of those that came too late only once they make no difference."""
    account, until_ms = opening.account, opening.account.settled_ms
    gone = let_go(sku, rows, lambda posting: max(posting.time_ms, posting.recorded_ms) >= until_ms)
    account.pending += parted(gone, rules)[1]
    if _agree(opening):  # but a document's next version adds to another one here than there
        account.pending = [posting for posting in account.pending if posting.document is not None]


def _agree(opening: Opening) -> bool:
    """Whether operations and finance know the same stock, of the same counts."""
    finance, operations = opening.account.finance.nodes, opening.account.operations.nodes
    return finance.keys() == operations.keys() and all(
        (row.on_hand, row.baselines) == (operations[node].on_hand, operations[node].baselines)
        for node, row in finance.items()
    )

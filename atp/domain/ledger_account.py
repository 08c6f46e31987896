"""What is settled of a SKU's ledger, and the postings that are not: the rows a worker keeps, and goes on from.

No fact dated, or recorded, before `settled_ms` can come any more: what such facts did is kept as stock and entries.
Later ones are kept as they are and booked when somebody asks, in the order of their own times.

    tail      the newest postings of a SKU: what a batch rewrites, never longer than TAIL_POSTINGS
    chunks    sealed ones, written once
    accounts  what is settled, and postings that came too late and still make operations and finance differ
    documents versions behind settled stock, as finance and as operations know them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from atp.domain.documents import History
from atp.domain.facts import Reservation
from atp.domain.intake import Admitted, Horizons
from atp.domain.ledger_book import Book, BookState, Overlay, Posting, posting_of
from atp.domain.ledger_days import Entry
from atp.domain.rows import MemoryRows, MemorySpread, Rows, SpreadRows
from atp.domain.times import FOREVER_MS

TAIL_POSTINGS = 12  # few: a tail is rewritten with every batch that adds to it, a chunk is written once
FINANCE, OPERATIONS = "f\x1f", "o\x1f"


class Account(msgspec.Struct, array_like=True):
    """What is settled of a SKU. `pending`: postings of the past that finance does not book and operations do."""

    settled_ms: int = -FOREVER_MS
    finance: BookState = msgspec.field(default_factory=BookState)
    operations: BookState = msgspec.field(default_factory=BookState)
    entries: list[Entry] = []
    pending: list[Posting] = []


class Tail(msgspec.Struct, array_like=True):
    """The newest postings, and which chunks hold those before them."""

    postings: list[Posting] = []
    first: int = 0
    following: int = 0


class PostingChunk(msgspec.Struct, array_like=True, gc=False):
    """Sealed postings."""

    postings: list[Posting]


class LedgerRows(msgspec.Struct):
    """The tables of the ledger. In the worker each one is a changelog-backed table."""

    tails: Rows[Tail]
    chunks: Rows[PostingChunk]
    accounts: Rows[Account]
    documents: SpreadRows[History]

    @classmethod
    def in_memory(cls) -> LedgerRows:
        """Empty tables in dictionaries."""
        return cls(MemoryRows(), MemoryRows(), MemoryRows(), MemorySpread())


def take(admitted: Iterable[Admitted], rows: LedgerRows) -> None:
    """Keep the postings of admitted facts, each SKU's row once."""
    by_sku: dict[str, list[Posting]] = {}
    for one in admitted:
        if type(one.fact) is Reservation:
            continue  # its line is kept where the reservations are
        by_sku.setdefault(one.fact.sku, []).append(posting_of(one))
    for sku, postings in by_sku.items():
        tail = rows.tails.get((sku,)) or Tail()
        tail.postings += postings
        if len(tail.postings) >= TAIL_POSTINGS:
            rows.chunks[_chunk(sku, tail.following)] = PostingChunk(tail.postings)
            tail.postings, tail.following = [], tail.following + 1
        rows.tails[sku,] = tail


def _chunk(sku: str, number: int) -> tuple[str, str]:
    return sku, f"{number:08x}"


def postings_of(sku: str, rows: LedgerRows) -> list[Posting]:
    """All postings that are still kept."""
    tail, account = rows.tails.get((sku,)) or Tail(), rows.accounts.get((sku,))
    found = list(account.pending) if account is not None else []
    for number in range(tail.first, tail.following):
        found += _sealed(sku, number, rows)
    return found + tail.postings


def _sealed(sku: str, number: int, rows: LedgerRows) -> list[Posting]:
    chunk = rows.chunks.get(_chunk(sku, number))
    assert chunk is not None, f"chunk {number} of the postings of {sku} is gone"
    return chunk.postings


def oldest(sku: str, rows: LedgerRows) -> list[Posting]:
    """The postings of the oldest chunk; none where nothing is sealed."""
    tail = rows.tails.get((sku,)) or Tail()
    return _sealed(sku, tail.first, rows) if tail.first < tail.following else []


def let_go(sku: str, rows: LedgerRows, open_still: Callable[[Posting], bool]) -> list[Posting]:
    """Drop the oldest chunks as far as they have no posting that is still open; what they had."""
    tail = rows.tails.get((sku,)) or Tail()
    gone: list[Posting] = []
    while tail.first < tail.following and not any(map(open_still, found := _sealed(sku, tail.first, rows))):
        del rows.chunks[_chunk(sku, tail.first)]
        tail.first += 1
        gone += found
    if gone:
        rows.tails[sku,] = tail
    return gone


class _Documents:
    """The settled documents of one SKU in one of the two books."""

    def __init__(self, sku: str, book: str, documents: SpreadRows[History]) -> None:
        self._sku, self._book, self._documents = sku, book, documents

    def get(self, key: tuple[str, ...], /) -> History | None:
        return self._documents.get(self._sku, self._book + key[0])

    def __setitem__(self, key: tuple[str, ...], history: History, /) -> None:
        self._documents.put(self._sku, self._book + key[0], history)

    def __delitem__(self, key: tuple[str, ...], /) -> None:
        raise AssertionError("a document is never forgotten")


class Opening:
    """The settled past of a SKU: its two books, opened to look further, or to go on for good."""

    def __init__(self, sku: str, horizons: Horizons, account: Account, documents: SpreadRows[History]) -> None:
        self.sku, self.account, self._horizons, self._documents = sku, account, horizons, documents

    @classmethod
    def none(cls, sku: str, horizons: Horizons) -> Opening:
        """Nothing was settled before."""
        return cls(sku, horizons, Account(), MemorySpread())

    def book(self, which: str, for_good: bool = False) -> Book:
        """The book of FINANCE or OPERATIONS. `for_good`: what it learns of documents is kept."""
        state = self.account.finance if which == FINANCE else self.account.operations
        documents: Rows[History] = _Documents(self.sku, which, self._documents)
        return Book.resumed(self.sku, self._horizons, state, documents if for_good else Overlay(documents))


def opening_of(sku: str, rows: LedgerRows, horizons: Horizons) -> Opening:
    """The settled past of a SKU, as its rows have it."""
    return Opening(sku, horizons, rows.accounts.get((sku,)) or Account(), rows.documents)

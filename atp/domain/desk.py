"""What reconciliation works with: its books, the state of the facts, the world, and what follows for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from atp.domain.exceptions import ExceptionRecord, SkuExceptions
from atp.domain.facts import Fact
from atp.domain.fold import State, World
from atp.domain.intake import Horizons
from atp.domain.partials import Partial
from atp.domain.rows import MemoryRows, Rows
from atp.domain.series import BOOK, PartitionBook, WaitingSkus
from atp.domain.truth import SkuTruth

# (after which SKU, at most how many) → the SKUs that follow in order
Page = Callable[[str, int], list[str]]
# (source, region) → up to when the source has sent, and we have read, everything (ms)
Passed = Callable[[str, str], int]


class Books(msgspec.Struct):
    """The tables of reconciliation. In the worker each one is a changelog-backed table of the same name."""

    truths: Rows[SkuTruth]
    exceptions: Rows[SkuExceptions]
    waiting: Rows[WaitingSkus]
    partition: Rows[PartitionBook]

    @classmethod
    def in_memory(cls) -> Books:
        """Empty books in dictionaries."""
        return cls(MemoryRows(), MemoryRows(), MemoryRows(), MemoryRows())

    @property
    def book(self) -> PartitionBook:
        """What the partition knows beside its SKUs; put it back with `keep`."""
        return self.partition.get((BOOK,)) or PartitionBook()

    def keep(self, book: PartitionBook) -> None:
        """Put the partition's book back."""
        self.partition[(BOOK,)] = book


class Desk(NamedTuple):
    """Everything that reconciliation looks at, and the books it writes."""

    books: Books
    state: State
    world: World
    horizons: Horizons
    now_ms: int
    partition: int = 0
    partitions: int = 1


class Outcome(msgspec.Struct):
    """What follows, for others to know: records of exceptions, corrections to post, reports to the region."""

    exceptions: list[ExceptionRecord] = []
    corrections: list[Fact] = []
    partials: list[Partial] = []
    touched: set[str] = set()  # SKUs whose records may be others now
    more: bool = False  # there is more to do at once

"""A partition's part in the day close: rows of all its SKUs once, later those of SKUs that late facts changed.

before    a fact dated on a date that was walked changes its row: the figures as they were published are kept
walk      a date asked for: every SKU's row and the sum over them, a portion at a time; what is past is settled.
          Regions whose date ends at the same midnight go together: a SKU is read, and reckoned, once for all of them
again     the next revision of a walked date: the rows that differ, and the sum with them
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date
from operator import add, attrgetter, sub
from typing import Any, NamedTuple

import msgspec

from atp.domain.closing import KEPT_DAYS, LedgerDay
from atp.domain.daily_ledger import LedgerRow, Rules, SkuLedger
from atp.domain.fold import State, World
from atp.domain.intake import Admitted, Horizons
from atp.domain.ledger_account import LedgerRows
from atp.domain.ledger_close import Status
from atp.domain.ledger_rows import ledger_of, row_of
from atp.domain.ledger_rules import policy_of, rules_of
from atp.domain.ledger_settle import is_due, settle, settled_until_ms
from atp.domain.partials import LedgerChanged, LedgerTotalled
from atp.domain.rows import Rows
from atp.domain.times import DAY_MS, FOREVER_MS, Day

BOOK = "\x1fledger"  # record key of what a partition knows beside its SKUs: no SKU looks like it
FIGURES: tuple[str, ...] = LedgerRow.__struct_fields__[6:]
_figures = attrgetter(*FIGURES)
Page = Callable[[str, int], list[str]]


class Walk(msgspec.Struct, array_like=True):
    """A date of a region: how far its SKUs were walked, and the sum of their rows."""

    revision: int
    end_ms: int
    cursor: str = ""
    done: bool = False
    rows: int = 0
    totals: list[int] = msgspec.field(default_factory=lambda: [0] * len(FIGURES))
    late: int = 0  # SKUs of which a row may be another than was published
    told: bool = False  # the region knows of them

    def answers(self, day: LedgerDay) -> bool:
        """Whether it is what is asked for."""
        return self.done and self.revision >= day.revision

    def passed(self, sku: str) -> bool:
        """Whether the walk has come past a SKU, in the order of the store."""
        return self.done or sku.encode() <= self.cursor.encode()

    def add(self, figures: list[int], sign: int) -> None:
        """Put a row into the sums, or take it out."""
        self.rows += sign
        self.totals = list(map(add if sign > 0 else sub, self.totals, figures))


class WalkBook(msgspec.Struct, array_like=True):
    """The dates that a partition walked, by `date|region`."""

    walks: dict[str, Walk] = {}

    @property
    def closed_ms(self) -> int:
        """Facts dated before it may change a row that was published."""
        return max((walk.end_ms for walk in self.walks.values()), default=-FOREVER_MS)


class Published(msgspec.Struct, array_like=True):
    """Rows of a SKU as they were published, of dates whose facts came late; empty: there was none."""

    rows: dict[str, list[int]] = {}


class Ledger(NamedTuple):
    """All that the partition's part works with."""

    rows: LedgerRows
    walks: Rows[WalkBook]
    late: Rows[Published]
    late_skus: Callable[[], list[str]]
    state: State
    world: World
    horizons: Horizons
    partition: int

    @property
    def book(self) -> WalkBook:
        """The dates that were walked; put it back with `keep`."""
        return self.walks.get((BOOK,)) or WalkBook()

    def keep(self, book: WalkBook) -> None:
        """Put the walks back."""
        self.walks[(BOOK,)] = book

    def of(self, sku: str, rules: Rules, regions: Collection[str] | None = None) -> SkuLedger:
        """The ledger of a SKU, or of some regions of it, by what is known now."""
        return ledger_of(sku, self.rows, self.state.reservations.lines, rules, regions)

    def row(self, sku: str, key: str, revision: int, status: Status, rules: Rules) -> Any:
        """The row of a SKU on a date, by what is known now; None if it has none."""
        day, _, region = key.partition("|")
        return row_of(self.of(sku, rules, [region]), region, date.fromisoformat(day).toordinal(), revision, status)


def key_of(asked: LedgerDay) -> str:
    """`2011-11-25|uk`"""
    return f"{asked.business_date.isoformat()}|{asked.region}"


def figures_of(row: Any) -> list[int]:
    """The figures of a row, in the order of its columns; of none, nothing."""
    return [] if row is None else list(_figures(row))


def before(facts: Iterable[Admitted], ledger: Ledger) -> None:
    """Keep the rows that facts are about to change, as they were published."""
    book, changed = ledger.book, False
    closed_ms = book.closed_ms
    for admitted in facts:
        if admitted.time_ms < closed_ms:
            changed = _keep(admitted, book, ledger) or changed
    if changed:
        ledger.keep(book)


def _keep(admitted: Admitted, book: WalkBook, ledger: Ledger) -> bool:
    sku, changed = admitted.fact.sku, False
    known = ledger.late.get((sku,)) or Published()
    for key, walk in book.walks.items():
        if admitted.time_ms < walk.end_ms and key not in known.rows:
            rules = rules_of(ledger.world, ledger.horizons, walk.end_ms)
            row = ledger.row(sku, key, walk.revision, Status.OPEN, rules) if walk.passed(sku) else None
            known.rows[key] = figures_of(row)
            walk.late += 1
            changed = True
    if changed:
        ledger.late[sku,] = known
    return changed


class Portion(msgspec.Struct):
    """What a piece of work comes to: rows to publish, words to the region. `more`: there is more to do at once."""

    rows: list[Any] = []
    partials: list[LedgerTotalled | LedgerChanged] = []
    more: bool = False


Going = tuple[LedgerDay, Walk]  # a date that is asked for, and how far its SKUs were walked


def advance(
    asked: Iterable[LedgerDay], ledger: Ledger, passed: Callable[[str, str], int], page: Page, limit: int
) -> Portion:
    """Say which dates changed; then go on with the first date that is asked for and may be answered."""
    book, portion = ledger.book, Portion()
    portion.partials += _changed(book, ledger.partition)
    going = []
    for day in sorted(asked, key=key_of):
        walk = book.walks.get(key_of(day)) or Walk(day.revision, _end_ms(day, ledger))
        if not walk.answers(day) and _all_came(day, ledger, passed, walk.end_ms):
            going.append((day, walk))
    if going:
        worked = _go_on(going, ledger, page, limit, portion)
        book.walks.update({key_of(day): walk for day, walk in worked})
    if portion.partials or portion.more:
        _forget(book)
        ledger.keep(book)
    return portion


def _go_on(going: list[Going], ledger: Ledger, page: Page, limit: int, portion: Portion) -> list[Going]:
    """The next piece of the first date, and of those that go with it; after the last one, its sums."""
    day, walk = going[0]
    if walk.done:
        _again(day, walk, ledger, limit, portion)
        worked = [(day, walk)]
    else:
        worked = _walk(going, ledger, page, limit, portion)
    for day, walk in worked:
        if walk.answers(day):
            portion.partials.append(
                LedgerTotalled(
                    region=day.region,
                    business_date=day.business_date,
                    revision=day.revision,
                    partition=ledger.partition,
                    rows=walk.rows,
                    totals=dict(zip(FIGURES, walk.totals, strict=True)),
                )
            )
    portion.more = not all(walk.answers(day) for day, walk in going)
    return worked


def _end_ms(day: LedgerDay, ledger: Ledger) -> int:
    zone = policy_of(ledger.world, day.region).calendar.zone
    return Day(day.business_date.toordinal(), zone).end_ms


def _forget(book: WalkBook) -> None:
    """Let go of dates that are not restated any more: each region's own, for one may be weeks behind the others."""
    ends: dict[str, int] = {}
    for key, walk in book.walks.items():
        region = _region_of(key)
        ends[region] = max(walk.end_ms, ends.get(region, walk.end_ms))
    book.walks = {
        key: walk for key, walk in book.walks.items() if walk.end_ms > ends[_region_of(key)] - KEPT_DAYS * DAY_MS
    }


def _region_of(key: str) -> str:
    return key.partition("|")[2]


def _changed(book: WalkBook, partition: int) -> Iterator[LedgerChanged]:
    for key, walk in book.walks.items():
        if walk.late and walk.done and not walk.told:
            walk.told = True
            day, _, region = key.partition("|")
            changed = date.fromisoformat(day)
            yield LedgerChanged(region=region, business_date=changed, revision=walk.revision, partition=partition)


def _all_came(day: LedgerDay, ledger: Ledger, passed: Callable[[str, str], int], end_ms: int) -> bool:
    """Whether all that the sources of the region recorded up to midnight was read here."""
    required = policy_of(ledger.world, day.region).required_sources
    heard = {source for source, region in ledger.world.watermarks if region == day.region}
    return all(passed(source, day.region) >= end_ms for source in {*required, *heard})


def _walk(going: list[Going], ledger: Ledger, page: Page, limit: int, portion: Portion) -> list[Going]:
    """Walk on with all dates that end with the first one and lie furthest behind, up to where another stands."""
    end_ms = going[0][1].end_ms
    behind, ahead = _level([one for one in going if one[1].end_ms == end_ms and not one[1].done])
    rules, regions = rules_of(ledger.world, ledger.horizons, end_ms), {day.region for day, _ in behind}
    # who does not walk for all regions must not reckon those of the others
    some = regions if not regions.issuperset(ledger.world.nodes.regions) else None
    following = page(behind[0][1].cursor, limit)
    skus = [sku for sku in following if ahead is None or ahead.passed(sku)]
    for sku in skus:
        found = ledger.of(sku, rules, some)
        for day, walk in behind:
            _row(sku, found, day, walk, ledger, portion)
        head = ledger.state.heads.get((sku,))
        until_ms = settled_until_ms(head.stream_ms, ledger.horizons) if head is not None else -FOREVER_MS
        if is_due(sku, ledger.rows, until_ms):
            settle(ledger.of(sku, rules) if some else found, ledger.rows, rules, until_ms)
    for _, walk in behind:
        walk.cursor, walk.done = skus[-1] if skus else walk.cursor, len(skus) == len(following) < limit
    return behind


def _level(going: list[Going]) -> tuple[list[Going], Walk | None]:
    """Those that lie furthest behind, side by side, and the one that is next; None: they are all."""
    ordered = sorted(going, key=lambda one: one[1].cursor.encode())
    behind = [one for one in ordered if one[1].cursor == ordered[0][1].cursor]
    return behind, ordered[len(behind)][1] if len(behind) < len(ordered) else None


def _row(sku: str, found: SkuLedger, day: LedgerDay, walk: Walk, ledger: Ledger, portion: Portion) -> None:
    """The row of a SKU on a date that is walked; that it changes is not to be told any more."""
    row = row_of(found, day.region, day.business_date.toordinal(), day.revision, day.status)
    if row is not None:
        portion.rows.append(row)
        walk.add(figures_of(row), +1)
    if walk.late and (known := ledger.late.get((sku,))) is not None and known.rows.pop(key_of(day), None) is not None:
        _settled(sku, known, walk, ledger)


def _settled(sku: str, known: Published, walk: Walk, ledger: Ledger) -> None:
    """A row is published as it is now."""
    walk.late -= 1
    if known.rows:
        ledger.late[sku,] = known
    else:
        del ledger.late[sku,]


def _again(day: LedgerDay, walk: Walk, ledger: Ledger, limit: int, portion: Portion) -> None:
    """The rows of a walked date that differ from what was published."""
    key, rules = key_of(day), rules_of(ledger.world, ledger.horizons, walk.end_ms)
    marked = [sku for sku in ledger.late_skus() if key in (ledger.late.get((sku,)) or Published()).rows]
    for sku in marked[:limit]:
        known = ledger.late.get((sku,))
        assert known is not None
        was = known.rows.pop(key)
        row = ledger.row(sku, key, day.revision, day.status, rules)
        if row is not None and figures_of(row) != was:
            portion.rows.append(row)
            if was:
                walk.add(was, -1)
            walk.add(figures_of(row), +1)
        _settled(sku, known, walk, ledger)
    if len(marked) <= limit:  # those of this very turn wait for the next revision
        walk.revision, walk.told = day.revision, False

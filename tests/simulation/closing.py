"""The daily ledger of the product's own simulation: what the changelog has, against the pure close of the input."""

from __future__ import annotations

from datetime import date
from typing import Any

from atp.domain.fold import World
from atp.domain.ledger_account import LedgerRows
from atp.domain.ledger_close import Status
from atp.domain.ledger_rows import ledger_of, row_of
from atp.domain.ledger_rules import rules_of
from atp.domain.rows import MemoryRows, MemorySpread
from atp.domain.times import DAY_MS
from atp.lane.memory import MemoryBroker
from atp.lane.table import BaseTable
from atp.ledger.columns import SUMMED
from atp.ledger.days import ledger_days
from atp.ledger.gather import LEDGER_TOPICS, Record, gather
from tables import ledger, reservations
from tests.simulation.invariants import expect, rebuilt, table_rows


def ledger_is_the_pure_close(broker: MemoryBroker, partitions: int, world: World, last_ms: int) -> None:
    """Every row by the tables is the row by all facts that the topics have, each of them once."""
    close_ms = last_ms + 2 * DAY_MS
    found = [Record(r.topic, None, r.value, r.topic, 0) for name in LEDGER_TOPICS for r in broker.records(name)]
    pure = list(ledger_days(gather(found, world, close_ms), close_ms))
    expect(bool(pure), "ledger", "no facts")
    disk: dict[bytes, bytes] = {}
    for partition in range(partitions):
        disk |= rebuilt(broker, partition)
    rows = LedgerRows(
        _rows(disk, ledger.tails),
        _rows(disk, ledger.chunks),
        _rows(disk, ledger.accounts),
        _spread(disk, ledger.documents),
    )
    rules = rules_of(world, world.policies.horizons(), close_ms)
    for day in pure:
        for at, sku in enumerate(day.columns["sku"].to_pylist()):
            mine = row_of(
                ledger_of(sku, rows, _spread(disk, reservations.lines), rules),
                day.region,
                day.day.ordinal,
                1,
                Status.FINAL,
            )
            wanted = {name: int(day.columns[name][at]) for name in SUMMED}
            differ = {
                n: (getattr(mine, n, None), units) for n, units in wanted.items() if getattr(mine, n, None) != units
            }
            expect(
                not differ, "ledger", f"{date.fromordinal(day.day.ordinal)} {day.region} {sku}: (kept, pure) {differ}"
            )


def _rows(disk: dict[bytes, bytes], table: BaseTable) -> MemoryRows[Any]:
    return MemoryRows(table_rows(disk, table))


def _spread(disk: dict[bytes, bytes], table: BaseTable) -> MemorySpread[Any]:
    found: MemorySpread[Any] = MemorySpread()
    for (sku, _), bucket in table_rows(disk, table).items():
        found.setdefault(sku, {}).update(bucket.rows)
    return found

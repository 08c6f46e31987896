"""The ledger of facts in memory, and the fold it is held against."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
from pyarrow import parquet

from atp.commands.ledger_close import CloseOptions, Given, close_days
from atp.domain.decoding import decode
from atp.domain.fold import State, World, apply, reckon
from atp.domain.refusals import Refusal
from atp.domain.times import to_ms
from atp.ledger.columns import check, check_opening
from atp.ledger.days import LedgerDay, ledger_days
from atp.ledger.gather import Gathered, Record, gather
from atp.ledger.store import Manifest
from tests import cli

Lines = Iterable[tuple[str, dict[str, Any]]]
Row = dict[str, Any]


def gathered(lines: Lines, world: World, close_ms: int) -> Gathered:
    """Facts as the ledger takes them in."""
    records = (
        Record(topic, None, msgspec.json.encode(value), "file", number)
        for number, (topic, value) in enumerate(lines, 1)
    )
    return gather(records, world, close_ms)


def days_of(lines: Lines, world: World, close_ms: int) -> list[LedgerDay]:
    """Every date of every region, all invariants checked."""
    days = list(ledger_days(gathered(lines, world, close_ms), close_ms))
    before: dict[str, LedgerDay] = {}
    for day in days:
        check(day.columns, day.region)
        if day.region in before:
            check_opening(before[day.region].columns, day.columns, day.region)
        before[day.region] = day
    return days


def rows_of(day: LedgerDay) -> dict[str, Row]:
    """The rows of a day by SKU, as plain integers."""
    columns = day.columns
    return {
        sku: {name: int(columns[name][at]) for name in columns if name != "sku"}
        for at, sku in enumerate(columns["sku"].to_pylist())
    }


def ledger(lines: Lines, world: World, close_ms: int) -> dict[tuple[str, str], dict[str, Row]]:
    """(date, region) → rows."""
    found = days_of(lines, world, close_ms)
    return {(date.fromordinal(day.day.ordinal).isoformat(), day.region): rows_of(day) for day in found}


def folded(lines: Lines, world: World, keep: Callable[[int, int], bool], now_ms: int) -> dict[tuple[str, str], Row]:
    """(region, SKU) → closing figures by the fold of the facts that are kept, by time and recorded_at."""
    state, horizons, skus = State.in_memory(), world.policies.horizons(), set()
    for topic, value in lines:
        fact = decode(topic, msgspec.json.encode(value))
        assert not isinstance(fact, Refusal), fact.message
        time_ms = to_ms(getattr(fact, "as_of", None) or fact.occurred_at)
        if keep(time_ms, to_ms(fact.recorded_at)):
            assert not isinstance(apply(fact, state, horizons, 2**52), Refusal)
            skus.add(fact.sku)
    return dict(_closings(state, world, now_ms, skus))


def _closings(state: State, world: World, now_ms: int, skus: set[str]) -> Iterator[tuple[tuple[str, str], Row]]:
    for sku in skus:
        for region, found in reckon(sku, state, world, world.policies.horizons(), now_ms):
            record = msgspec.to_builtins(found.content)
            reserved = record["reserved"]
            promised = reserved["firm"] + reserved["allocated"] + reserved["backordered"]
            yield (
                (region, sku),
                {
                    "closing_sellable": record["on_hand"]["sellable"],
                    "closing_on_hand": sum(record["on_hand"].values()),
                    "reserved_close": promised + reserved["soft"],
                    "promised_close": promised,
                },
            )


class Books:
    """A folder of closed days and the file of facts they are closed from."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.folder, self.out = folder, folder / "ledger"
        self.lines: list[dict[str, Any]] = [
            cli.node("n1", "uk"),
            cli.policy(time_zone="Europe/London", required_sources=["test"], **policy),
        ]

    def add(self, *lines: dict[str, Any]) -> None:
        """More facts, at the end of the file."""
        self.lines += lines

    def alive(self, watermark: str, **totals: dict[str, list[int]]) -> None:
        """A heartbeat of the one source; totals by topic (`stock`, `reservations`) and hour."""
        names = {"stock": "inventory.stock.v1", "reservations": "oms.reservations.v1"}
        said = {names[topic]: hours for topic, hours in totals.items()}
        value = {"type": "source.alive", "source": "test", "region": "uk", "watermark": watermark, "totals": said}
        self.add({"topic": "sources.heartbeats.v1", "key": "test|uk", "value": value})

    @property
    def file(self) -> Path:
        """The facts as a file."""
        return cli.write_lines(self.folder / "facts.jsonl", list(self.lines))

    def close(self, now: str, **options: Any) -> list[Manifest]:
        """Close what may be closed at an instant; the manifests written."""
        out = io.StringIO()
        found = CloseOptions(str(self.out), now, as_json=True, **options)
        self.told = io.StringIO()
        close_days(Given(self.file), found, out, self.told)
        written = [msgspec.json.decode(line) for line in out.getvalue().splitlines()]
        return [msgspec.convert(one, Manifest) for one in written if "revision" in one]

    def row(self, date: str, revision: int, sku: str = "S", region: str = "uk") -> dict[str, Any]:
        """A row of a revision, read from its file."""
        table = parquet.read_table(self.out / f"date={date}/region={region}/revision-{revision}.parquet")
        return next(row for row in table.to_pylist() if row["sku"] == sku)

    def files(self) -> dict[str, bytes]:
        """Everything in the folder."""
        return {str(p.relative_to(self.out)): p.read_bytes() for p in self.out.rglob("*") if p.is_file()}


def dated(line: dict[str, Any], occurred: str, recorded: str | None = None, **body: Any) -> dict[str, Any]:
    """A record of a fact with other times: RFC 3339 without the seconds, as in `2026-01-05T10:00`."""
    times = {"occurred_at": f"{occurred}:00Z", "recorded_at": f"{recorded or occurred}:00Z"}
    if "as_of" in line["value"]:
        times["as_of"] = times["occurred_at"]
    return {**line, "value": {**line["value"], **times, **body}}

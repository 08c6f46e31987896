"""What a person sees of the demo: a live table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from typing import IO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from atp.commands.published import Published
from atp.commands.replay import Replay
from atp.domain.times import rfc3339

LIVE_EVERY_S, LINE_EVERY_S = 0.5, 5.0
BUSIEST = 8


class View:
    """Shows progress now and then; use it with `with`."""

    def __init__(self, replay: Replay, published: Published, end_ms: int, out: IO[str]) -> None:
        self._replay, self._published, self._end_ms = replay, published, end_ms
        self.console = Console(file=out)
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._every_s = LIVE_EVERY_S if self._live else LINE_EVERY_S
        self._shown_s = self._began_s = time.monotonic()
        self._shown_facts = 0

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """One line for the person."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def show(self, doing: str, *, now: bool = False) -> None:
        """Show how things stand, when it is time to."""
        spent_s = time.monotonic() - self._shown_s
        if spent_s < self._every_s and not now:
            return
        rate = (self._replay.consumed - self._shown_facts) / max(spent_s, 0.001)
        self._shown_s, self._shown_facts = time.monotonic(), self._replay.consumed
        line = self._line(doing, rate)
        if self._live:
            self._live.update(Group(line, self._bar(), self._busiest(), self._flags()), refresh=True)
        else:
            self.say(line)

    def _line(self, doing: str, rate: float) -> str:
        replay, lag = self._replay, self._published.lag()
        parts = [
            f"{time.monotonic() - self._began_s:5.1f} s  {doing}  {rfc3339(replay.replay_ms)[:16]}",
            f"{replay.facts:,} facts sent, {replay.consumed:,} worked off ({rate:,.0f}/s)",
            f"{self._published.count:,} published",
        ]
        if lag:
            parts.append(f"produced to published p50 {lag['p50']} ms, p95 {lag['p95']} ms")
        return "; ".join(parts)

    def _bar(self) -> ProgressBar:
        start_ms = self._replay.start_ms
        return ProgressBar(total=max(1, self._end_ms - start_ms), completed=self._replay.replay_ms - start_ms)

    def _busiest(self) -> Table:
        shown = self._published.shown()
        regions = sorted({seen.region for seen in shown.values()})
        table = Table("busiest SKUs: ATP", *regions, box=None)
        for sku, _ in self._replay.fold.by_sku.most_common(BUSIEST):
            found = [shown.get(f"{sku}|{region}") for region in regions]
            table.add_row(sku, *("" if seen is None else str(seen.atp) for seen in found))
        return table

    def _flags(self) -> Table:
        flags = self._published.flags()
        names = sorted({name for counter in flags.values() for name in counter})
        table = Table("records flagged", *sorted(flags), box=None)
        for name in names:
            table.add_row(name, *(str(flags[region][name]) for region in sorted(flags)))
        return table

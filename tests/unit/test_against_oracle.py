"""The product's fold against an independent, naive reckoning of the same facts.

The oracle (`tests/oracle`) was written from the domain text alone: it keeps all facts in lists and recomputes
everything. Random histories of every fact type go through both; every canonical record must be the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest

from atp.commands.fold import fold_file
from atp.domain.fold import World
from atp.domain.record import comparable
from tests.oracle.histories import random_history, shuffled_with_duplicates
from tests.oracle.reckoning import reckon

SEEDS = 300
CHUNK = 25


def folded(lines: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[Any, Any]], datetime]:
    """Records and refusals of the product, and the `now` they hold at."""
    content = b"\n".join(msgspec.json.encode(line) for line in lines)
    found = fold_file(content, World(), None)
    records = [comparable(msgspec.json.decode(record)) for _, record in found.records()]
    refusals = [(refusal["event_id"], refusal["reason"]) for refusal in found.refusals]
    return records, refusals, datetime.fromtimestamp(found.now_ms / 1000, UTC)


def reckoned(lines: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[Any, Any]]]:
    """Records and refusals of the oracle."""
    records, refusals = reckon(lines)
    return [comparable(record) for record in records], [(r["event_id"], r["reason"]) for r in refusals]


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_fold_equals_the_oracle(first: int) -> None:
    """Conflict-free histories give the same records in both, and no refusals."""
    for seed in range(first, first + CHUNK):
        rng = Random(seed)
        lines = shuffled_with_duplicates(random_history(rng), rng)
        records, refusals, _ = folded(lines)
        assert (seed, records, refusals) == (seed, *reckoned(lines))


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_fold_equals_the_oracle_on_hostile_histories(first: int) -> None:
    """With conflicts, stale, future and broken facts among them both refuse the same ones for the same reasons."""
    for seed in range(first, first + CHUNK):
        lines = random_history(Random(seed), hostile=True)
        records, refusals, _ = folded(lines)
        assert (seed, records, sorted(refusals, key=repr)) == (
            seed,
            (mine := reckoned(lines))[0],
            sorted(mine[1], key=repr),
        )

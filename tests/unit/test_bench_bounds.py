"""The benchmark's verdicts: what was found is held against the number to reach, whichever way round it goes."""

from __future__ import annotations

from typing import Any

from bench.bounds import Figure, figures, rows, takeover_bound_s

LOST = {"first_s": 11.0, "all_s": 14.9, "partitions": 4, "records": 0}


def test_a_rate_is_to_be_at_least_and_a_time_at_most_its_bound() -> None:
    """On the bound is met; beyond it on the wrong side is missed."""
    assert [Figure("restart", seconds, "s", 10.0).met for seconds in (9.9, 10.0, 10.1)] == [True, True, False]
    rates = [Figure("rebuild", rate, "records/s", 100_000, True).met for rate in (99_999, 100_000, 100_001)]
    assert rates == [False, True, True]


def test_a_takeover_may_take_session_rebalance_and_restore() -> None:
    """What must be restored is reckoned at the rate that a rebuild has to reach."""
    assert takeover_bound_s(0) == 15.0
    assert takeover_bound_s(1_000_000) == 25.0


def test_parts_that_were_not_run_have_no_figures() -> None:
    """A shortened run says nothing about the rest."""
    part = {"keys": 1_000, "load": 3.0, "machine": {"cpus": 2}}
    late = {**LOST, "all_s": 15.1}
    document: dict[str, Any] = {"takeover": {**part, "without_state": LOST, "with_state": late}}
    assert [figure.met for figure in figures(document)] == [True, False]
    assert [row[3] for row in rows(document)] == ["met, at a smaller size", "**missed**, at a smaller size"]
    document["takeover"]["keys"] = 1_000_000
    assert [row[3] for row in rows(document)] == ["met", "**missed**"]
    assert figures({}) == []

"""The figures of a demo run, for programs and in words."""

from __future__ import annotations

from typing import Any

from atp.commands.published import Comparison, Published
from atp.commands.replay import Replay
from atp.domain.times import rfc3339


def summarize(
    replay: Replay, published: Published, comparison: Comparison, times: dict[str, float], end_ms: int
) -> dict[str, Any]:
    """The figures of the run."""
    spent_s = times["to_equality_s"]
    return {
        "records": replay.sent,
        "facts": replay.facts,
        "refused_by_fold": replay.fold.refused,
        "now": rfc3339(end_ms),
        **{name: round(value, 1) for name, value in times.items()},
        "facts_per_s": round(replay.facts / spent_s),
        "waited_for_worker_s": round(replay.waited_s, 1),
        "published": published.count,
        "keys": len(published.latest),
        "lag_ms": published.lag(len(published.lags_ms)),
        "flags": {region: dict(counter) for region, counter in sorted(published.flags().items()) if counter},
        "differing": sorted(comparison.differing),
        "equal": not comparison.differing,
    }


def in_words(summary: dict[str, Any]) -> list[str]:
    """The summary as a person reads it."""
    lag = summary["lag_ms"]
    verdict = "every canonical record equals the fold of the same facts" if summary["equal"] else "RECORDS DIFFER"
    return [
        f"{summary['facts']:,} facts in {summary['to_equality_s']} s ({summary['facts_per_s']:,}/s) "
        f"after {summary['set_up_s']} s of set-up; replay ends at {summary['now']}",
        f"{summary['published']:,} records published for {summary['keys']:,} keys; produced to published "
        + ", ".join(f"{name} {value} ms" for name, value in lag.items()),
        f"{summary['keys']:,} keys compared, {len(summary['differing'])} differ: {verdict}",
    ]

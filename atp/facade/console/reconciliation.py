"""The room of drift and exceptions: the latest verdict of every source, what is missing of it, and what lies open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from atp.domain.balances import SourceBalance
from atp.domain.exceptions import ExceptionRecord, Stage
from atp.domain.results import Result
from atp.domain.verdicts import Verdict
from atp.facade.documents import Document

SHOWN = 200  # the most urgent ones; the command line lists all
URGENCY = (Stage.PROPOSED, Stage.OPEN, Stage.APPROVED, Stage.APPLIED)


def exceptions(documents: dict[str, Document]) -> dict[str, Any]:
    """The exceptions that are not settled: first those that wait for a person, by units promised too many and age."""
    ordered = sorted(documents.values(), key=_urgency)
    return {
        "count": len(ordered),
        "proposed": sum(one.get("state") == Stage.PROPOSED for one in ordered),
        "rows": list(_shown(ordered[:SHOWN])),
    }


def _urgency(document: Document) -> tuple[int, int, str]:
    state, over = document.get("state"), document.get("over_promised_units")
    place = URGENCY.index(Stage(state)) if state in URGENCY else len(URGENCY)
    return place, -over if isinstance(over, int) else 0, str(document.get("opened_at"))


def _shown(documents: list[Document]) -> Iterator[dict[str, Any]]:
    for document in documents:
        try:
            one = msgspec.convert(document, ExceptionRecord)
        except msgspec.ValidationError:
            continue
        about = one.node if one.reservation_id is None else f"{one.reservation_id}/{one.line}"
        yield {**msgspec.to_builtins(one), "about": about}


def drift(documents: dict[str, Document]) -> list[dict[str, Any]]:
    """Per region, source and kind: the latest verdict on a snapshot, and what the source sent that did not come."""
    results = list(_results(documents))
    missing = {(one.region, one.source): one for one in results if isinstance(one, SourceBalance)}
    verdicts = {(one.region, one.source): one for one in results if isinstance(one, Verdict)}
    rows = [_row(one, missing.get((one.region, one.source))) for one in results if isinstance(one, Verdict)]
    rows += [_row(None, one) for place, one in missing.items() if place not in verdicts]
    return sorted(rows, key=lambda row: (row["region"], row["source"], row["kind"]))


def _results(documents: dict[str, Document]) -> Iterator[Result]:
    for document in documents.values():
        try:
            yield msgspec.convert(document, Result)
        except msgspec.ValidationError:
            continue


def _row(verdict: Verdict | None, balance: SourceBalance | None) -> dict[str, Any]:
    said = verdict or balance
    assert said is not None
    row: dict[str, Any] = {"region": said.region, "source": said.source, "kind": "", "missing": _missing(balance)}
    if verdict is None:
        return row | {"outcome": None, "detail": "no snapshot was judged yet", "as_of": None}
    figures = {name: getattr(verdict, name) for name in FIGURES}
    told = {"kind": verdict.kind, "outcome": verdict.outcome, "detail": verdict.detail, "as_of": verdict.as_of}
    return row | told | figures | {"snapshot_id": verdict.snapshot_id}


FIGURES = ("keys", "drifting_keys", "units", "drifted_units", "over_promised_units")


def _missing(balance: SourceBalance | None) -> list[str]:
    """What the source sent and we never saw, in words."""
    if balance is None:
        return []
    found = [f"numbers {first} to {last}" for first, last in balance.gaps]
    found += [f"{balance.lost} numbers given up"] if balance.lost else []
    return found + [
        f"{short.topic}, hour {short.hour}: {short.facts} of {short.expected_facts} facts"
        for short in balance.shortfalls
    ]

"""Damage documents: units leave a state for damaged or quarantine, may be reversed, may be written off.

Damage lowers ATP at once; on-hand falls only when it is written off.
"""

from __future__ import annotations

from atp.domain.documents import History, Totals, effects, insert
from atp.domain.facts import Damage, StockState
from atp.domain.intake import Admitted, Horizons
from atp.domain.rows import SpreadRows
from atp.domain.stock import INDEX, StockEffect


def apply(admitted: Admitted, documents: SpreadRows[History], horizons: Horizons) -> list[StockEffect]:
    """Take a version of a damage document into its history; answer its stock effects."""
    fact = admitted.fact
    assert isinstance(fact, Damage)
    history = documents.get(fact.sku, fact.damage_id)
    if history is None:
        history = History()
    at = insert(history, totals_of(fact, admitted.time_ms), admitted.stream_ms - horizons.journal_ms)
    if at is None:
        return []
    documents.put(fact.sku, fact.damage_id, history)
    return effects(history, at, fact.sku, f"d\x1f{fact.damage_id}", admitted.stream_ms)


def totals_of(fact: Damage, time_ms: int) -> Totals:
    """from_state −(reported − reversed); to_state +(reported − reversed − written_off)."""
    taken = fact.reported - fact.reversed
    legs = (INDEX[fact.from_state], -taken, INDEX[StockState(fact.to_state)], taken - fact.written_off)
    return Totals(fact.version, time_ms, fact.node, legs)

"""Properties of reconciliation over random histories: the truth at an as_of is the fold of what was dated by then."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from atp.domain.as_of import line_at, open_at
from atp.domain.facts import LineState
from atp.domain.fold import State
from atp.domain.snapshots import OMS_SNAPSHOTS_TOPIC, WMS_SNAPSHOTS_TOPIC
from atp.domain.stock import STATES
from atp.domain.times import from_ms, to_ms
from tests.unit.builders import SKU, Fact, Product, stamp
from tests.unit.fact_histories import DAY_ONE, NODES, NOW, History, histories
from tests.unit.reconciling import Reconciled

REGIONS = ("uk", "de")
chances = st.randoms(use_true_random=False)
as_ofs = st.builds(
    lambda hours, ms: DAY_ONE + timedelta(hours=hours, milliseconds=ms),
    st.sampled_from([0, 6, 13, 20, 21, 33, 40]),
    st.sampled_from([0, -1500, -1000, -999, -1, 1, 500, 1000, 1001, 60_000]),
)


@st.composite
def true_histories(draw: st.DrawFn) -> History:
    """Histories in which a later version of a document is not dated before an earlier one: what was true *when*."""
    history = draw(histories())
    documents: dict[tuple[str, int], list[Fact]] = {}
    for topic, fact in history:
        if "version" in fact:
            name = fact.get("reservation_id") or fact.get("receipt_id") or fact["damage_id"]
            documents.setdefault((f"{topic}|{name}", fact.get("line", 0)), []).append(fact)
    for versions in documents.values():
        times = sorted((fact["occurred_at"], fact["recorded_at"]) for fact in versions)
        for fact, (occurred, recorded) in zip(sorted(versions, key=_version), times, strict=True):
            fact["occurred_at"], fact["recorded_at"] = occurred, recorded
    return history


def _version(fact: Fact) -> int:
    return int(fact["version"])


def dated(fact: Fact) -> str:
    """When a fact holds."""
    return str(fact.get("as_of") or fact["occurred_at"])


def true_state(history: History, as_of: datetime) -> State:
    """The state that the facts dated by an instant make."""
    product = Product(NOW)
    product.take_all((topic, fact) for topic, fact in history if dated(fact) <= stamp(as_of))
    return product.state


def stock_rows(state: State) -> list[Fact]:
    """The rows of a stock snapshot: all nodes, all states."""
    found = []
    for name in NODES:
        node = state.stock.nodes.get((SKU, name))
        units = node.on_hand if node is not None else [0] * len(STATES)
        quantities = {kind.value: count for kind, count in zip(STATES, units, strict=True)}
        found.append({"node": name, "quantities": quantities})
    return found


def line_rows(state: State, region: str, as_of: datetime) -> list[Fact]:
    """The row of an OMS snapshot: the open lines of a region."""
    as_of_ms, lines = to_ms(as_of), []
    for key, line in state.reservations.lines.items(SKU):
        version = line_at(line, as_of_ms)
        if version is None or not open_at(version, region, as_of_ms):
            continue
        reservation_id, _, number = key.rpartition("\x1f")
        lines.append({
            "reservation_id": reservation_id, "line": int(number), "version": version.version,
            "channel": version.channel, "state": version.state, "requested": version.requested, "open": version.open,
            "consumed": version.consumed, "released": version.released, "node": version.node,
            "expires_at": stamp(from_ms(version.expires_ms)) if version.state is LineState.SOFT else None,
        })  # fmt: skip
    return [{"lines": lines}] if lines else []


def reconciled(history: History, chance: random.Random, **options: bool) -> Reconciled:
    """A product that has heard all of a history, shuffled and partly twice, and the heartbeats of its sources."""
    product = Reconciled(NOW, **options)
    for name in NODES:
        product.node(name, "de" if name == "D1" else "uk")
    for source in ("wms", "oms"):
        for region in REGIONS:
            product.alive(source, region, NOW)
    product.take_all(shuffled(history, chance))
    return product


def shuffled(history: History, chance: random.Random) -> History:
    """The same facts in another order, some of them twice."""
    lines = [*history, *chance.sample(history, len(history) // 3)]
    chance.shuffle(lines)
    return lines


def compare(product: Reconciled, truth: State, as_of: datetime, name: str = "") -> None:
    """Send the snapshots of a true state at an instant."""
    product.snapshot(WMS_SNAPSHOTS_TOPIC, stock_rows(truth), as_of, name=name and f"w{name}")
    for region in REGIONS:
        rows = line_rows(truth, region, as_of)
        product.snapshot(OMS_SNAPSHOTS_TOPIC, rows, as_of, source="oms", region=region, name=name and f"o{name}")


@settings(deadline=None, max_examples=150)
@given(true_histories(), as_ofs, chances)
def test_a_world_whose_facts_all_came_never_drifts(history: History, as_of: datetime, chance: random.Random) -> None:
    """Whatever the order, the repeats, and the effects that lie too close to the as_of or to a count."""
    product = reconciled(history, chance)
    compare(product, true_state(history, as_of), as_of)
    assert len(product.reports) == 3
    assert [(r.complete, r.drifting_keys, r.drifted_units) for r in product.reports] == [(True, 0, 0)] * 3
    assert product.exceptions == {}

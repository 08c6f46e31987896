"""Properties of reconciliation over random histories: the truth at an as_of is the fold of what was dated by then."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from atp.domain.as_of import line_at, open_at
from atp.domain.exceptions import Stage
from atp.domain.facts import STOCK_TOPIC, LineState
from atp.domain.fold import State
from atp.domain.resolution import LIES_ABOUT
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
def true_histories(draw: st.DrawFn, counts: int = 5) -> History:
    """Histories in which a later version of a document is not dated before an earlier one: what was true *when*."""
    history = draw(histories(counts))
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


quiet = st.sampled_from([0, 6, 13, 20, 21, 33, 40]).map(lambda hours: DAY_ONE + timedelta(hours=hours, minutes=30))


@st.composite
def missing(draw: st.DrawFn) -> tuple[History, History]:
    """A history without counts, apart: what came and what did not. Of a line, the latest versions are missing.

    Every line stays in its region: of one that moved, the absence in the old region and the row in the new one
    would ask for two corrections of the same version.
    """
    history = draw(true_histories(counts=0))
    cuts: dict[str, int] = {}
    regions: dict[str, str] = {}
    came: History = []
    lost: History = []
    for topic, fact in history:
        if "reservation_id" in fact and "version" in fact:
            fact["region"] = regions.setdefault(_line(fact), fact["region"])
            cut = cuts.setdefault(_line(fact), draw(st.integers(0, 6)))
            (lost if fact["version"] > cut else came).append((topic, fact))
        elif topic == STOCK_TOPIC:
            (lost if draw(st.booleans()) else came).append((topic, fact))
        else:
            came.append((topic, fact))
    return came, lost


def _line(fact: Fact) -> str:
    return f"{fact['reservation_id']}/{fact['line']}"


def quantities(state: State) -> dict[str, int]:
    """Units by node and state."""
    rows = [(name, state.stock.nodes.get((SKU, name))) for name in NODES]
    return {
        f"{name} {kind.value}": units
        for name, node in rows
        if node is not None
        for kind, units in zip(STATES, node.on_hand, strict=True)
        if units
    }


def open_lines(state: State, at: datetime) -> dict[str, int]:
    """Open units by region and line at an instant."""
    found = {}
    for key, line in state.reservations.lines.items(SKU):
        version, at_ms = line_at(line, to_ms(at)), to_ms(at)
        if version is not None and open_at(version, version.region, at_ms):
            found[f"{version.region} {key}"] = open_at(version, version.region, at_ms)
    return found


def distance(one: dict[str, int], other: dict[str, int]) -> int:
    """Σ |one − other|."""
    return sum(abs(one.get(name, 0) - other.get(name, 0)) for name in {*one, *other})


@settings(deadline=None, max_examples=100)
@given(missing(), quiet, chances)
def test_the_drift_is_the_effect_of_the_facts_that_are_missing(
    facts: tuple[History, History], as_of: datetime, chance: random.Random
) -> None:
    """Found units = |true − ours| over all nodes, states and open lines, and promised too many where it says so."""
    came, lost = facts
    product = reconciled(came, chance, corrects=False)
    truth, ours = true_state([*came, *lost], as_of), true_state(came, as_of)
    compare(product, truth, as_of)
    stock, *lines = product.reports
    assert stock.drifted_units == distance(quantities(truth), quantities(ours))
    assert sum(r.drifted_units for r in lines) == distance(open_lines(truth, as_of), open_lines(ours, as_of))
    assert sum(e.units for e in product.exceptions.values()) == sum(r.drifted_units for r in product.reports)


@settings(deadline=None, max_examples=100)
@given(missing(), quiet, chances)
def test_corrections_make_our_state_the_truth_and_late_originals_change_nothing(
    facts: tuple[History, History], as_of: datetime, chance: random.Random
) -> None:
    """Units are conserved: what the corrections add is what was missing, and it never comes a second time."""
    came, lost = facts
    product = reconciled(came, chance)
    compare(product, true_state([*came, *lost], as_of), as_of)
    approve_all(product)
    later = [fact for fact in came if dated(fact[1]) > stamp(as_of)]
    expected = true_state([*[f for f in (*came, *lost) if dated(f[1]) <= stamp(as_of)], *later], NOW)
    assert quantities(product.state) == quantities(expected)
    product.take_all(shuffled([fact for fact in lost if dated(fact[1]) <= stamp(as_of)], chance))
    approve_all(product)
    assert quantities(product.state) == quantities(expected)
    product.take_all(shuffled(lost, chance))
    everything = true_state([*came, *lost], NOW)
    assert quantities(product.state) == quantities(everything)
    assert open_lines(product.state, NOW) == open_lines(everything, NOW)


@settings(deadline=None, max_examples=100)
@given(missing(), quiet, chances, st.integers(0, 100))
def test_the_drift_is_the_same_whether_a_fact_came_before_or_after_the_snapshot(
    facts: tuple[History, History], as_of: datetime, chance: random.Random, share: int
) -> None:
    """Also of keys that the snapshot does not name: they are nothing, whenever we hear of them."""
    came, lost = facts
    truth = true_state([*lost, *came[: len(came) // 2]], as_of)
    early, late = (reconciled(part, chance, corrects=False) for part in (came, came[: len(came) * share // 100]))
    for product in (early, late):
        named = [row for row in stock_rows(truth) if any(row["quantities"].values())]
        product.snapshot(WMS_SNAPSHOTS_TOPIC, [*named, *rows_of_another()], as_of)
        for region in REGIONS:
            product.snapshot(OMS_SNAPSHOTS_TOPIC, line_rows(truth, region, as_of), as_of, source="oms", region=region)
    late.take_all(shuffled(came, chance))
    assert drifts_of(late) == drifts_of(early)


def rows_of_another() -> list[Fact]:
    """Another SKU has a row of every node, so that the source speaks of all of them."""
    return [{"sku": "OTHER", "node": name, "quantities": {"sellable": 0}} for name in NODES]


def drifts_of(product: Reconciled) -> dict[str, tuple[int, int]]:
    """What the SKU's record says of its drifts."""
    head = product.state.heads.get((SKU,))
    return {} if head is None else head.drifts


def approve_all(product: Reconciled) -> None:
    """A person approves whatever is proposed."""
    for name in list(product.exceptions):
        if product.exceptions[name].state is Stage.PROPOSED:  # an approval before may have settled this one too
            assert product.decide(name, "approved") is None


PATHS = {
    Stage.OPEN: {Stage.PROPOSED, Stage.VERIFIED},
    Stage.PROPOSED: {Stage.APPROVED, Stage.REJECTED, Stage.VERIFIED},
    Stage.APPROVED: {Stage.APPLIED, Stage.VERIFIED, Stage.OPEN},
    Stage.REJECTED: {Stage.VERIFIED, Stage.OPEN},
    Stage.APPLIED: {Stage.VERIFIED, Stage.OPEN},
    Stage.VERIFIED: set(),
}
strokes = st.lists(st.sampled_from(["snapshot", "late", "approve", "reject", "post", "wait"]), max_size=25)


@settings(deadline=None, max_examples=100)
@given(missing(), strokes, chances)
def test_an_exception_never_leaves_the_documented_paths(
    facts: tuple[History, History], plan: list[str], chance: random.Random
) -> None:
    """Snapshots, late facts, people and corrections in any order: every step is one that is drawn."""
    came, lost = facts
    product = reconciled(came, chance, corrects=False)
    waiting = shuffled(lost, chance)
    for at, stroke in enumerate(plan):
        play(product, stroke, [*came, *lost], waiting, DAY_ONE + timedelta(hours=30, minutes=at))
        for found in product.exceptions.values():
            stages = [step.state for step in found.history]
            assert stages[0] is Stage.OPEN
            assert all(after in PATHS[before] for before, after in itertools.pairwise(stages)), stages
        waits = sum(found.state in LIES_ABOUT for found in product.exceptions.values())
        assert sum(lying.count for lying in product.books.book.lying.values()) == waits


def play(product: Reconciled, stroke: str, history: History, waiting: History, as_of: datetime) -> None:
    """One thing that may happen."""
    proposed = [name for name, found in product.exceptions.items() if found.state is Stage.PROPOSED]
    match stroke:
        case "snapshot":
            compare(product, true_state(history, as_of), as_of)
        case "late" if waiting:
            product.take_all([waiting.pop()])
        case "approve" | "reject" if proposed:
            assert product.decide(proposed[0], "approved" if stroke == "approve" else "rejected") is None
        case "post":
            product.post()
        case "wait":
            product.now += timedelta(minutes=1)


@settings(deadline=None, max_examples=50)
@given(missing(), quiet, chances)
def test_the_same_drift_makes_the_same_exception(
    facts: tuple[History, History], as_of: datetime, chance: random.Random
) -> None:
    """Whatever the order of the facts, and wherever the comparison is made a second time."""
    came, lost = facts
    found = []
    for _ in range(2):
        product = reconciled(came, chance, corrects=False)
        compare(product, true_state([*came, *lost], as_of), as_of)
        found.append({name: (one.units, one.ours, one.theirs, one.cause) for name, one in product.exceptions.items()})
    assert found[0] == found[1]

"""Random histories of facts for property tests: free of conflicts, and shorter than the journal window.

Times cluster around a few instants, at distances around `ambiguity_ms`: that is where counts, documents and
re-dating meet. Versions of a document are dated in any order, as clocks of several systems do.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from atp.domain.facts import Stage
from tests.unit.builders import Fact, Product, Wire

DAY_ONE = datetime(2024, 3, 12, tzinfo=UTC)
LAST_OCCURRED = timedelta(hours=40)
LATEST_RECORDED = timedelta(hours=20)  # after it occurred: 60 hours in all, within the window of 72
NOW = DAY_ONE + timedelta(hours=60)
STATES = ("sellable", "receiving", "qc_hold", "damaged", "quarantine", "return_hold")
NODES = ("N1", "N2", "D1", "X1")  # two of uk, one of de, one that the reference does not know
CHANNELS = ("web", "app")
LINES = ("R1/1", "R1/2", "R2/1")
Line = tuple[str, Fact]
History = list[Line]

_anchors = st.sampled_from([0, 6, 13, 20, 21, 33, 40])
_distances_ms = st.sampled_from([0, 0, 0, -1500, -1000, -999, 1, 500, 1000, 1001, 60_000, 3_600_000])
_lags_ms = st.sampled_from([0, 0, 1, 40, 1000, 90_000, 3_600_000, 20 * 3_600_000])
_units = st.integers(1, 9)
_nodes = st.sampled_from(NODES)
_small = st.integers(0, 8)


@st.composite
def instants(draw: st.DrawFn) -> tuple[datetime, datetime]:
    """When something occurred, and when it was recorded."""
    at = timedelta(hours=draw(_anchors), milliseconds=draw(_distances_ms))
    occurred = DAY_ONE + min(max(at, timedelta(0)), LAST_OCCURRED)
    return occurred, occurred + timedelta(milliseconds=draw(_lags_ms))


@st.composite
def _count(draw: st.DrawFn, wire: Wire) -> Line:
    as_of, recorded = draw(instants())
    states = draw(st.sets(st.sampled_from(STATES), min_size=1, max_size=3) | st.just({"sellable"}))
    quantities = {state: draw(st.integers(0, 40)) for state in sorted(states)}
    body = {"node": draw(_nodes), "quantities": quantities}
    return wire.stock("counted", as_of, recorded=recorded, **body)


@st.composite
def _change(draw: st.DrawFn, wire: Wire) -> Line:
    at, recorded = draw(instants())
    node, units = draw(_nodes), draw(_units)
    states = st.sampled_from(STATES) | st.just("sellable")
    kind = draw(st.sampled_from(["adjusted", "moved", "moved", "shipped", "returned"]))
    body: Fact = {"quantity": units}
    if kind == "adjusted":
        body = {"state": draw(states), "delta": units * draw(st.sampled_from([1, -1])), "reason": "found"}
    elif kind == "moved":
        one = draw(states)
        other = draw(states.filter(lambda state: state != one))
        body |= {"from_state": one, "to_state": other, "reason": "put"}
    elif kind == "shipped" and draw(st.booleans()):
        name, line = draw(st.sampled_from(LINES)).split("/")
        body |= {"reservation_id": name, "line": int(line)}
    return wire.stock(kind, at, recorded=recorded, node=node, **body)


@st.composite
def _reservation(draw: st.DrawFn, wire: Wire, line: str) -> History:
    found = []
    for version in sorted(draw(st.sets(st.integers(1, 6), min_size=1, max_size=4))):
        at, recorded = draw(instants())
        state = draw(st.sampled_from(["SOFT", "SOFT", "FIRM", "ALLOCATED", "ALLOCATED", "BACKORDERED", "CLOSED"]))
        parts = {"open": 0 if state == "CLOSED" else draw(_small), "consumed": draw(_small), "released": draw(_small)}
        # a close names the node too: its type may be `shipped`
        if state in ("ALLOCATED", "CLOSED") or draw(st.booleans()):
            parts["node"] = draw(_nodes)
        if state == "SOFT":
            hours = draw(st.sampled_from([0, 1, 20, 40, 70]))
            parts["expires_at"] = (DAY_ONE + timedelta(hours=hours)).isoformat()
        if draw(st.booleans()):
            due = DAY_ONE + timedelta(days=draw(st.integers(-2, 16)))
            parts["due_date"] = due.date().isoformat()
        place = {"region": draw(st.sampled_from(["uk", "uk", "de"])), "channel": draw(st.sampled_from(CHANNELS))}
        found.append(wire.reservation(line, version, state, at, recorded=recorded, **place, **parts))
    return found


@st.composite
def _receipt(draw: st.DrawFn, wire: Wire, name: str) -> History:
    found = []
    node = draw(_nodes)
    stages = list(Stage.__members__)
    for version in sorted(draw(st.sets(st.integers(1, 6), min_size=1, max_size=4))):
        at, recorded = draw(instants())
        put_away, held, receiving = draw(_small), draw(_small), draw(_small)
        body = {
            "node": draw(st.sampled_from([node, node, node, "N2"])),  # a line may be redirected
            "expected": draw(st.integers(0, 30)),
            "received": put_away + held + receiving,
            "put_away": put_away,
            "held": held,
            "eta": (DAY_ONE + timedelta(days=draw(st.integers(-3, 16)))).date().isoformat(),
        }
        found.append(wire.receipt(name, version, draw(st.sampled_from(stages)), at, recorded=recorded, **body))
    return found


@st.composite
def _damage(draw: st.DrawFn, wire: Wire, name: str) -> History:
    to_state = draw(st.sampled_from(["damaged", "quarantine"]))
    fixed = {
        "node": draw(_nodes),
        "from_state": draw(st.sampled_from(STATES).filter(lambda state: state != to_state) | st.just("sellable")),
        "to_state": to_state,
    }
    found = []
    for version in sorted(draw(st.sets(st.integers(1, 6), min_size=1, max_size=4))):
        at, recorded = draw(instants())
        back, off = draw(_small), draw(_small)
        parts = {"reversed": back, "written_off": off, "reported": back + off + draw(_small)}
        found.append(wire.damage(name, version, at, recorded=recorded, **fixed, **parts))
    return found


@st.composite
def histories(draw: st.DrawFn, counts: int = 5) -> History:
    """A history of facts of every type, in the order in which they were written down."""
    wire = Wire()
    history: History = []
    for _ in range(draw(st.integers(0, counts))):
        history.append(draw(_count(wire)))
    for _ in range(draw(st.integers(0, 8))):
        history.append(draw(_change(wire)))
    for line in LINES[: draw(st.integers(0, len(LINES)))]:
        history += draw(_reservation(wire, line))
    for name in ("P1/1", "P2/1")[: draw(st.integers(0, 2))]:
        history += draw(_receipt(wire, name))
    for name in ("D1", "D2")[: draw(st.integers(0, 2))]:
        history += draw(_damage(wire, name))
    # the flag belongs to the fact: a repeat carries it as the original did
    for at in draw(st.sets(st.integers(0, max(0, len(history) - 1)), max_size=2)):
        if history:
            history[at][1]["backfill"] = True
    return history


POLICIES: list[dict[str, object]] = [
    {},
    {"horizon_days": 3, "receiving_weight": 0.5, "overdue_days": 1, "safety_stock": 3},
    {"time_zone": "Australia/Adelaide", "quotas": {"web": 9}, "protections": {"app": 4}, "priorities": {"app": 1}},
    {"lead_time_days": 1, "buffer_percent": 12.5, "drift_z": 1.5, "drift_units_tolerance": 4, "buffer_units": 1},
]


@st.composite
def products(draw: st.DrawFn) -> Product:
    """An empty product with one of a few policies; node X1 is unknown, N2 is not trusted."""
    product = Product(NOW)
    product.policy(channels=list(CHANNELS), **draw(st.sampled_from(POLICIES)))
    product.node("N1", "uk")
    product.node("N2", "uk", trusted=False)
    product.node("D1", "de")
    return product

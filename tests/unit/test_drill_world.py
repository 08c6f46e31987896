"""The drill's true world: the same seed is the same day, no unit is lost, every fact is valid on the wire."""

from __future__ import annotations

import msgspec
import pytest

from atp.domain.decoding import decode
from atp.domain.facts import FACT_TYPES, Damage, Fact, Receipt, Reservation
from atp.simulation.drill import Day
from atp.simulation.plan import Plan, load_plan
from atp.simulation.product import AlwaysConfident, AlwaysConservative, Pipeline
from atp.simulation.retail import real_day, trading_days
from atp.simulation.shoppers import wishes_of
from atp.simulation.troubles import ALL_TROUBLES
from atp.simulation.truth import differences

TOPICS = dict(zip(("stock", "reservation", "receipt", "damage"), FACT_TYPES, strict=True))


def small_plan(**demand: float) -> Plan:
    """The committed world with fewer SKUs and shoppers."""
    plan = load_plan()
    world = msgspec.structs.replace(plan.world, skus=12)
    return msgspec.structs.replace(
        plan, world=world, demand=msgspec.structs.replace(plan.demand, **{"load": 1, **demand})
    )


class Listening(Pipeline):
    """Keeps what arrives."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.heard: list[tuple[int, Fact]] = []

    def take(self, fact: Fact, now_ms: int) -> None:
        self.heard.append((now_ms, fact))
        super().take(fact, now_ms)


def day_of(seed: int, troubles: tuple[str, ...] = ALL_TROUBLES, product: type[Pipeline] = AlwaysConfident) -> Day:
    """A small day that has passed."""
    plan = small_plan()
    day = Day(plan, seed, wishes_of(plan, seed), product, troubles)
    day.run()
    return day


def topic_of(fact: Fact) -> str:
    """The topic on which a fact travels."""
    kind = fact.type if isinstance(fact, Reservation | Receipt | Damage) else type(fact).__struct_config__.tag
    return TOPICS[str(kind).partition(".")[0]]


def test_a_seed_is_one_day() -> None:
    """The same seed sends the same facts at the same instants; another seed does not."""
    one, again, other = (day_of(seed, product=Listening).product for seed in (1, 1, 2))
    assert isinstance(one, Listening)
    assert isinstance(again, Listening)
    assert isinstance(other, Listening)
    assert one.heard == again.heard
    assert one.heard != other.heard


def test_policies_meet_the_same_fate() -> None:
    """Whatever is sold, as many units are wanted, and the same troubles come at the same time and place."""
    one, other = day_of(3), day_of(3, product=AlwaysConservative)
    assert one.shoppers.accepted_units != other.shoppers.accepted_units
    assert one.shoppers.wanted_units == other.shoppers.wanted_units
    assert [(t.begins_ms, t.ends_ms, t.region) for t in one.troubles] == [
        (t.begins_ms, t.ends_ms, t.region) for t in other.troubles
    ]


@pytest.mark.parametrize("seed", range(3))
def test_no_unit_is_lost(seed: int) -> None:
    """What came in through the doors lies on a shelf or went out, and every order line adds up."""
    day = day_of(seed)
    assert day.world.shelves.are_conserved()
    assert all(min(states.values(), default=0) >= 0 for states in day.world.shelves.units.values())
    open_units = sum(line.open for line in day.world.oms.open_lines.values())
    assert open_units == sum(day.world.oms.open_units.values())
    assert sum(day.world.oms.sold_units.values()) == day.world.shelves.went_out


def test_facts_are_valid_on_the_wire() -> None:
    """Every fact that a source or a trouble sends decodes to itself."""
    product = day_of(1, product=Listening).product
    assert isinstance(product, Listening)
    assert {topic_of(fact) for _, fact in product.heard} == set(FACT_TYPES)
    for _, fact in product.heard:
        assert decode(topic_of(fact), msgspec.json.encode(fact)) == fact
    assert not product.refused


@pytest.mark.parametrize("troubles", [(), ALL_TROUBLES])
def test_facts_alone_lead_to_the_truth(troubles: tuple[str, ...]) -> None:
    """When the last message has come, even a pipeline without reconciliation has the true state."""
    day = day_of(2, troubles)
    day.deliver_the_rest()
    assert differences(day.world, day.product, day.agenda.now_ms) == []


def test_repeats_and_rules_move_no_record() -> None:
    """Messages that come twice, a whole back-fill of them, and changed substitutions leave every record as it was."""
    day = day_of(4, ("substitution-change", "region-backfill"))
    day.deliver_the_rest()
    assert day.post.repeated > 20
    assert day.product.moved_records == 0


def test_real_days_come_from_the_source() -> None:
    """A real day has the source's sales, minute by minute, on every trading day of the month."""
    plan, wishes = real_day(small_plan(), 3)
    assert plan.world.day == trading_days()[3]
    assert wishes
    assert {wish.region for wish in wishes} <= set(plan.world.regions)
    assert wishes == sorted(wishes, key=lambda wish: wish.at_ms)

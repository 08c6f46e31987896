"""Whether the product's state is the truth: every shelf and every open order line."""

from __future__ import annotations

from atp.domain.facts import LineState
from atp.domain.stock import STATES
from atp.simulation.product import Pipeline
from atp.simulation.shoppers import Key
from atp.simulation.world import TrueWorld

_RESERVED = (LineState.SOFT, LineState.FIRM, LineState.ALLOCATED, LineState.BACKORDERED)


def differences(world: TrueWorld, product: Pipeline, now_ms: int) -> list[str]:
    """What the product has otherwise than it is, in words; none: the state equals the truth."""
    return [*_of_shelves(world, product), *_of_lines(world, product, now_ms)]


def _of_shelves(world: TrueWorld, product: Pipeline) -> list[str]:
    found = []
    for (sku, node), states in world.shelves.units.items():
        stock = product.state.stock.nodes.get((sku, node))
        ours = stock.on_hand if stock is not None else [0] * len(STATES)
        truth = [states[state] for state in STATES]
        if ours != truth:
            found.append(f"{sku} at {node}: {ours}, in truth {truth}")
    return found


def _of_lines(world: TrueWorld, product: Pipeline, now_ms: int) -> list[str]:
    truth: dict[Key, list[int]] = {key: [0] * len(_RESERVED) for key in world.keys}
    for line in world.oms.open_lines.values():
        truth[line.sku, line.region][_RESERVED.index(line.state)] += line.open
    found = []
    for key, units in truth.items():
        reserved = product.reckoning(key, now_ms).content.reserved
        ours = [reserved.soft, reserved.firm, reserved.allocated, reserved.backordered]
        if ours != units:
            found.append(f"{key[0]} in {key[1]}: reserved {ours}, in truth {units}")
    return found

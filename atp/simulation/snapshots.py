"""Snapshots of the true world: what the owners of stock and OMS say they have, as the wire contract has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from atp.domain.facts import LineState, StockState
from atp.domain.times import rfc3339
from atp.lane.keys import partition_of
from atp.simulation.oms import OrderLine
from atp.simulation.places import OMS, STORES, WMS
from atp.simulation.world import TrueWorld

Document = dict[str, Any]
_STATES = tuple((state, state.value) for state in StockState)


def snapshot(world: TrueWorld, as_of_ms: int) -> Iterator[Document]:
    """Rows of every owner and region, then the closing marker of every partition."""
    for region in world.places.regions:
        for owner in (WMS, STORES):
            yield from _closed(world, owner, region, as_of_ms, list(_stock_rows(world, owner, region)))
        yield from _closed(world, OMS, region, as_of_ms, list(_line_rows(world, region)))


def _stock_rows(world: TrueWorld, owner: str, region: str) -> Iterator[tuple[Document, int]]:
    nodes = {place.node for place in world.places.by_region[region] if place.owner == owner}
    for (sku, node), states in world.shelves.units.items():
        quantities = {name: states[state] for state, name in _STATES}
        if node in nodes and any(quantities.values()):
            yield {"sku": sku, "node": node, "quantities": quantities}, sum(quantities.values())


def _line_rows(world: TrueWorld, region: str) -> Iterator[tuple[Document, int]]:
    lines: defaultdict[str, list[OrderLine]] = defaultdict(list)
    for line in world.oms.open_lines.values():
        if line.region == region:
            lines[line.sku].append(line)
    for sku, found in lines.items():
        yield {"sku": sku, "lines": [_said(line) for line in found]}, sum(line.open for line in found)


def _said(line: OrderLine) -> Document:
    said: Document = {
        "reservation_id": line.reservation_id,
        "line": 1,
        "version": line.version,
        "channel": line.channel,
        "state": line.state.value,
        "requested": line.requested,
        "open": line.open,
        "consumed": line.consumed,
        "released": line.released,
    }
    if line.node:
        said["node"] = line.node
    if line.state is LineState.SOFT:
        said["expires_at"] = rfc3339(line.expires_ms)
    return said


def _closed(
    world: TrueWorld, owner: str, region: str, as_of_ms: int, rows: list[tuple[Document, int]]
) -> Iterator[Document]:
    head = {
        "schema_version": "1.0", "snapshot_id": f"{owner}|{region}|{rfc3339(as_of_ms)}", "source": owner,
        "as_of": rfc3339(as_of_ms), "region": region,
    }  # fmt: skip
    partitions = world.plan.world.partitions
    totals = [[0, 0] for _ in range(partitions)]
    for row, units in rows:
        total = totals[partition_of(row["sku"], partitions)]
        total[0] += 1
        total[1] += units
        yield {"type": "snapshot.row", **head, **row}
    for partition, (count, units) in enumerate(totals):
        yield {"type": "snapshot.closed", **head, "partition": partition, "rows": count, "units": units}

"""The node reference: which region a node belongs to, and whether its stock is trusted."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.domain.decoding import explain_invalid
from atp.domain.facts import Identity


class Node(msgspec.Struct, frozen=True, gc=False):
    """One node of `reference.nodes.v1`."""

    node: Identity
    region: Identity
    kind: str = "warehouse"
    trusted: bool = True


class NodeError(ValueError):
    """A node reference that cannot be used: names field, value and what is allowed."""


def parse_node(document: Any) -> Node:
    """A validated node, or NodeError."""
    try:
        return msgspec.convert(document, Node)
    except msgspec.ValidationError as error:
        raise NodeError(explain_invalid(document, error)) from None


class NodeBook(dict[str, Node]):
    """The reference by node."""

    @property
    def regions(self) -> list[str]:
        """Every region that has a node, in order."""
        return sorted({node.region for node in self.values()})

    def regions_among(self, places: set[str]) -> set[str]:
        """The regions of some nodes, and regions named themselves."""
        return {self[place].region if place in self else place for place in places}

    def regions_of(self, nodes: list[str], regions: list[str]) -> list[str]:
        """Every region of some nodes and regions; nodes that the reference does not know are left out."""
        known = {self[node].region for node in nodes if node in self}
        return sorted(known.union(regions))

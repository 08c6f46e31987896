"""Partition numbers to members: co-partitioned over all input topics, sticky, and never from absent metadata.

Each member's join carries its instance id, the numbers it owns and the numbers its disk holds state for.
An owner keeps what it has up to its fair share, then a disk with state is preferred, then the emptiest
member. Round robin over topic-partitions, the default, tears the topics of a number apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class Claim(msgspec.Struct, array_like=True):
    """What a member says when it joins."""

    instance: str
    owned: list[int]
    stored: list[int]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Claim).decode


class AbsentMetadataError(Exception):
    """The leader does not know the partitions of an input topic (yet)."""


class LaneAssignor:
    """An assignor object of one member; aiokafka calls it by duck type."""

    name = "atp-lane"
    version = 0

    def __init__(self, instance: str, stored: Callable[[], list[int]]) -> None:
        self._instance = instance
        self._stored = stored
        self._owned: list[int] = []

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Our claim, for the join request."""
        claim = _encode(Claim(self._instance, self._owned, self._stored()))
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), claim)

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember what we own, for the next join."""
        self._owned = sorted({tp.partition for tp in assignment.partitions()})

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """As the leader: who gets which partition numbers, of every topic."""
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        count = partition_count({topic: cluster.partitions_for_topic(topic) for topic in topics})
        claims = {member: _decode(metadata.user_data) for member, metadata in members.items()}
        shares = share_out(count, claims)
        return {
            member: ConsumerProtocolMemberAssignment(self.version, [(t, shares[member]) for t in topics], b"")
            for member in members
        }


def partition_count(found: Mapping[str, set[int] | None]) -> int:
    """The one partition count of all topics."""
    absent = [topic for topic, partitions in found.items() if not partitions]
    if absent:
        raise AbsentMetadataError(f"no metadata for {', '.join(absent)}")
    counts = {topic: len(partitions or ()) for topic, partitions in found.items()}
    if len(set(counts.values())) != 1:
        raise AbsentMetadataError(f"the input topics are not co-partitioned: {counts}")
    return next(iter(counts.values()))


def share_out(count: int, claims: Mapping[str, Claim]) -> dict[str, list[int]]:
    """Fair shares (they differ by at most one), keeping owners and stored state where possible."""
    order = sorted(claims, key=lambda member: (claims[member].instance, member))
    small, extra = divmod(count, len(order))
    shares: dict[str, list[int]] = {member: [] for member in order}
    free = set(range(count))
    room_for_extra = [extra]

    def take(member: str, wanted: Iterable[int]) -> None:
        for number in wanted:
            mine = len(shares[member])
            if number not in free or mine > small or (mine == small and not room_for_extra[0]):
                continue
            room_for_extra[0] -= mine == small
            free.discard(number)
            shares[member].append(number)

    for part in ("owned", "stored"):
        for member in order:
            take(member, getattr(claims[member], part))
    for number in sorted(free):
        take(min(order, key=lambda member: len(shares[member])), [number])
    return {member: sorted(numbers) for member, numbers in shares.items()}

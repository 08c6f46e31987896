"""Who may do what on the broker: the rights of each role, read off the catalogue of topics.

A role's rights follow from who writes and reads each topic (`atp/topics.py`), so they cannot drift from it; a party
that the table below does not know stops the program instead of getting nothing or too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

from atp.topics import CATALOGUE, FACT_TOPICS, Topic


class Party(StrEnum):
    """A role that connects to the broker; the sources are told apart because each owns other facts."""

    WORKER = "worker"
    CHANNEL = "channel"
    FINANCE = "finance"
    OPS = "ops"
    INVENTORY = "inventory"
    WMS = "wms"
    OMS = "oms"
    PURCHASING = "purchasing"
    MERCHANDISING = "merchandising"
    REFERENCE = "reference"


SOURCES = (Party.INVENTORY, Party.WMS, Party.OMS, Party.PURCHASING, Party.MERCHANDISING)

# The words of the catalogue's columns "written by" and "read by".
PARTIES: dict[str, tuple[Party, ...]] = {
    "worker": (Party.WORKER,),
    "the lane": (Party.WORKER,),
    "own partition": (),  # how the lane writes, not who
    "sales channels": (Party.CHANNEL,),
    "channels": (Party.CHANNEL,),
    "finance": (Party.FINANCE,),
    "operations": (Party.OPS,),
    "operators": (Party.OPS,),
    "people (atp publish)": (Party.OPS,),
    "inventory management": (Party.INVENTORY,),
    "stores": (Party.INVENTORY,),
    "WMS": (Party.WMS,),
    "OMS": (Party.OMS,),
    "purchasing": (Party.PURCHASING,),
    "merchandising": (Party.MERCHANDISING,),
    "reference data": (Party.REFERENCE,),
    "every owner of stock": (Party.INVENTORY, Party.WMS),
    "every source": SOURCES,
    "nobody in core ATP": (),
}


class Grant(NamedTuple):
    """One allowed operation, in the words of `kafka-acls`."""

    resource: str  # topic, group or transactional-id
    name: str
    operation: str
    prefixed: bool = False


def parties(words: str) -> set[Party]:
    """The roles that a column of the catalogue names."""
    found: set[Party] = set()
    for word in words.split(", "):
        if word.startswith("agents/"):
            found.add(Party.WORKER)
        elif word in PARTIES:
            found.update(PARTIES[word])
        else:
            raise ValueError(f"{word!r} in the catalogue of topics: allowed are {', '.join(PARTIES)}, agents/…")
    return found


def may_write(party: Party, topic: Topic) -> bool:
    """Operators also send facts: a dead letter is replayed to the topic that it came from."""
    return party in parties(topic.writer) or (party is Party.OPS and topic in FACT_TOPICS)


def may_read(party: Party, topic: Topic) -> bool:
    """The worker reads back what it wrote; operators read everything, so that they can explain it."""
    if party is Party.OPS:
        return True
    return party in parties(topic.readers) or (party is Party.WORKER and may_write(party, topic))


def grants(party: Party, topics: Iterable[Topic] = CATALOGUE) -> list[Grant]:
    """Everything a role may do, and nothing more."""
    found: list[Grant] = []
    for topic in topics:
        found += (Grant("topic", topic.name, operation) for operation in _on_topic(party, topic))
    return found + list(_beside_topics(party))


def _on_topic(party: Party, topic: Topic) -> Iterator[str]:
    if may_read(party, topic):
        yield "Read"
    if may_write(party, topic):
        yield "Write"
    if party in (Party.WORKER, Party.OPS):  # they check every topic before they start, `atp doctor` too
        yield "Describe"
        yield "DescribeConfigs"
    if party is Party.WORKER:  # ATP_CREATE_TOPICS
        yield "Create"


def _beside_topics(party: Party) -> Iterator[Grant]:
    if party in (Party.CHANNEL, Party.FINANCE):
        yield Grant("group", f"{party}-", "Read", prefixed=True)
        yield Grant("group", "atp-follower", "Describe")  # `atp.client` looks it up, and never joins or commits
    if party is Party.WORKER:
        yield Grant("group", "atp", "Read")
        yield Grant("group", "atp-", "Read", prefixed=True)
        yield from _transactions("atp-", prefixed=True)
    if party is Party.OPS:
        yield Grant("group", "atp", "Describe", prefixed=True)
        yield from _transactions("atp-sku-doctor", prefixed=False)


def _transactions(name: str, prefixed: bool) -> Iterator[Grant]:
    yield Grant("transactional-id", name, "Write", prefixed)
    yield Grant("transactional-id", name, "Describe", prefixed)


def kafka_acls(principal: str, found: Iterable[Grant]) -> list[str]:
    """The same as command lines of Kafka's own tool, one per resource."""
    by_resource: dict[tuple[str, str, bool], list[str]] = {}
    for grant in found:
        by_resource.setdefault((grant.resource, grant.name, grant.prefixed), []).append(grant.operation)
    return [
        f"kafka-acls.sh --bootstrap-server $ATP_BOOTSTRAP --add --allow-principal '{principal}'"
        f" {''.join(f'--operation {operation} ' for operation in operations)}--{resource} '{name}'"
        + (" --resource-pattern-type prefixed" if prefixed else "")
        for (resource, name, prefixed), operations in by_resource.items()
    ]


def bindings(principal: str, found: Iterable[Grant]) -> list[Any]:
    """The same for an admin client."""
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    types = {
        "topic": ResourceType.TOPIC,
        "group": ResourceType.GROUP,
        "transactional-id": ResourceType.TRANSACTIONAL_ID,
    }
    operations = {operation.name.replace("_", "").lower(): operation for operation in AclOperation}
    return [
        AclBinding(
            types[grant.resource],
            grant.name,
            ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
            principal,
            "*",
            operations[grant.operation.lower()],
            AclPermissionType.ALLOW,
        )
        for grant in found
    ]

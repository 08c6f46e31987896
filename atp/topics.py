"""The catalogue of topics: name, key, who writes, who reads, how long it is kept.

One place for creation (`ensure`), for the check at start (`problems`), for the README's table and for `doctor`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from atp.domain.facts import CORRECTIONS_TOPIC, DAMAGES_TOPIC, RECEIPTS_TOPIC, RESERVATIONS_TOPIC, STOCK_TOPIC
from atp.domain.snapshots import OMS_SNAPSHOTS_TOPIC, WMS_SNAPSHOTS_TOPIC
from atp.lane.settings import changelog_config

DAY_MS = 86_400_000


class Role(StrEnum):
    """What a topic is to the product."""

    FACT = "fact"
    CONTROL = "control"
    TRUTH = "truth"
    SOFT = "soft"
    PUBLISHED = "published"
    INTERNAL = "internal"


class Topic(NamedTuple):
    """One topic of the product. `co_partitioned`: has the partition count of the fact topics."""

    name: str
    role: Role
    key: str
    writer: str
    readers: str
    compacted: bool = False
    co_partitioned: bool = True
    retention_ms: int = 14 * DAY_MS
    changelog: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """Topic configuration as the broker takes it."""
        if self.changelog:
            return changelog_config()
        if self.compacted:
            return {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.5"}
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}


STOCK = Topic(STOCK_TOPIC, Role.FACT, "sku", "inventory management, stores, WMS", "worker, finance")
RESERVATIONS = Topic(RESERVATIONS_TOPIC, Role.FACT, "sku", "OMS", "worker, finance")
RECEIPTS = Topic(RECEIPTS_TOPIC, Role.FACT, "sku", "purchasing", "worker, finance")
DAMAGES = Topic(DAMAGES_TOPIC, Role.FACT, "sku", "WMS", "worker, finance")
WMS_SNAPSHOTS = Topic(WMS_SNAPSHOTS_TOPIC, Role.TRUTH, "sku", "every owner of stock", "worker")
OMS_SNAPSHOTS = Topic(OMS_SNAPSHOTS_TOPIC, Role.TRUTH, "sku", "OMS", "worker")
CORRECTIONS = Topic(CORRECTIONS_TOPIC, Role.PUBLISHED, "sku", "agents/reconciliation", "worker, finance")
DECISIONS = Topic(
    "atp.reconciliation.decisions.v1", Role.CONTROL, "sku", "operators", "worker", retention_ms=90 * DAY_MS
)
EXCEPTIONS = Topic(
    "atp.reconciliation.exceptions.v1", Role.PUBLISHED, "exception_id", "agents/reconciliation", "operations", True
)
HEARTBEATS = Topic(
    "sources.heartbeats.v1",
    Role.CONTROL,
    "source|region",
    "every source",
    "worker, finance",
    True,
    co_partitioned=False,
)
NODES = Topic(
    "reference.nodes.v1", Role.CONTROL, "node", "reference data", "worker, finance", True, co_partitioned=False
)
POLICIES = Topic(
    "atp.policies.v1", Role.CONTROL, "scope", "people (atp publish)", "worker, finance", True, co_partitioned=False
)
SUBSTITUTIONS = Topic(
    "merchandising.substitutions.v1",
    Role.SOFT,
    "sku",
    "merchandising",
    "nobody in core ATP",
    True,
    co_partitioned=False,
)
AVAILABILITY = Topic(
    "atp.availability.v1", Role.PUBLISHED, "sku|region", "agents/availability", "sales channels", True
)
REGION_PARTIALS = Topic("atp.region-partials.v1", Role.INTERNAL, "region", "agents/reconciliation", "worker")
MODE_COMMANDS = Topic("atp.mode-commands.v1", Role.CONTROL, "region", "operators", "worker", retention_ms=90 * DAY_MS)
MODE_CHANGES = Topic(
    "atp.mode-changes.v1", Role.PUBLISHED, "region|channel", "agents/modes", "operations", retention_ms=90 * DAY_MS
)
RESULTS = Topic(
    "atp.reconciliation.results.v1",
    Role.PUBLISHED,
    "region",
    "agents/modes",
    "operations",
    retention_ms=90 * DAY_MS,
)
FRESHNESS = Topic("atp.freshness.v1", Role.PUBLISHED, "region", "agents/freshness", "operations", True)
LEDGER = Topic("atp.ledger.daily.v1", Role.PUBLISHED, "date|region|sku|revision", "agents/ledger", "finance", True)
LEDGER_DAYS = Topic(
    "atp.ledger.days.v1",
    Role.PUBLISHED,
    "date|region|revision",
    "agents/closing",
    "worker, finance",
    True,
    co_partitioned=False,
)
MODES = Topic(
    "atp.modes.v1",
    Role.PUBLISHED,
    "region|channel",
    "agents/modes",
    "channels, worker",
    True,
    co_partitioned=False,
)
ROUTES = Topic(
    "atp.routes.v1",
    Role.CONTROL,
    "region|channel",
    "operators",
    "operations",
    True,
    co_partitioned=False,
)
DEAD_LETTERS = Topic(
    "atp.dead-letters.v1",
    Role.PUBLISHED,
    "source key",
    "the lane, own partition",
    "operations",
    retention_ms=30 * DAY_MS,
)
CHANGELOG = Topic(
    "atp-sku-changelog",
    Role.INTERNAL,
    "table and row key",
    "the lane, own partition",
    "the lane",
    True,
    changelog=True,
)

REGION_CHANGELOG = Topic(
    "atp-region-changelog",
    Role.INTERNAL,
    "table and row key",
    "the lane, own partition",
    "the lane",
    True,
    changelog=True,
)

FACT_TOPICS = (STOCK, RESERVATIONS, RECEIPTS, DAMAGES)
# What the SKU lane works off: facts, the truth they are held against, and what follows from that.
TRUTH = frozenset({WMS_SNAPSHOTS.name, OMS_SNAPSHOTS.name, DECISIONS.name})
SKU_INPUTS = (*FACT_TOPICS, CORRECTIONS, WMS_SNAPSHOTS, OMS_SNAPSHOTS, DECISIONS)
CATALOGUE = (
    *FACT_TOPICS,
    WMS_SNAPSHOTS,
    OMS_SNAPSHOTS,
    CORRECTIONS,
    DECISIONS,
    EXCEPTIONS,
    HEARTBEATS,
    NODES,
    POLICIES,
    SUBSTITUTIONS,
    AVAILABILITY,
    REGION_PARTIALS,
    MODE_COMMANDS,
    MODES,
    MODE_CHANGES,
    RESULTS,
    FRESHNESS,
    LEDGER,
    LEDGER_DAYS,
    ROUTES,
    DEAD_LETTERS,
    CHANGELOG,
    REGION_CHANGELOG,
)
BY_NAME = {topic.name: topic for topic in CATALOGUE}

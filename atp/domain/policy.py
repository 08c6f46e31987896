"""Policies: what people decided, by scope; the most specific scope wins, field by field.

Order of scopes, least specific first: `default`, `region:R`, `channel:C`, `region:R|channel:C`, `sku:S`.
What concerns a record as a whole is resolved without the channel scopes. A map of channels is taken whole from
the most specific scope that sets it; stage weights are taken stage by stage.
"""

from __future__ import annotations

import re
from datetime import time
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from atp.domain.facts import Stage
from atp.domain.intake import Horizons
from atp.domain.times import Calendar

SCOPE = re.compile(r"^(default|region:[^|:]+|channel:[^|:]+|region:[^|:]+\|channel:[^|:]+|sku:.+)$")
# Stages after arrival carry full weight: what is already here is certain.
FULL_WEIGHT_STAGES = ("RECEIVED", "PUT_AWAY", "QC_HOLD")
# what decides when time alone changes a record
OUTLOOK_FIELDS = frozenset({"time_zone", "required_sources", "heartbeat_timeout_s"})

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[Decimal, Field(ge=0, le=1)]


class Policy(BaseModel):
    """A policy document: the fields it sets, for one scope. Fields not set are left to less specific scopes."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=False)

    scope: str = "default"
    version: Count = 0
    time_zone: str = "UTC"
    required_sources: list[str] = []
    lead_time_days: Count | None = None
    channels: list[str] = ["web", "app", "store", "marketplace"]
    horizon_days: Annotated[int, Field(ge=1, le=366)] = 14
    safety_stock: Count = 0
    buffer_units: Count = 0
    buffer_percent: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    drift_z: Annotated[Decimal, Field(ge=0)] = Decimal("2.0")
    stage_weights: dict[str, Weight] = {
        "PLANNED": Decimal(0),
        "CONFIRMED": Decimal("0.5"),
        "IN_TRANSIT": Decimal("0.9"),
        "ARRIVED": Decimal(1),
    }
    receiving_weight: Weight = Decimal(1)
    overdue_days: Count = 3
    overdue_decay: Weight = Decimal("0.5")
    soft_ttl_s: Positive = 900
    journal_hours: Positive = 72
    memory_days: Positive = 30
    ambiguity_ms: Count = 1000
    pair_grace_s: Count = 900
    correction_hours: Count = 24
    reconcile_interval_s: Positive = 1800
    drift_units_tolerance: Count = 0
    auto_correct_units: Count = 5
    region_drift_keys_share: Annotated[float, Field(ge=0, le=1)] = 0.02
    region_drift_units_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    clean_cycles_to_restore: Positive = 2
    sweep_keys_per_s: Positive = 1000  # of the default scope: per task; a sweep passes through all regions
    heartbeat_timeout_s: Positive = 300
    freshness_target_s: Positive = 300
    freshness_share: Annotated[float, Field(ge=0, le=1)] = 0.95
    ledger_grace_s: Count = 900
    ledger_final_at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "06:00"
    ledger_completeness: Weight = Decimal("0.9995")
    protections: dict[str, Count] = {}
    priorities: dict[str, Positive] = {}
    quotas: dict[str, Count] = {}

    @field_validator(
        "buffer_percent", "drift_z", "receiving_weight", "overdue_decay", "ledger_completeness", mode="before"
    )
    @classmethod
    def _exact(cls, value: Any) -> Any:
        # 0.9 means nine tenths, not the binary fraction nearest to it
        return Decimal(repr(value)) if isinstance(value, float) else value

    @field_validator("stage_weights", mode="before")
    @classmethod
    def _exact_weights(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: Decimal(repr(v)) if isinstance(v, float) else v for k, v in value.items()}

    @field_validator("stage_weights")
    @classmethod
    def _stages(cls, value: dict[str, Decimal]) -> dict[str, Decimal]:
        unknown = [stage for stage in value if stage not in Stage.__members__]
        if unknown:
            raise ValueError(f"stage {unknown[0]!r}: allowed are {', '.join(Stage.__members__)}")
        return value

    @field_validator("scope")
    @classmethod
    def _scope(cls, value: str) -> str:
        if not SCOPE.match(value):
            raise ValueError("allowed are default, region:R, channel:C, region:R|channel:C, sku:S")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("an IANA time zone is allowed, such as Europe/London") from error
        return value


class PolicyError(ValueError):
    """A policy document that cannot be used: names field, value and what is allowed."""


def parse_policy(document: Any) -> Policy:
    """A validated policy, or PolicyError."""
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "policy"
        raise PolicyError(f"{field} = {first['input']!r}: {first['msg']}") from None


class ChannelPolicy:
    """What holds for one channel of a record."""

    __slots__ = (
        "buffer_percent",
        "buffer_units",
        "drift_z",
        "name",
        "priority",
        "protection",
        "quota",
        "safety_stock",
    )

    def __init__(self, name: str, field: Any) -> None:
        self.name = name
        self.safety_stock: int = field("safety_stock")
        self.buffer_units: int = field("buffer_units")
        self.buffer_percent = Fraction(field("buffer_percent"))
        self.drift_z = Fraction(field("drift_z"))
        self.protection: int = field("protections").get(name, 0)
        self.priority: int | None = field("priorities").get(name)
        self.quota: int | None = field("quotas").get(name)


class RecordPolicy:
    """Everything that policies say of one (SKU, region), ready to reckon with."""

    def __init__(self, field: Any, channel_field: Any, version: int) -> None:
        self.version = version
        self.calendar = Calendar(ZoneInfo(field("time_zone")))
        self.required_sources: tuple[str, ...] = tuple(field("required_sources"))
        self.heartbeat_timeout_ms: int = field("heartbeat_timeout_s") * 1000
        self.freshness_target_ms: int = field("freshness_target_s") * 1000
        self.correction_ms: int = field("correction_hours") * 3_600_000
        self.ledger_grace_ms: int = field("ledger_grace_s") * 1000
        self.ledger_final_at = time.fromisoformat(field("ledger_final_at"))
        self.ledger_completeness = Fraction(field("ledger_completeness"))
        self.drift_units_tolerance: int = field("drift_units_tolerance")
        self.auto_correct_units: int = field("auto_correct_units")
        self.receiving_weight = Fraction(field("receiving_weight"))
        days, lead = field("horizon_days"), field("lead_time_days")
        self.last_bucket: int = max(0, (days if lead is None else min(days, lead)) - 1)
        self._weigh(field)
        self.channels = [ChannelPolicy(name, channel_field(name)) for name in field("channels")]
        self.shares_stock = any(c.protection or c.quota is not None for c in self.channels)
        self.rivals = [
            [at for at, other in enumerate(self.channels) if other is not mine and _outranks(other, mine)]
            for mine in self.channels
        ]

    def _weigh(self, field: Any) -> None:
        """Bring all weights to one denominator, so that a bucket is summed in integers and floored once."""
        self.overdue_days: int = field("overdue_days")
        decay = Fraction(field("overdue_decay"))
        weights = {stage: Fraction(weight) for stage, weight in field("stage_weights").items()}
        weights.update(dict.fromkeys(FULL_WEIGHT_STAGES, Fraction(1)))
        table = {(s, d): w * decay**d for s, w in weights.items() for d in range(self.overdue_days + 1)}
        self.denominator = lcm(*(weight.denominator for weight in table.values()))
        # (stage, days overdue) → weight × denominator
        self.numerators = {key: int(weight * self.denominator) for key, weight in table.items()}


class RegionPolicy:
    """What holds for a region as a whole: when it may sell confidently, and how fresh it must be."""

    def __init__(self, field: Any, version: int) -> None:
        self.version = version
        self.channels: tuple[str, ...] = tuple(field("channels"))
        self.required_sources: tuple[str, ...] = tuple(field("required_sources"))
        self.heartbeat_timeout_ms: int = field("heartbeat_timeout_s") * 1000
        self.reconcile_interval_ms: int = field("reconcile_interval_s") * 1000
        self.drift_keys_share = _share(field("region_drift_keys_share"))
        self.drift_units_share = _share(field("region_drift_units_share"))
        self.clean_cycles_to_restore: int = field("clean_cycles_to_restore")
        self.freshness_target_ms: int = field("freshness_target_s") * 1000
        self.freshness_share = _share(field("freshness_share"))


def _share(value: float) -> Fraction:
    """0.02 means two hundredths, not the binary fraction nearest to it."""
    return Fraction(repr(value))


def _outranks(other: ChannelPolicy, mine: ChannelPolicy) -> bool:
    """Equal or higher priority; 1 is highest, absent is lowest."""
    if mine.priority is None:
        return True
    return other.priority is not None and other.priority <= mine.priority


_STAGES = "stage_weights"


class PolicyBook:
    """All policies by scope; resolves them per record and remembers the answers."""

    def __init__(self) -> None:
        self._by_scope: dict[str, Policy] = {}
        self._regions: dict[str, RecordPolicy] = {}
        self._wholes: dict[str, RegionPolicy] = {}
        self._skus: dict[tuple[str, str], RecordPolicy] = {}

    def put(self, policy: Policy) -> None:
        """Take a policy; a later one of the same scope replaces it."""
        self._by_scope[policy.scope] = policy
        self._regions.clear()
        self._wholes.clear()
        self._skus.clear()

    def remove(self, scope: str) -> None:
        """Forget the policy of a scope."""
        self._by_scope.pop(scope, None)
        self._regions.clear()
        self._wholes.clear()
        self._skus.clear()

    def decides_outlook(self, sku: str) -> bool:
        """Whether a SKU has its own day or its own notion of a silent source."""
        policy = self._by_scope.get(f"sku:{sku}")
        return policy is not None and not OUTLOOK_FIELDS.isdisjoint(policy.model_fields_set)

    def horizons(self) -> Horizons:
        """The retention horizons of the default policy."""
        policy = self._by_scope.get("default", Policy())
        return Horizons(policy.journal_hours, policy.memory_days, policy.ambiguity_ms)

    @property
    def sweep_keys_per_s(self) -> int:
        """Keys/s and task that a sweep looks at again, by the default policy."""
        return self._by_scope.get("default", Policy()).sweep_keys_per_s

    def resolve(self, sku: str, region: str) -> RecordPolicy:
        """The policy of a record."""
        if f"sku:{sku}" not in self._by_scope:
            found = self._regions.get(region)
            if found is None:
                found = self._regions[region] = self._compile(None, region)
            return found
        found = self._skus.get((sku, region))
        if found is None:
            found = self._skus[sku, region] = self._compile(sku, region)
        return found

    def of_region(self, region: str) -> RegionPolicy:
        """The policy of a region as a whole."""
        found = self._wholes.get(region)
        if found is None:
            chain = self._chain(["default", f"region:{region}"])
            version = max((policy.version for policy in chain), default=0)
            found = self._wholes[region] = RegionPolicy(_reader(chain), version)
        return found

    def _compile(self, sku: str | None, region: str) -> RecordPolicy:
        record = self._chain(["default", f"region:{region}", f"sku:{sku}"])
        used = list(record)

        def of_channel(name: str) -> Any:
            scopes = ["default", f"region:{region}", f"channel:{name}", f"region:{region}|channel:{name}"]
            chain = self._chain([*scopes, f"sku:{sku}"])
            used.extend(chain)
            return _reader(chain)

        field = _reader(record)
        # resolving the channels also collects whose versions count
        channel_fields = {name: of_channel(name) for name in field("channels")}
        version = max((policy.version for policy in used), default=0)
        return RecordPolicy(field, channel_fields.__getitem__, version)

    def _chain(self, scopes: list[str]) -> list[Policy]:
        return [self._by_scope[scope] for scope in scopes if scope in self._by_scope]


def _reader(chain: list[Policy]) -> Any:
    defaults = Policy()

    def field(name: str) -> Any:
        if name == _STAGES:
            layers = [defaults, *(policy for policy in chain if name in policy.model_fields_set)]
            return {stage: weight for policy in layers for stage, weight in policy.stage_weights.items()}
        for policy in reversed(chain):
            if name in policy.model_fields_set:
                return getattr(policy, name)
        return getattr(defaults, name)

    return field

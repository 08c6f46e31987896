"""The shapes of requests and answers as the OpenAPI document shows them. Tests hold the answers against these."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from atp.facade.keys import MAX_BULK


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BucketModel(_Strict):
    """What may be promised for a day (units)."""

    date: str
    atp: int


class AvailabilityModel(_Strict):
    """What a channel may sell now, and how much that may be believed."""

    sku: str
    region: str
    channel: str
    sellable: int = Field(ge=0, description="units the channel may sell now")
    answered_by: Literal["PRODUCT", "LEGACY"] = Field(description="see the routes")
    mode: Literal["CONFIDENT", "CONSERVATIVE", "SUSPENDED"] | None
    confidence: Literal["HIGH", "LOW"]
    reasons: list[str] = Field(description="why it is not sure; UNKNOWN_KEY in a bulk: nothing is published for it")
    atp: int | None = Field(description="units that may be promised in the region, all channels together")
    confident: int | None
    conservative: int | None
    buckets: list[BucketModel] = Field(description="today and every later day on which the figure changes")
    flags: list[str]
    version: int | None = Field(description="grows by one with every published change of the record")
    as_of: str | None = Field(description="time of the latest fact in it")
    published_at: str | None
    age_ms: int | None = Field(description="how long ago the view was last known to be complete, ms")


class ItemModel(_Strict):
    """One look-up of a bulk."""

    sku: str = Field(min_length=1, max_length=64)
    region: str = Field(min_length=1)
    channel: str | None = Field(None, description="needed unless the API key says it")


class QueryModel(_Strict):
    """A bulk of look-ups."""

    items: list[ItemModel] = Field(min_length=1, max_length=MAX_BULK)


class AnswersModel(_Strict):
    """The answers of a bulk, in the order of its items."""

    items: list[AvailabilityModel]


class ModeModel(BaseModel):
    """The mode of a channel in a region."""

    region: str
    channel: str
    mode: Literal["CONFIDENT", "CONSERVATIVE", "SUSPENDED"]
    cause: str


class ModesModel(_Strict):
    """Every mode that was ever set; a (region, channel) that is not named is CONFIDENT."""

    modes: list[ModeModel]
    age_ms: int | None


class ExceptionModel(BaseModel):
    """A key that drifts; all fields of a row of `atp.reconciliation.exceptions.v1` are there."""

    exception_id: str
    sku: str
    region: str
    about: str | None = Field(description="node, or reservation and line")
    cause: str
    owner: str
    state: Literal["OPEN", "PROPOSED", "APPROVED", "APPLIED"]
    units: int
    over_promised_units: int
    ours: dict[str, int]
    theirs: dict[str, int]
    opened_at: str


class ExceptionsModel(_Strict):
    """The exceptions that are not settled; `rows`: the most urgent of them."""

    count: int
    proposed: int = Field(description="of them, those that wait for a person")
    rows: list[ExceptionModel]


class WordModel(_Strict):
    """A person's word on a proposed correction."""

    verb: Literal["approve", "reject"]
    reason: str = Field(min_length=1, description="why, for those who read it later")


class SaidModel(_Strict):
    """What came of it, in words."""

    said: str


class ReadyModel(BaseModel):
    """Whether the façade may be asked, and what makes its answers careful."""

    ready: bool = Field(description="every question gets an answer")
    status: Literal["ready", "degraded", "unavailable"] = Field(
        description="degraded: answers are right but careful, for the reasons below; still 200"
    )
    state: Literal["RESTORING", "FOLLOWING", "LAGGING"]
    age_ms: int | None
    restored_share: float
    delayed: list[str] = Field(description="region|channel that sells carefully: a source is late")
    untrusted: list[str] = Field(description="region|channel that sells carefully: data disagree with their source")
    by_operator: list[str] = Field(description="region|channel that an operator holds back")
    unmeasured: list[str] = Field(description="regions whose freshness nobody measures now")
    problems: list[str]


class FieldModel(BaseModel):
    """A field that is wrong."""

    field: str
    value: object
    allowed: object


class ProblemModel(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldModel]

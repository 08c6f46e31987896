"""Settings: environment variables `ATP_…`, each with its meaning, unit and default. Secrets never have a default."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import msgspec
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from atp import wire
from atp.domain.intake import Horizons
from atp.lane import LaneSettings
from atp.topics import DEAD_LETTERS

REGION_COMMIT_MS = 500


class SettingsError(ValueError):
    """A setting that cannot be used: names variable, value and what is allowed."""


class Settings(BaseSettings):
    """How the worker runs."""

    model_config = SettingsConfigDict(env_prefix="ATP_", extra="ignore")

    bootstrap: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port…]")
    data_dir: Path = Field(Path(".cache/worker"), description="folder of the local stores")
    instance_id: str | None = Field(None, description="static group membership of this worker")
    partitions: Annotated[int, Field(ge=1, le=1024)] = Field(8, description="partitions of every fact topic")
    replication: Annotated[int, Field(ge=1, le=9)] = Field(1, description="replicas of topics that are created")
    create_topics: bool = Field(True, description="create missing topics of the catalogue at start")
    guarantee: Literal["auto", "exactly_once", "at_least_once"] = Field("auto", description="see README")
    clock: Literal["system", "replay"] = Field("system", description="replay: now follows the facts")
    commit_interval_ms: Annotated[int, Field(ge=10, le=10_000)] = Field(100, description="ms between commits")
    session_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = Field(
        10_000, description="ms without a sign of life after which a worker's partitions go to others"
    )
    max_skew_ms: Annotated[int, Field(ge=0)] = Field(
        3_600_000, description="ms of fact time by which one topic may run ahead of another"
    )
    sweep_keys_per_s: Annotated[int, Field(ge=0)] = Field(
        0, description="keys/s and task that a sweep of this worker visits at most; 0: as many as the policy says"
    )
    snapshot_rows_at_once: Annotated[int, Field(ge=1, le=10_000)] = Field(
        400, description="rows of a snapshot that a turn takes in, so that facts never wait for them"
    )
    compared_at_once: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100, description="SKUs that are compared with a snapshot in one go, so that facts never wait for it"
    )
    closed_at_once: Annotated[int, Field(ge=0, le=10_000)] = Field(
        50, description="SKUs whose ledger rows are closed in one go, so that facts never wait for it; 0: none, ever"
    )
    cached_rows: Annotated[int, Field(ge=100)] = Field(10_000, description="decoded rows kept per table and task")
    dead_letters_per_minute: Annotated[int, Field(ge=1)] = Field(
        1000, description="refusals a minute and task; beyond it the task stops"
    )
    web_port: Annotated[int, Field(ge=0, le=65535)] = Field(0, description="port of the worker's web server; 0: none")
    web_bind: str = Field("127.0.0.1", description="address that the worker's web server listens on")
    workers: str = Field(
        "http://127.0.0.1:6066", description="web servers of the workers, comma-separated: what `atp status` asks"
    )
    facade_port: Annotated[int, Field(ge=1, le=65535)] = Field(8090, description="port of the façade and console")
    facade_bind: str = Field(
        "127.0.0.1", description="address that the façade listens on; others than loopback need API keys"
    )
    api_keys: SecretStr | None = Field(
        None, description="API keys of the façade: a JSON array of the rows that `atp api-key` prints"
    )
    degrade_after_ms: Annotated[int, Field(ge=1)] = Field(
        30_000, description="age from which a look-up answers the conservative quantity, ms"
    )
    refuse_after_ms: Annotated[int, Field(ge=1)] = Field(
        300_000, description="age from which a look-up is refused, ms"
    )
    legacy_mart: Path | None = Field(None, description="file of the legacy batch mart, CSV or Parquet")
    ledger: str | None = Field(
        None,
        description="target of `atp ledger close`, folder or fsspec URL, whose days the console shows",
    )
    first_regions: str = Field(
        "uk,ireland", description="with a mart: regions whose digital channels this product answers from the start"
    )
    first_channels: str = Field("web,app", description="the digital channels, comma-separated")
    journal_hours: Annotated[int, Field(ge=1)] = Field(72, description="horizon of stock facts, h; never changed")
    memory_days: Annotated[int, Field(ge=1)] = Field(30, description="horizon of unknown lines, d; never changed")
    ambiguity_ms: Annotated[int, Field(ge=0)] = Field(1000, description="doubt around a count, ms; never changed")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how clients talk to Kafka"
    )
    sasl_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="with SASL: how clients prove who they are"
    )
    sasl_username: str | None = Field(None, description="with SASL: the user")
    sasl_password: SecretStr | None = Field(None, description="with SASL: the password")
    ssl_cafile: Path | None = Field(None, description="with SSL: authorities to trust, PEM; else the system's")
    ssl_certfile: Path | None = Field(None, description="with SSL: certificate that this client shows, PEM")
    ssl_keyfile: Path | None = Field(None, description="with SSL: key of that certificate, PEM; else in its file")
    ssl_key_password: SecretStr | None = Field(None, description="with SSL: password of that key")

    @field_validator("bootstrap")
    @classmethod
    def _bootstrap(cls, value: str) -> str:
        for server in value.split(","):
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError("host:port is allowed, several with commas")
        return value

    @field_validator("workers")
    @classmethod
    def _workers(cls, value: str) -> str:
        for url in value.split(","):
            if not url.strip().startswith(("http://", "https://")):
                raise ValueError("http://host:port is allowed, several with commas")
        return value

    @property
    def worker_urls(self) -> list[str]:
        """The web servers of the workers."""
        return [url.strip().rstrip("/") for url in self.workers.split(",")]

    @property
    def first_region_names(self) -> tuple[str, ...]:
        """The first digital regions."""
        return _names(self.first_regions)

    @property
    def first_channel_names(self) -> tuple[str, ...]:
        """The digital channels."""
        return _names(self.first_channels)

    @cached_property  # asked for with every fact
    def horizons(self) -> Horizons:
        """The retention horizons of the state."""
        return Horizons(self.journal_hours, self.memory_days, self.ambiguity_ms)

    @model_validator(mode="after")
    def _security(self) -> Self:
        wire.check(self)
        return self

    def sweep_keys_per_s_of(self, policy_keys_per_s: int) -> int:
        """How fast this worker sweeps: as the policy says, or slower."""
        return min(policy_keys_per_s, self.sweep_keys_per_s or policy_keys_per_s)

    def admin(self) -> dict[str, Any]:
        """Connection settings in librdkafka's words."""
        return {"bootstrap.servers": self.bootstrap, **wire.librdkafka(self)}

    def client(self) -> dict[str, Any]:
        """Security settings in aiokafka's words."""
        return wire.aiokafka(self)

    def lane(self) -> LaneSettings:
        """The lane's own settings."""
        return LaneSettings(
            bootstrap_servers=self.bootstrap,
            data_dir=str(self.data_dir / "lane"),
            instance_id=self.instance_id,
            partitions=self.partitions,
            guarantee=self.guarantee,
            commit_interval_ms=self.commit_interval_ms,
            session_timeout_ms=self.session_timeout_ms,
            heartbeat_interval_ms=self.session_timeout_ms // 5,
            max_skew_ms=self.max_skew_ms,
            cached_rows=self.cached_rows,
            dead_letter_topic=DEAD_LETTERS.name,
            dead_letters_per_minute=self.dead_letters_per_minute,
            pinned={
                "journal_hours": self.journal_hours,
                "memory_days": self.memory_days,
                "ambiguity_ms": self.ambiguity_ms,
            },
            security=self.client(),
            admin=self.admin(),
        )

    def region_lane(self) -> LaneSettings:
        """The lane of regions: few records, so fewer commits; nothing of its state depends on horizons."""
        return msgspec.structs.replace(self.lane(), commit_interval_ms=REGION_COMMIT_MS, pinned={})


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def load() -> Settings:
    """The settings of the environment, or SettingsError with one clear line; it never shows a secret."""
    try:
        return Settings(**_secrets())  # pydantic's plugin-less mypy sees no defaults
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "ATP_" + "_".join(str(part) for part in first["loc"]).upper()
        if not first["loc"]:  # a rule about several settings: its input is all of them
            raise SettingsError(str(first["ctx"]["error"])) from None
        raise SettingsError(f"{name} = {first['input']!r}: {first['msg']}") from None


def is_secret(name: str) -> bool:
    """Whether a setting is a secret: never shown, and `ATP_…_FILE` may name the file that holds it."""
    return SecretStr in get_args(Settings.model_fields[name].annotation)


def _secrets() -> dict[str, Any]:
    """Secrets that the environment gives by file, without the line end of the file."""
    found: dict[str, Any] = {}
    for name in filter(is_secret, Settings.model_fields):
        variable = f"ATP_{name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if path is None:
            continue
        if variable in os.environ:
            raise SettingsError(f"{variable} and {variable}_FILE: one of the two is allowed")
        try:
            found[name] = SecretStr(Path(path).read_text().rstrip("\r\n"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise SettingsError(f"{variable}_FILE = {path}: cannot be read ({reason})") from None
    return found

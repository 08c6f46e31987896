"""Settings of a lane; every number carries its unit in its name."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

MAX_MESSAGE_BYTES = 1_048_576
DELETE_RETENTION_MS = 86_400_000

Guarantee = Literal["auto", "exactly_once", "at_least_once"]


class LaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a lane runs. Only `bootstrap_servers` and `data_dir` have no usable default."""

    bootstrap_servers: str
    data_dir: str
    group_id: str | None = None  # None: `<app>-<lane>`
    instance_id: str | None = None  # static membership; None: dynamic member
    partitions: int = 8
    guarantee: Guarantee = "auto"

    commit_interval_ms: int = 100
    tick_interval_ms: int = 1_000
    slice_records: int = 1_500
    final_keys: int = 1_500  # keys per run of the final stage, so that one run stays below 50 ms
    turn_records: int = 10_000
    buffer_records: int = 5_000  # per topic-partition, before its fetching pauses
    poll_interval_ms: int = 10
    max_skew_ms: int = 3_600_000
    stage_timeout_s: float = 60.0

    cached_rows: int = 20_000  # decoded rows per table and task: times tasks and tables, this is memory
    sweep_keys_per_s: int = 1_000
    dead_letter_topic: str | None = None
    dead_letters_per_minute: int = 1_000  # per task; beyond it the task stops
    dead_letter_bytes: int = 65_536

    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 2_000
    transaction_timeout_ms: int = 15_000
    call_timeout_s: float = 10.0  # every protocol call; below the transaction timeout
    retry_pause_s: float = 0.2
    retry_pause_max_s: float = 5.0
    max_message_bytes: int = MAX_MESSAGE_BYTES
    delete_retention_ms: int = DELETE_RETENTION_MS  # of the changelog topic

    store_cache_bytes: int = 64 << 20  # block cache shared by all tasks of the worker
    store_write_buffer_bytes: int = 8 << 20  # per task

    pinned: dict[str, int] = {}  # horizons that state depends on: stored in the metadata row, never changed
    security: dict[str, Any] = {}  # security_protocol, ssl_context, sasl_…: passed to every aiokafka client
    admin: dict[str, Any] = {}  # the same for the librdkafka admin client, in its own words

    def __repr__(self) -> str:
        """Without the connection settings: they hold passwords."""
        hidden = ("security", "admin")
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in hidden)
        return f"LaneSettings({', '.join(shown)})"

    @property
    def batch_bytes(self) -> int:
        """Size up to which a record batch is filled."""
        return self.max_message_bytes * 9 // 10


def changelog_config() -> dict[str, str]:
    """Topic configuration that a changelog needs: compacted, tombstones kept for a worker that was long away."""
    return {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(DELETE_RETENTION_MS),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }

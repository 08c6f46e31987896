"""What a task says about itself, and what it counts; the lane's metrics catalogue reads these."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class TaskState(StrEnum):
    """Where a task stands."""

    STARTING = "STARTING"
    RESTORING = "RESTORING"
    WAITING = "WAITING"  # for control views, or for its turn after an error
    RUNNING = "RUNNING"
    QUIESCED = "QUIESCED"  # a rebalance is under way
    FAILED = "FAILED"  # an invariant would break: paused until an operator resumes it
    STOPPED = "STOPPED"


class TaskStatus(msgspec.Struct):
    """One line of `lane.status()`."""

    partition: int
    state: TaskState
    guarantee: str
    now_ms: int
    offsets: dict[str, int]
    lag: dict[str, int]
    restored_records: int
    restore_rate: float  # records/s
    restore_eta_s: float | None
    last_commit_s: float | None  # seconds since the last confirmed commit
    last_error: str | None
    sweeping: bool


class Counters(msgspec.Struct):
    """Totals of one task since it was created; monotone, except the `last_…` gauges."""

    records: int = 0
    turns: int = 0
    commits: int = 0
    rows: int = 0
    outputs: int = 0
    dead_letters: int = 0
    errors: int = 0
    takeovers: int = 0
    fenced: int = 0
    wiped: int = 0
    process_ms: float = 0.0
    commit_ms: float = 0.0
    last_process_ms: float = 0.0
    last_commit_ms: float = 0.0


class Restore(msgspec.Struct):
    """Progress of a recovery."""

    records: int = 0
    started_s: float = 0.0
    ended_s: float | None = None
    position: int = 0
    end: int = 0

    def rate(self, now_s: float) -> float:
        """Records per second so far."""
        spent = (self.ended_s or now_s) - self.started_s
        return self.records / spent if spent > 0 else 0.0

    def eta_s(self, now_s: float) -> float | None:
        """Seconds to the captured end, judged by offsets; None when unknown."""
        rate = self.rate(now_s)
        left = max(0, self.end - self.position)
        return 0.0 if self.ended_s is not None or not left else left / rate if rate else None

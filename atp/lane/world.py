"""What all tasks of a lane share: the ports, the declarations and the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from atp.lane.bursts import Bursts
from atp.lane.ports import Clock, Log, Pipeline, Spawn, Stores
from atp.lane.settings import LaneSettings
from atp.lane.table import BaseTable
from atp.lane.views import Views


@dataclass
class World:
    """Everything a task works with; shared by all tasks of a lane."""

    settings: LaneSettings
    log: Log
    stores: Stores
    clock: Clock
    spawn: Spawn
    pipeline: Pipeline
    views: Views
    inputs: list[str]
    stages: list[str]
    final_stage: str
    changelog_topic: str
    tables: list[BaseTable] = field(default_factory=list)
    sweep_table: BaseTable | None = None
    sweep_keys_per_s: Callable[[], int] | None = None  # asked for in every turn; None: as the settings say
    paced: dict[str, int] = field(default_factory=dict)  # input topic → records of it that a turn takes at most
    bursts: Bursts = field(default_factory=Bursts)
    wall_ms: Callable[[], int] = lambda: 0
    on_trouble: Callable[[int, str, str], None] = lambda partition, state, reason: None

    @property
    def early_stages(self) -> list[str]:
        """The stages before the final one."""
        return [stage for stage in self.stages if stage != self.final_stage]

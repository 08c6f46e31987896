"""The engine: feeds co-partitioned topics to Faust agents in batches, one transaction per partition batch.

It knows no inventory word. `task.py` is the protocol; `ports.py` is what it needs from the world.
"""

from atp.lane.batch import Batch, DeadLetter
from atp.lane.clock import FloorClock, ReplayClock, SystemClock
from atp.lane.errors import LaneError
from atp.lane.marks import MarkTable
from atp.lane.ports import Record
from atp.lane.settings import LaneSettings
from atp.lane.spread import SpreadTable
from atp.lane.status import Counters, TaskState, TaskStatus
from atp.lane.table import Table
from atp.lane.views import View

__all__ = [
    "Batch",
    "Counters",
    "DeadLetter",
    "FloorClock",
    "Lane",
    "LaneError",
    "LaneSettings",
    "MarkTable",
    "Record",
    "ReplayClock",
    "SpreadTable",
    "SystemClock",
    "Table",
    "TaskState",
    "TaskStatus",
    "View",
]


def __getattr__(name: str) -> object:
    """`Lane` brings Faust and the broker clients with it, so it is loaded only when asked for."""
    if name == "Lane":
        from atp.lane.service import Lane

        return Lane
    raise AttributeError(name)

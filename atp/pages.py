"""The worker's own pages, on Faust's web server (`ATP_WEB_PORT`): what its tasks say, and the one thing to tell them.

GET  /status                              every task of every lane
GET  /health/live                         200: the process answers
GET  /health/ready                        200: every task runs; 503: the names of those that do not
GET  /metrics                             Prometheus metrics
POST /tasks/{lane}/{partition}/resume     let a FAILED task take over again
"""

from __future__ import annotations

from typing import Any

import msgspec
from faust import web
from prometheus_client import generate_latest

from atp.app import app, config, lanes
from atp.lane import LaneError
from atp.lane.status import TaskState, TaskStatus


class WorkerStatus(msgspec.Struct):
    """What a worker says of itself; `ready`: every one of its tasks runs."""

    instance_id: str | None
    ready: bool
    lanes: dict[str, list[TaskStatus]]


def worker_status() -> WorkerStatus:
    """The tasks of this worker, by lane. A worker without a task is ready: others have them all."""
    tasks = {name: lane.status() for name, lane in lanes.items()}
    joined = all(lane.manager is not None for lane in lanes.values())
    running = all(task.state is TaskState.RUNNING for found in tasks.values() for task in found)
    return WorkerStatus(config.instance_id, joined and running, tasks)


@app.page("/status")
async def status(page: web.View, _request: Any) -> Any:
    """Every task: state, lag, restore progress, last error."""
    return _json(page, worker_status())


@app.page("/health/live")
async def live(page: web.View, _request: Any) -> Any:
    """The process answers."""
    return _json(page, {"live": True})


@app.page("/health/ready")
async def ready(page: web.View, _request: Any) -> Any:
    """Whether every task serves current state; the states of those that do not."""
    found = worker_status()
    states = {
        f"{lane}/{task.partition}": task.state
        for lane, tasks in found.lanes.items()
        for task in tasks
        if task.state is not TaskState.RUNNING
    }
    return _json(page, {"ready": found.ready, "not_running": states}, 200 if found.ready else 503)


@app.page("/metrics")
async def metrics_page(page: web.View, _request: Any) -> Any:
    """Prometheus metrics of this worker."""
    return page.bytes(generate_latest(), content_type="text/plain")


@app.page("/tasks/{lane}/{partition}/resume")
class Resume(web.View):
    """Lets a FAILED task take over again, after its cause was mended."""

    async def post(self, _request: Any, lane: str, partition: str) -> Any:
        """200, or 404 when the task is not here."""
        if lane not in lanes:
            return _json(self, {"error": f"lane {lane!r}: allowed are {', '.join(lanes)}"}, 404)
        try:
            lanes[lane].resume(int(partition))
        except (LaneError, ValueError) as error:
            return _json(self, {"error": str(error)}, 404)
        return _json(self, {"resumed": f"{lane}/{partition}"})


def _json(page: web.View, body: Any, status_code: int = 200) -> Any:
    return page.bytes(msgspec.json.encode(body), content_type="application/json", status=status_code)

"""Health, readiness and metrics that tell the truth.

ready        complete, fresh, and every channel sells confidently
degraded     answers are right but careful: the view lags, a channel is delayed, untrusted or held back by an
             operator, or nobody measures a region's freshness; still 200
unavailable  a question could not be answered: not everything was read yet, or what is known is too old; 503

A balancer takes a replica away on 503. What is wrong with the data is wrong in every replica: to take them all away
would turn careful sales into none, so it never makes a replica unavailable.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from atp import metrics, topics
from atp.client import State
from atp.client.client import ClientStatus
from atp.domain.modes import OPERATOR, Degradation
from atp.facade.console import freshness
from atp.facade.console.modes import careful
from atp.facade.context import Facade
from atp.facade.models import ReadyModel


def readiness(facade: Facade) -> dict[str, Any]:
    """What the façade says of itself."""
    status = facade.client.status()
    kinds = careful(facade.client.view.modes.copy().values())
    unmeasured = freshness.unmeasured(facade.shown.of(topics.FRESHNESS.name), time.time_ns() // 1_000_000)
    problems, ready = _problems(facade, status), _can_answer(facade, status)
    degraded = status.state is State.LAGGING or kinds or unmeasured or problems
    return {
        "ready": ready,
        "status": "unavailable" if not ready else "degraded" if degraded else "ready",
        "state": status.state,
        "age_ms": status.age_ms,
        "restored_share": status.restored_share,
        "keys": status.keys,
        "lag": status.lag,
        "delayed": kinds.get(Degradation.DELAYED, []),
        "untrusted": kinds.get(Degradation.UNTRUSTED, []),
        "by_operator": kinds.get(OPERATOR, []),
        "unmeasured": unmeasured,
        "problems": problems,
        "api_keys": not facade.keys.open,
    }


def _can_answer(facade: Facade, status: ClientStatus) -> bool:
    """Whether every question would get an answer; beside a legacy mart only the routes say whose it is."""
    too_old = status.age_ms is not None and status.age_ms > facade.config.refuse_after_ms
    routed = facade.mart.path is None or facade.documents.ready
    return status.state is not State.RESTORING and routed and not too_old


def _problems(facade: Facade, status: ClientStatus) -> list[str]:
    found = (status.error, facade.documents.error, facade.shown.error, facade.mart.error)
    problems = list(dict.fromkeys(problem for problem in found if problem))
    if status.regressed:
        problems.append(f"{status.regressed} records with a lower version were refused: somebody else writes")
    if status.unreadable:
        problems.append(f"{status.unreadable} records could not be read")
    return problems


def router(facade: Facade) -> APIRouter:
    """The routes."""
    found = APIRouter(tags=["health"])

    @found.get("/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @found.get("/health/ready", responses={200: {"model": ReadyModel}, 503: {"model": ReadyModel}})
    async def ready() -> JSONResponse:
        """Whether every question gets an answer (200), and what makes answers careful; 503 when it would not."""
        said = readiness(facade)
        return JSONResponse(said, 200 if said["ready"] else 503)

    @found.get("/metrics", response_class=Response)
    async def metrics_page() -> Response:
        """Prometheus metrics."""
        status = facade.client.status()
        metrics.VIEW_KEYS.set(status.keys)
        metrics.VIEW_LAG.set(status.lag)
        metrics.VIEW_AGE_SECONDS.set(float("nan") if status.age_ms is None else status.age_ms / 1000)
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return found

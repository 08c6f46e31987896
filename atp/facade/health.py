"""Health, readiness and metrics that tell the truth.

Ready means: everything published at the start was read, and what is known is not too old to sell by. A channel that
may not sell confidently is no reason to take the façade away: it is named in `untrusted`.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from atp import metrics
from atp.client import State
from atp.facade.context import Facade
from atp.facade.models import ReadyModel


def readiness(facade: Facade) -> dict[str, Any]:
    """What the façade says of itself."""
    status = facade.client.status()
    too_old = status.age_ms is not None and status.age_ms > facade.config.refuse_after_ms
    problems = [found for found in (status.error, facade.documents.error, facade.mart.error) if found]
    if status.regressed:
        problems.append(f"{status.regressed} records with a lower version were refused: somebody else writes")
    if status.unreadable:
        problems.append(f"{status.unreadable} records could not be read")
    return {
        # without the routes nobody would know who answers
        "ready": status.state is not State.RESTORING and facade.documents.ready and not too_old,
        "state": status.state,
        "age_ms": status.age_ms,
        "restored_share": status.restored_share,
        "keys": status.keys,
        "lag": status.lag,
        "untrusted": facade.untrusted(),
        "problems": problems,
        "api_keys": not facade.keys.open,
    }


def router(facade: Facade) -> APIRouter:
    """The routes."""
    found = APIRouter(tags=["health"])

    @found.get("/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @found.get("/health/ready", responses={200: {"model": ReadyModel}, 503: {"model": ReadyModel}})
    async def ready() -> JSONResponse:
        """Whether answers come from a complete and fresh view."""
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

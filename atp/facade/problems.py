"""Errors of the façade as problem documents (RFC 9457) that name field, value and what is allowed."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """One problem. `kind` ends its type URI; `errors`: field, value, allowed."""

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        errors: list[dict[str, Any]] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.title, self.detail = status, kind, title, detail
        self.errors, self.retry_after_s = errors or [], retry_after_s

    def document(self, instance: str) -> dict[str, Any]:
        """The document on the wire."""
        about = {"type": f"urn:atp:problem:{self.kind}", "title": self.title, "status": self.status}
        return {**about, "detail": self.detail, "instance": instance, "errors": self.errors}


def wrong_field(field: str, value: Any, allowed: str) -> ProblemError:
    """A request that cannot be understood."""
    errors = [{"field": field, "value": value, "allowed": allowed}]
    return ProblemError(422, "invalid-request", "Invalid request", f"{field} = {value!r}: {allowed}", errors)


def answer(request: Request, problem: ProblemError) -> JSONResponse:
    """The problem as a response."""
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    document = problem.document(request.url.path)
    return JSONResponse(document, problem.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Every error of the app leaves as a problem."""

    @app.exception_handler(ProblemError)
    async def own(request: Request, problem: ProblemError) -> JSONResponse:
        return answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            {
                "field": ".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0]),
                "value": one.get("input"),
                "allowed": one["msg"],
            }
            for one in error.errors()
        ]
        first = found[0]
        detail = f"{first['field']} = {first['value']!r}: {first['allowed']}"
        return answer(request, ProblemError(422, "invalid-request", "Invalid request", detail, found))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
        return answer(request, ProblemError(error.status_code, kind, str(error.detail), str(error.detail)))

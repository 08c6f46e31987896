"""Who may see the console and act there: whoever has an operator's key, as a cookie of the browser or in a header."""

from __future__ import annotations

from fastapi import Request

from atp.facade.context import Facade
from atp.facade.keys import Caller
from atp.facade.problems import ProblemError

COOKIE, ACTION_HEADER = "atp_key", "x-atp-console"


def require_operator(caller: Caller) -> Caller:
    """The caller, if it is an operator, or ProblemError 403."""
    if not caller.is_operator:
        raise ProblemError(403, "operators-only", "For operators", "this key is for a sales channel")
    return caller


def operator(facade: Facade, request: Request) -> Caller:
    """The operator who asks, or ProblemError."""
    return require_operator(facade.keys.caller(request, request.cookies.get(COOKIE)))


def acting(facade: Facade, request: Request) -> Caller:
    """The operator who acts. The header is what another site's form cannot send."""
    caller = operator(facade, request)
    if ACTION_HEADER not in request.headers:
        raise ProblemError(403, "not-the-console", "Not from the console", f"header {ACTION_HEADER} is missing")
    return caller

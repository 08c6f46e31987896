"""W3C trace context: carried in record headers from the last fact that touched a record to the record."""

from __future__ import annotations

from atp.lane.ports import Headers

CONTEXT = ("traceparent", "tracestate")


def context(headers: Headers) -> Headers:
    """The headers that carry a trace; none when no trace was begun."""
    found = tuple((name, value) for name, value in headers if name in CONTEXT)
    return found if any(name == CONTEXT[0] for name, _ in found) else ()

"""The deadline that every protocol call has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from atp.lane.errors import TransientError

T = TypeVar("T")


async def within(timeout_s: float, call: Awaitable[T]) -> T:
    """The answer of a call; TransientError when it does not come in time, as its outcome is unknown then."""
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except TimeoutError as error:
        raise TransientError("the broker did not answer in time") from error

"""Modes per (region, channel): how confidently a channel may sell."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from atp.domain.decoding import explain_invalid
from atp.domain.facts import Identity


class Mode(StrEnum):
    """CONFIDENT sells ATP; CONSERVATIVE sells what is certain; SUSPENDED (operator only) sells nothing."""

    CONFIDENT = "CONFIDENT"
    CONSERVATIVE = "CONSERVATIVE"
    SUSPENDED = "SUSPENDED"


class ChannelMode(msgspec.Struct, frozen=True, gc=False):
    """One row of `atp.modes.v1`. `cause`: a reason code; `reason`: an operator's words."""

    region: Identity
    channel: Identity
    mode: Mode
    cause: str = ""
    reason: str = ""


CONFIDENT = ChannelMode("", "", Mode.CONFIDENT)
OPERATOR = "OPERATOR"


class ModeError(ValueError):
    """A mode that cannot be used: names field, value and what is allowed."""


def parse_mode(document: Any) -> ChannelMode:
    """A validated mode, or ModeError."""
    try:
        return msgspec.convert(document, ChannelMode)
    except msgspec.ValidationError as error:
        raise ModeError(explain_invalid(document, error)) from None


class ModeBook(dict[tuple[str, str], ChannelMode]):
    """The modes by (region, channel)."""

    def of(self, region: str, channel: str) -> ChannelMode:
        """The mode in force; CONFIDENT where none was ever set."""
        return self.get((region, channel), CONFIDENT)

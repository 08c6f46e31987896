"""`atp modes`: how confidently each channel may sell, and the operator's word on it."""

from __future__ import annotations

from typing import IO

import msgspec

from atp import topics
from atp.commands import clients
from atp.commands.errors import WrongUseError
from atp.commands.lines import Outgoing
from atp.commands.publish import produce
from atp.commands.worker import checked_settings
from atp.domain.modes import OPERATOR, Mode, ModeError, parse_mode


def list_modes(as_json: bool, out: IO[str]) -> None:
    """Print every mode that was ever set; all others are CONFIDENT."""
    rows = list(clients.documents(checked_settings().admin(), topics.MODES.name).values())
    if as_json:
        out.write(msgspec.json.encode({"modes": rows}).decode() + "\n")
        return
    out.writelines(f"{row['region']}|{row['channel']}  {row['mode']}  {row.get('cause', '')}\n" for row in rows)
    out.write("others: CONFIDENT\n")


def set_mode(region: str, channel: str, mode: str, reason: str, out: IO[str]) -> None:
    """Set a mode by hand; CONFIDENT takes the operator's word back. Channels obey at once, records follow."""
    cause = "" if mode.upper() == Mode.CONFIDENT else OPERATOR
    document = {"region": region, "channel": channel, "mode": mode.upper(), "cause": cause, "reason": reason}
    try:
        row = parse_mode(document)
    except ModeError as error:
        raise WrongUseError(str(error)) from None
    key = f"{region}|{channel}"
    produce([Outgoing(topics.MODES.name, key, msgspec.json.encode(row), None, 1)], checked_settings())
    out.write(f"{key} is {row.mode}\n")

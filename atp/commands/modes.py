"""`atp modes`: how confidently each channel may sell, and the operator's word on it."""

from __future__ import annotations

import getpass
import time
import uuid
from typing import IO, Any

import msgspec

from atp import topics
from atp.commands import clients
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.lines import Outgoing
from atp.commands.publish import produce
from atp.commands.worker import checked_settings
from atp.domain.modes import Mode, ModeCommand, ModeError, parse_command
from atp.domain.times import HOUR_MS, rfc3339

ANSWER_S, LOOK_S = 10.0, 0.2
HOURS = 24


def list_modes(as_json: bool, out: IO[str], region: str | None = None, check: bool = False) -> None:
    """Print every mode that was ever set; all others are CONFIDENT. `check`: raise when one is not."""
    found = clients.documents(checked_settings().admin(), topics.MODES.name).values()
    rows = [row for row in found if region in (None, row["region"])]
    if as_json:
        out.write(msgspec.json.encode({"modes": rows}).decode() + "\n")
    else:
        out.writelines(in_words(row) + "\n" for row in rows)
        out.write("others: CONFIDENT\n")
    careful = [row for row in rows if row["mode"] != Mode.CONFIDENT]
    if check and careful:
        raise CommandError(f"{len(careful)} channels are not CONFIDENT, the first: {in_words(careful[0])}")


def in_words(row: dict[str, Any]) -> str:
    """One row: mode, kinds of degradation, causes, since when and until when, and why."""
    causes = row.get("causes") or [row["cause"]] if row.get("cause") else []
    parts = [f"{row['region']}|{row['channel']}", row["mode"]]
    parts += ["+".join(row.get("degradation", ())), "+".join(causes)]
    parts += [f"{word} {row[name]}" for word, name in (("since", "since"), ("until", "expires_at")) if row.get(name)]
    return "  ".join([part for part in [*parts, row.get("reason", "")] if part])


def set_mode(
    region: str, channel: str, mode: str, reason: str, out: IO[str], hours: int = HOURS, by: str | None = None
) -> None:
    """Send an operator's word to the region task, and wait for its answer. CONFIDENT takes the word before back."""
    config = checked_settings()
    row_before = _row(config.admin(), region, channel)
    command = _command(region, channel, mode.upper(), reason, hours, by or getpass.getuser())
    produce([Outgoing(topics.MODE_COMMANDS.name, region, msgspec.json.encode(command), None, 1)], config)
    deadline_s = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline_s:
        row = _row(config.admin(), region, channel)
        if row.get("version", 0) > row_before.get("version", 0):
            out.write(_answered(row, command) + "\n")
            return
        time.sleep(LOOK_S)
    out.write(f"{region}|{channel}: asked for {command.mode}, but no worker has answered within {ANSWER_S:.0f} s\n")


def _command(region: str, channel: str, mode: str, reason: str, hours: int, by: str) -> ModeCommand:
    now_ms = time.time_ns() // 1_000_000
    ends = hours > 0 and mode != Mode.CONFIDENT
    document = {
        "command_id": uuid.uuid4().hex,
        "region": region,
        "channel": channel,
        "mode": mode,
        "reason": reason,
        "by": by,
        "issued_at": rfc3339(now_ms),
        "expires_at": rfc3339(now_ms + hours * HOUR_MS) if ends else None,
    }
    try:
        return parse_command(document)
    except ModeError as error:
        raise WrongUseError(str(error)) from None


def _row(config: dict[str, Any], region: str, channel: str) -> dict[str, Any]:
    found: dict[str, Any] = clients.documents(config, topics.MODES.name).get(f"{region}|{channel}", {})
    return found


def _answered(row: dict[str, Any], command: ModeCommand) -> str:
    """What came of it: an operator's word taken back leaves what the sources allow."""
    said = f"{row['region']}|{row['channel']} is {row['mode']}"
    if row.get("expires_at"):
        said += f" until {row['expires_at']}"
    if command.mode is Mode.CONFIDENT and row["mode"] != Mode.CONFIDENT:
        said += f": {', '.join(row['causes'])}; {row['reason']}"
    return said

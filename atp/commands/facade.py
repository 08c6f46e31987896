"""`atp facade` and `atp api-key`: the doors for channels and the console, and keys for those who may use them."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import IO

import msgspec
import uvicorn

from atp import admin
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.worker import checked_settings
from atp.facade.app import create_app
from atp.facade.context import Facade
from atp.facade.keys import KeysError, new_key
from atp.settings import Settings


def run(out: IO[str]) -> None:
    """Serve until Ctrl-C."""
    config = checked_settings()
    facade = checked_facade(config)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(facade), config.facade_bind, config.facade_port, log_level="warning", access_log=False
        )
    )
    out.write(f"console  http://{config.facade_bind}:{config.facade_port}/\n")
    out.flush()
    try:
        asyncio.run(server.serve())
    except SystemExit:
        raise CommandError(
            f"ATP_FACADE_BIND, ATP_FACADE_PORT = {config.facade_bind}:{config.facade_port}: cannot listen there"
        ) from None


def checked_facade(config: Settings) -> Facade:
    """A façade whose keys, settings and topics are fit for use."""
    if config.degrade_after_ms > config.refuse_after_ms:
        raise WrongUseError(
            f"ATP_DEGRADE_AFTER_MS = {config.degrade_after_ms}: at most ATP_REFUSE_AFTER_MS "
            f"({config.refuse_after_ms}) is allowed"
        )
    try:
        facade = Facade(config)
    except KeysError as error:
        raise WrongUseError(str(error)) from None
    if facade.keys.open and not _loopback(config.facade_bind):
        raise WrongUseError(
            f"ATP_FACADE_BIND = {config.facade_bind!r}: without API keys (ATP_API_KEYS) only a loopback address "
            "is allowed"
        )
    try:
        admin.prepare(config)
    except admin.BrokerError as error:
        raise CommandError(str(error)) from None
    return facade


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def make_key(name: str, channel: str, per_second: int, out: IO[str], err: IO[str]) -> None:
    """Print a new key's row for the keys' document; on standard error the key itself, which is kept nowhere."""
    key, row = new_key(name, channel, per_second)
    out.write(msgspec.json.encode(row).decode() + "\n")
    err.write(f"the key, shown this once: {key}\n")

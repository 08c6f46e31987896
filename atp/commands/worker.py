"""`atp worker`: the Faust worker, after a check that gives one clear line instead of a traceback."""

from __future__ import annotations

import os
import sys

from atp import admin, settings
from atp.commands.errors import CommandError, WrongUseError

LOG_LEVELS = ("debug", "info", "warn", "error")


def checked_settings() -> settings.Settings:
    """The settings of the environment, or one clear line."""
    try:
        return settings.load()
    except settings.SettingsError as error:
        raise WrongUseError(str(error)) from None


def faust_command(log_level: str) -> list[str]:
    """What runs the worker: Faust's own command line."""
    command = [sys.executable, "-m", "faust", "-A", "atp.worker", "worker", "-l", log_level]
    return command if os.environ.get("ATP_WEB_PORT", "0") != "0" else [*command, "--without-web"]


def make_folder(config: settings.Settings) -> None:
    """The folder of the stores: Faust makes the last part of the path only."""
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"ATP_DATA_DIR = {config.data_dir}: cannot be made ({error.strerror})") from None


def run(log_level: str) -> None:
    """Check broker and topics, then become the Faust worker."""
    if log_level not in LOG_LEVELS:
        raise WrongUseError(f"--log-level = {log_level!r}: allowed are {', '.join(LOG_LEVELS)}")
    config = checked_settings()
    try:
        admin.prepare(config)
    except admin.BrokerError as error:
        raise CommandError(str(error)) from None
    make_folder(config)
    command = faust_command(log_level)
    os.execv(command[0], command)

"""Errors that a person at the command line sees: one line, and an exit code."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot do what was asked. `code`: 1 a check failed, 2 wrong use."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class WrongUseError(CommandError):
    """The command was given something it does not take: exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=2)

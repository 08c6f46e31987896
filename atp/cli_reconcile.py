"""The commands `atp reconcile …` and `atp exceptions …`: what drifts, and what people do about it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

reconcile = typer.Typer(help="Our state against the systems of record.", no_args_is_help=True)
exceptions = typer.Typer(help="Keys that drift, until the systems agree again.", no_args_is_help=True)
Bootstrap = Annotated[str | None, typer.Option(help="Kafka servers, host:port; else ATP_BOOTSTRAP.")]
OfRegion = Annotated[str | None, typer.Option("--region", help="This region only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Output for programs.")]
ExceptionId = Annotated[str, typer.Argument(metavar="ID", help="The exception, as `atp exceptions list` shows it.")]
Reason = Annotated[str, typer.Option(help="Why, for those who read it later.")]


@reconcile.command("verify")
def reconcile_verify(
    facts: Annotated[Path, typer.Option("--facts", metavar="FACTS.jsonl", help="Facts and snapshots.")],
    policy: Annotated[Path | None, typer.Option(help="Policies: JSON object, array or lines.")] = None,
    nodes: Annotated[Path | None, typer.Option(help="Node reference: JSON object, array or lines.")] = None,
    now: Annotated[str | None, typer.Option(help="RFC 3339 instant; default: the latest in the file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a file's snapshots with its facts, as its decisions say; exit code 1 on drift or missing rows."""
    from atp.commands import reconcile as command

    command.verify(command.Verify(facts, policy, nodes, now, as_json), sys.stdout, sys.stderr)


@reconcile.command("status")
def reconcile_status(
    region: OfRegion = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 unless all agree and nothing is open.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """The latest verdict of every region and source, what did not come, and the exceptions that are open."""
    from atp.commands import reconcile as command

    _reach(bootstrap)
    command.status(region, as_json, sys.stdout, check)


@exceptions.command("list")
def exceptions_list(
    region: OfRegion = None,
    state: Annotated[str | None, typer.Option(help="This state only; default: all but VERIFIED.")] = None,
    cause: Annotated[str | None, typer.Option(help="This cause class only.")] = None,
    min_age: Annotated[int, typer.Option("--min-age", min=0, help="Open for so many minutes at least.")] = 0,
    ids: Annotated[bool, typer.Option("--ids", help="The ids alone, one a line.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Exceptions, the oldest first: what drifts, why, whose it is, how much, how old."""
    from atp.commands import exceptions as command

    _reach(bootstrap)
    command.list_exceptions(command.Selection.of(region, state, cause, min_age), as_json, sys.stdout, ids)


@exceptions.command("show")
def exceptions_show(exception_id: ExceptionId, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """One exception: both sides, its correction, its history."""
    from atp.commands import exceptions as command

    _reach(bootstrap)
    command.show(exception_id, as_json, sys.stdout)


@exceptions.command("approve")
def exceptions_approve(exception_id: ExceptionId, reason: Reason = "", bootstrap: Bootstrap = None) -> None:
    """Let the proposed correction be posted, once."""
    from atp.commands import exceptions as command

    _reach(bootstrap)
    command.decide(exception_id, "approve", reason, sys.stdout)


@exceptions.command("reject")
def exceptions_reject(exception_id: ExceptionId, reason: Reason = "", bootstrap: Bootstrap = None) -> None:
    """Leave our state as it is: the snapshot is known to be wrong."""
    from atp.commands import exceptions as command

    _reach(bootstrap)
    command.decide(exception_id, "reject", reason, sys.stdout)


def _reach(bootstrap: str | None) -> None:
    """The option wins over the environment; the settings are read from there."""
    if bootstrap is not None:
        os.environ["ATP_BOOTSTRAP"] = bootstrap

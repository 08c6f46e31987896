"""The commands `atp reconcile …` and `atp exceptions …`: what drifts, and what people do about it."""

from __future__ import annotations

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
    """Compare every snapshot of a file with its facts; exit code 1 when a key drifts or rows are missing."""
    from atp.commands import reconcile as command

    command.verify(command.Verify(facts, policy, nodes, now, as_json), sys.stdout, sys.stderr)

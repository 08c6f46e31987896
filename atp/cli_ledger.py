"""The commands `atp ledger …`: the daily ledger that finance closes, proves and restates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

ledger = typer.Typer(help="The daily ledger: close, show, verify, export.", no_args_is_help=True)
FactsFile = Annotated[
    Path | None, typer.Option("--facts", metavar="FACTS.jsonl", help="Facts, one JSON object a line.")
]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="With --facts: policies.")]
NodesFile = Annotated[Path | None, typer.Option("--nodes", help="With --facts: node reference.")]
Target = Annotated[str, typer.Option("--out", metavar="DIR", help="Folder, or any fsspec target.")]
OfRegion = Annotated[str | None, typer.Option("--region", help="This region only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Output for programs.")]


@ledger.command("close")
def ledger_close(
    out: Target,
    now: Annotated[str, typer.Option(help="RFC 3339 instant of the close.")],
    facts: FactsFile = None,
    policy: PolicyFile = None,
    nodes: NodesFile = None,
    region: OfRegion = None,
    with_csv: Annotated[bool, typer.Option("--csv", help="The rows as CSV too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close every business date that may be closed; restate what late facts have changed."""
    from atp.commands import ledger as command

    options = command.CloseOptions(out, now, region, with_csv, as_json)
    command.close_days(command.file_origin(facts, policy, nodes), options, sys.stdout)

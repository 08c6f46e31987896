"""The commands `atp ledger …`: the daily ledger that finance closes, proves and restates."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from atp.commands.ledger import Selection
    from atp.commands.ledger_close import Given

ledger = typer.Typer(help="The daily ledger: close, show, verify, export.", no_args_is_help=True)
FactsFile = Annotated[
    Path | None, typer.Option("--facts", metavar="FACTS.jsonl", help="Facts, one JSON object a line.")
]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="With --facts: policies.")]
NodesFile = Annotated[Path | None, typer.Option("--nodes", help="With --facts: node reference.")]
Target = Annotated[str, typer.Option("--out", metavar="DIR", help="Folder, or any fsspec target.")]
OfRegion = Annotated[str | None, typer.Option("--region", help="This region only.")]
Closed = Annotated[
    str | None,
    typer.Option("--out", metavar="DIR", help="What was closed there; without it, what the worker closed."),
]
Bootstrap = Annotated[str | None, typer.Option(help="Without --facts: Kafka servers; else ATP_BOOTSTRAP.")]
Servers = Annotated[str | None, typer.Option("--bootstrap", help="Without --out: Kafka servers; else ATP_BOOTSTRAP.")]
AsJson = Annotated[bool, typer.Option("--json", help="Output for programs.")]


def _given(facts: Path | None, policy: Path | None, nodes: Path | None, bootstrap: str | None) -> Given:
    """Where the facts are; the bootstrap servers go where the settings are read from."""
    from atp.commands.ledger_close import Given

    if bootstrap is not None:
        os.environ["ATP_BOOTSTRAP"] = bootstrap
    return Given(facts, policy, nodes, bootstrap is not None)


@ledger.command("close")
def ledger_close(
    out: Target,
    now: Annotated[str | None, typer.Option(help="RFC 3339 instant of the close; from a broker: now.")] = None,
    facts: FactsFile = None,
    policy: PolicyFile = None,
    nodes: NodesFile = None,
    region: OfRegion = None,
    with_csv: Annotated[bool, typer.Option("--csv", help="The rows as CSV too.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Close every business date that may be closed; restate what late facts have changed."""
    from atp.commands import ledger_close as command

    options = command.CloseOptions(out, now, region, with_csv, as_json)
    command.close_days(_given(facts, policy, nodes, bootstrap), options, sys.stdout, sys.stderr)


OfDate = Annotated[str | None, typer.Option("--date", help="This business date only.")]
OfRevision = Annotated[int | None, typer.Option("--revision", min=1, help="This revision; default: the latest.")]


def _selection(
    out: str | None, date: str | None, region: str | None, revision: int | None, bootstrap: str | None
) -> Selection:
    """Which revisions of which ledger: of a target, or of the worker on a broker."""
    from atp.commands.errors import WrongUseError
    from atp.commands.ledger import Selection

    if out is not None and bootstrap is not None:
        raise WrongUseError(
            f"--bootstrap = {bootstrap}: not with --out = {out}; a ledger of files, or the worker's on a broker"
        )
    if bootstrap is not None:
        os.environ["ATP_BOOTSTRAP"] = bootstrap
    return Selection(out, date, region, revision, bootstrap is not None)


@ledger.command("show")
def ledger_show(
    out: Closed = None,
    date: OfDate = None,
    region: OfRegion = None,
    revision: OfRevision = None,
    sku: Annotated[str | None, typer.Option(help="The rows of a SKU, with what explains them.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 unless all are final.")] = False,
    bootstrap: Servers = None,
    as_json: AsJson = False,
) -> None:
    """What was closed: status, completeness, movements, difference to operations, exceptions."""
    from atp.commands import ledger_show as command

    command.show(_selection(out, date, region, revision, bootstrap), sku, check, as_json, sys.stdout)


@ledger.command("verify")
def ledger_verify(
    out: Closed = None,
    facts: FactsFile = None,
    policy: PolicyFile = None,
    nodes: NodesFile = None,
    date: OfDate = None,
    region: OfRegion = None,
    revision: OfRevision = None,
    archive: Annotated[
        str | None, typer.Option("--archive", metavar="DIR", help="Without --out: has facts that the topics let go.")
    ] = None,
    bootstrap: Annotated[
        str | None, typer.Option(help="Has the facts, without --out the rows too; else ATP_BOOTSTRAP.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reckon what was closed again from its facts, and compare row by row."""
    from atp.commands import ledger as command

    given = _given(facts, policy, nodes, bootstrap)
    selection = command.Selection(out, date, region, revision, given.bootstrap)
    command.verify_days(given, selection, archive, as_json, sys.stdout)


@ledger.command("export")
def ledger_export(
    to: Annotated[str, typer.Option("--to", metavar="TARGET", help="Another folder or fsspec target.")],
    out: Closed = None,
    forms: Annotated[
        list[str] | None, typer.Option("--format", help="parquet, csv, beancount, hledger; may be repeated.")
    ] = None,
    date: OfDate = None,
    region: OfRegion = None,
    revision: OfRevision = None,
    bootstrap: Servers = None,
) -> None:
    """Write closed revisions elsewhere: Parquet, CSV, double-entry journals, always the same bytes."""
    from atp.commands import ledger as command

    selection = _selection(out, date, region, revision, bootstrap)
    command.export_days(selection, to, forms or ["parquet", "csv"], sys.stdout)


@ledger.command("report")
def ledger_report(
    out: Target,
    date: Annotated[str, typer.Option("--date", help="The business date.")],
    to: Annotated[str, typer.Option("--to", metavar="FILE.html", help="The page.")],
    region: OfRegion = None,
) -> None:
    """One page about a day, to read or print."""
    from atp.commands import ledger as command

    command.write_report(command.Selection(out, date, region), to, sys.stdout)


@ledger.command("year")
def ledger_year(
    first: Annotated[str, typer.Option("--from", help="First day.")] = "2010-12-01",
    last: Annotated[str, typer.Option("--until", help="Last day.")] = "2011-12-09",
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="Keep the ledger there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Close a whole year of real retail day by day, and hold its totals against the source's own rows."""
    from atp.commands import ledger_year as command

    command.run((first, last), out, as_json, sys.stdout, sys.stderr)

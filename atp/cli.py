"""The program `atp`. Exit codes: 0 good, 1 a check failed, 2 wrong use; errors are one clear line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from atp.cli_ledger import ledger
from atp.cli_reconcile import exceptions, reconcile
from atp.commands.errors import CommandError

app = typer.Typer(
    name="atp",
    help="Available-to-Promise per SKU and region, with a confidence flag per sales channel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(ledger, name="ledger")
app.add_typer(reconcile, name="reconcile")
app.add_typer(exceptions, name="exceptions")


@app.callback()
def program() -> None:
    """Available-to-Promise per SKU and region, with a confidence flag per sales channel."""


@app.command()
def fold(
    facts: Annotated[Path, typer.Argument(metavar="FACTS.jsonl", help="Facts, one JSON object a line.")],
    policy: Annotated[Path | None, typer.Option(help="Policies: JSON object, array or lines.")] = None,
    nodes: Annotated[Path | None, typer.Option(help="Node reference: JSON object, array or lines.")] = None,
    now: Annotated[str | None, typer.Option(help="RFC 3339 instant; default: highest recorded_at.")] = None,
) -> None:
    """Fold facts into canonical records, without a broker."""
    from atp.commands import fold as command

    command.run(facts, policy, nodes, now, sys.stdout.buffer, sys.stderr.buffer)


@app.command()
def worker(
    bootstrap: Annotated[str | None, typer.Option(help="Kafka servers, host:port; else ATP_BOOTSTRAP.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the local stores; else ATP_DATA_DIR.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warn or error.")] = "warn",
) -> None:
    """Run the Faust worker."""
    from atp.commands import worker as command

    environment(ATP_BOOTSTRAP=bootstrap, ATP_DATA_DIR=data_dir)
    command.run(log_level)


Bootstrap = Annotated[str | None, typer.Option(help="Kafka servers, host:port; else ATP_BOOTSTRAP.")]
AsJson = Annotated[bool, typer.Option("--json", help="Output for programs.")]


@app.command()
def publish(
    facts: Annotated[Path, typer.Argument(metavar="FACTS.jsonl", help="Records, one JSON object a line.")],
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge every line, produce nothing.")] = False,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Produce the valid lines.")] = False,
) -> None:
    """Validate a file of facts, then produce them to the right topics."""
    from atp.commands import publish as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.run(facts, command.Options(as_json, dry_run, skip_invalid), sys.stdout.buffer, sys.stderr.buffer)


@app.command()
def doctor(bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Check broker, topics, transactions, store, control documents and lag."""
    from atp.commands import doctor as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.run(as_json, sys.stdout)


contracts = typer.Typer(
    help="Schemas, AsyncAPI, data contract and topology, made from the code.", no_args_is_help=True
)
app.add_typer(contracts, name="contracts")
Papers = Annotated[Path, typer.Option("--folder", help="Where the papers lie.")]
PAPERS = Path("docs/contracts")


@contracts.command("write")
def contracts_write(folder: Papers = PAPERS) -> None:
    """Write the papers anew; refused when a schema changes in a way that breaks its readers or writers."""
    from atp.commands import contracts as command

    command.write(folder, sys.stdout)


@contracts.command("check")
def contracts_check(folder: Papers = PAPERS) -> None:
    """Check that the papers are as the code has them, and that no schema breaks anybody."""
    from atp.commands import contracts as command

    command.check(folder, sys.stdout)


@app.command()
def acls(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="worker, channel, finance, ops, or a source.")],
    principal: Annotated[str | None, typer.Option(help="User:NAME on the broker; else the role's name.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Create them at the broker.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """What a role may do on the broker, as kafka-acls commands, made from the catalogue of topics."""
    from atp.commands import acls as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.run(role, principal, apply, as_json, sys.stdout)


@app.command()
def status(as_json: AsJson = False) -> None:
    """What the workers say of their tasks: state, lag, restore progress. Asks ATP_WORKERS."""
    from atp.commands import status as command

    command.status(as_json, sys.stdout)


tasks = typer.Typer(help="Operate single partition tasks.", no_args_is_help=True)
app.add_typer(tasks, name="tasks")


@tasks.command("resume")
def tasks_resume(
    lane: Annotated[str, typer.Argument(metavar="LANE", help="Name of the lane, as `atp status` shows it.")],
    partition: Annotated[int, typer.Argument(metavar="PARTITION", min=0)],
) -> None:
    """Let a FAILED task take over again, once its cause was mended."""
    from atp.commands import status as command

    command.resume(lane, partition, sys.stdout)


letters = typer.Typer(help="What was refused, and its replay.", no_args_is_help=True)
app.add_typer(letters, name="dead-letters")
Ids = Annotated[list[str] | None, typer.Option("--id", help="topic/partition/offset; may be repeated.")]
OfTopic = Annotated[str | None, typer.Option("--topic", help="Only what came from this topic.")]
OfReason = Annotated[str | None, typer.Option("--reason", help="Only this reason code.")]
Since = Annotated[str | None, typer.Option("--since", help="Only letters written since this RFC 3339 instant.")]


@letters.command("list")
def dead_letters_list(
    ids: Ids = None,
    topic: OfTopic = None,
    reason: OfReason = None,
    since: Since = None,
    each: Annotated[bool, typer.Option("--each", help="Every letter with its value.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 when there is one.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Dead letters by topic and reason, with first and last seen."""
    from atp.commands import dead_letters as command

    environment(ATP_BOOTSTRAP=bootstrap)
    selection = command.Selection.of(ids or [], topic, reason, since)
    command.list_letters(selection, each, check, as_json, sys.stdout)


@letters.command("replay")
def dead_letters_replay(
    ids: Ids = None,
    topic: OfTopic = None,
    reason: OfReason = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge every letter, send nothing.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Send refused records again, unchanged and with their event id, once they are good."""
    from atp.commands import dead_letters as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.replay(command.Selection.of(ids or [], topic, reason, since), dry_run, as_json, sys.stdout)


@app.command()
def replay(
    since: Annotated[str, typer.Option(help="RFC 3339 instant: facts recorded from here.")],
    until: Annotated[str, typer.Option(help="RFC 3339 instant: facts recorded before this.")],
    source: Annotated[str | None, typer.Option(help="Facts of this source only.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the facts, send nothing.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Send the facts of a span again, unchanged; report what that changed. Nothing should: else exit code 1."""
    from atp.commands import fact_replay as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.run(command.Span.of(since, until, source), dry_run, as_json, sys.stdout)


@app.command()
def explain(
    sku: Annotated[str, typer.Argument(metavar="SKU")],
    region: Annotated[str, typer.Argument(metavar="REGION")],
    facts: Annotated[Path | None, typer.Option(help="Explain from a file instead of the broker.")] = None,
    policy: Annotated[Path | None, typer.Option(help="With --facts: policies.")] = None,
    nodes: Annotated[Path | None, typer.Option(help="With --facts: node reference.")] = None,
    now: Annotated[str | None, typer.Option(help="RFC 3339 instant; default: as the worker takes it.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every fact, not only those that tell.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """The waterfall of one record: every component of the number, with the facts behind it."""
    from atp.commands import explain as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.run(sku, region, command.Options(facts, policy, nodes, now, every, as_json), sys.stdout)


@app.command()
def facade(
    bootstrap: Bootstrap = None,
    port: Annotated[int | None, typer.Option(help="Port; else ATP_FACADE_PORT.")] = None,
) -> None:
    """Serve channels over HTTP, and the operations console at /."""
    from atp.commands import facade as command

    environment(ATP_BOOTSTRAP=bootstrap, ATP_FACADE_PORT=port)
    command.run(sys.stdout)


@app.command("api-key")
def api_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will use it.")],
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Its sales channel; * for operators.")],
    per_second: Annotated[int, typer.Option(min=1, help="Look-ups a second.")] = 1000,
) -> None:
    """Make an API key for the façade: its row to standard output, the key to standard error."""
    from atp.commands import facade as command

    command.make_key(name, channel, per_second, sys.stdout, sys.stderr)


drill = typer.Typer(help="Exercises with known truth.", no_args_is_help=True)
app.add_typer(drill, name="drill")


@drill.command("game-day")
def drill_game_day(
    seed: Annotated[int | None, typer.Option(help="Which degradation; default: by the clock.")] = None,
    limit_s: Annotated[int, typer.Option("--limit", min=1, help="Seconds the operator has.")] = 900,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Put a product on this machine into a random degradation; score the time to the right action."""
    from atp.commands import game_day as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.run(seed, limit_s, as_json, sys.stdout)


@drill.command("black-friday")
def drill_black_friday(
    seed: Annotated[int, typer.Option(min=0, help="Which day; the same seed is the same day.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="So many seeds, from --seed on.")] = 1,
    trouble: Annotated[str | None, typer.Option(metavar="NAME", help="One trouble; default: all five.")] = None,
    clean: Annotated[bool, typer.Option("--clean", help="No trouble at all.")] = False,
    real: Annotated[bool, typer.Option("--real", help="Sales of a real day instead of the curve at 10×.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Where to draw the day, .png or .svg.")] = None,
    as_json: AsJson = False,
) -> None:
    """Play a Black Friday with known truth under three policies, and score what each sold and refused."""
    from atp.commands import black_friday as command

    command.run(command.Options(seed, seeds, trouble, clean, real, picture, as_json), sys.stdout)


modes = typer.Typer(help="How confidently each channel may sell.", no_args_is_help=True)
app.add_typer(modes, name="modes")


@modes.command("list")
def modes_list(
    region: Annotated[str | None, typer.Option(help="This region only.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 when a channel is not CONFIDENT.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Every mode that is not CONFIDENT, or was not: kind of degradation, causes, since when, why."""
    from atp.commands import modes as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.list_modes(as_json, sys.stdout, region, check)


@modes.command("set")
def modes_set(
    region: Annotated[str, typer.Argument(metavar="REGION")],
    channel: Annotated[str, typer.Argument(metavar="CHANNEL")],
    mode: Annotated[str, typer.Argument(metavar="CONFIDENT|CONSERVATIVE|SUSPENDED")],
    reason: Annotated[str, typer.Option(help="Why, for those who read it later.")] = "",
    hours: Annotated[int, typer.Option(min=0, help="How long it holds, h; 0: until it is taken back.")] = 24,
    bootstrap: Bootstrap = None,
) -> None:
    """Ask for a mode by hand, with a reason and an end; CONFIDENT takes the word back."""
    from atp.commands import modes as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.set_mode(region, channel, mode, reason, sys.stdout, hours)


route = typer.Typer(help="Who answers: legacy mart or product.", no_args_is_help=True)
app.add_typer(route, name="route")


@route.command("list")
def route_list(bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Who answers which (region, channel)."""
    from atp.commands import route as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.list_routes(as_json, sys.stdout)


@route.command("set")
def route_set(
    region: Annotated[str, typer.Argument(metavar="REGION")],
    channel: Annotated[str, typer.Argument(metavar="CHANNEL")],
    answers: Annotated[str, typer.Argument(metavar="LEGACY|PRODUCT")],
    reason: Annotated[str, typer.Option(help="Why, for those who read the list.")] = "",
    bootstrap: Bootstrap = None,
) -> None:
    """Say who answers a (region, channel) from now on."""
    from atp.commands import route as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.set_route(region, channel, answers, reason, sys.stdout)


@route.command("compare")
def route_compare(
    mart: Annotated[Path | None, typer.Option(help="The legacy mart, CSV or Parquet; else ATP_LEGACY_MART.")] = None,
    region: Annotated[str | None, typer.Option(help="This region only.")] = None,
    channel: Annotated[str | None, typer.Option(help="This channel only.")] = None,
    at_least: Annotated[
        float | None, typer.Option(min=0, max=100, help="Exit code 1 when fewer percent of the keys agree.")
    ] = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Compare legacy mart and product: agreement, over, under."""
    from atp.commands import route as command

    environment(ATP_BOOTSTRAP=bootstrap)
    command.compare(mart, region, channel, as_json, sys.stdout, at_least)


@app.command()
def dev(
    port: Annotated[int | None, typer.Option(help="Port of the broker; else a free one.")] = None,
    console_port: Annotated[int | None, typer.Option(help="Port of the console; else a free one.")] = None,
) -> None:
    """Run an embedded broker, a worker and the console until Ctrl-C."""
    from atp.commands import dev as command

    command.run(port, console_port, sys.stdout)


@app.command()
def demo(
    full: Annotated[bool, typer.Option("--full", help="The whole year instead of its last quarter.")] = False,
    speed: Annotated[float | None, typer.Option(help="Seconds of replay per second; default: full speed.")] = None,
    broker: Annotated[str | None, typer.Option(help="host:port of a broker with fresh topics; else our own.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="DAYS", help="Replay so many days only.")] = None,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Summary as JSON; progress on standard error.")] = False,
) -> None:
    """Replay real retail sales through broker and worker, then check against an independent fold."""
    from atp.commands import demo as command

    command.run(command.Options(full, speed, broker, limit, workers, as_json), sys.stdout, sys.stderr)


def environment(**given: object) -> None:
    """Options win over the environment; the settings are read from there."""
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})


def main() -> None:
    """Run the program; every expected error ends as one line on standard error."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except CommandError as error:
        sys.stderr.write(f"atp: {error}\n")
        sys.exit(error.code)
    except TyperException as error:
        sys.stderr.write(f"atp: {error.format_message()} (see `atp --help`)\n")
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

"""Tables of the documentation, made from the code that they describe.

    python -m docs.generate     writes every table anew; a test fails while one is out of date

A table stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; the rest of a page is written by hand.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, get_args, get_origin

import typer

from atp import cli, monitoring, topics
from atp.commands import contracts
from atp.domain.journal import MERGED_CHUNKS, TAIL_ENTRIES
from atp.lane.marks import CHUNK_MARKS
from atp.lane.spread import BUCKET_ROWS
from atp.settings import Settings, is_secret
from bench import bounds

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/settings.md", "docs/architecture.md", "runbooks/README.md", "bench/README.md")
BLOCK = re.compile(r"(?P<head><!-- generated: (?P<name>\w+) -->\n).*?(?P<foot><!-- end: (?P=name) -->)", re.DOTALL)

# The commands of the wire contract's command line; those that the program does not have are named as missing.
CONTRACT = (
    "demo", "worker", "dev", "fold", "explain", "publish", "reconcile", "exceptions", "modes", "dead-letters",
    "ledger", "drill", "doctor",
)  # fmt: skip

# What keeps each table from growing for ever, or lets it grow.
BOUNDS = {
    "sku_heads": "a row per SKU; in it the nodes and regions that its facts named",
    "marks": "24 bytes a mark; making room drops what has expired (events, receipt and damage versions: "
    "`journal_hours`; line versions: `memory_days`; open lines and damage documents stay)",
    "receipt_lines": "a row per line, never dropped: its next version is understood only against the one before; "
    "of its versions those stay that can still be re-dated, and the latest two",
    "supply": "a row per SKU; an entry per node, stage and eta with open units",
    "damage_documents": "as receipt lines, a row per document",
    "stock": f"a row per SKU and node; fewer than {TAIL_ENTRIES} entries of the journal, the counts of "
    "`journal_hours` and one before",
    "stock_journal_indexes": "a span per chunk that is kept",
    "stock_journal_chunks": f"{TAIL_ENTRIES} entries each, {MERGED_CHUNKS} such chunks merged into one; dropped when "
    "older than `journal_hours` and clear of every baseline",
    "reservation_lines": "known versions of a line; a closed or lapsed line is dropped after `memory_days`, with the "
    "next write of its bucket",
    "demand": "sums by place and due date; live soft lines and unsettled ships; units used of about three days",
    "source_totals": "a row per source and region: the facts of 48 hours by topic, and numbers until they are told",
    "homeless_totals": "a row per source and node, until the reference knows the node: facts of 48 hours by topic",
    "arrivals": "a row per region and source: counts of 48 hours by partition, at most 64 bitmaps of numbers",
    "truths": "a row per SKU: the latest snapshot's of every node and region, and those that wait, of at most five",
    "exceptions": "a row per SKU with exceptions that are not settled",
    "snapshot_waiting": "a row per 512 SKUs of a snapshot under way; dropped once they are compared",
    "snapshot_progress": "one row per partition: a few figures per source and region, and per snapshot under way",
    "ledger_tails": "a row per SKU of at most 12 movements",
    "ledger_chunks": "movements of the last 72 hours and those that came in them; older ones are settled",
    "ledger_accounts": "a row per SKU; in it stock by node, 14 days of entries, movements that came too late for "
    "their date until a count has seen them",
    "ledger_documents": "at most two versions of a settled document for each of two books; never dropped",
    "ledger_walks": "one row per partition; in it the sums of 7 dates by region",
    "ledger_late": "a row per SKU with late facts on closed dates, until those are restated",
    "ledger_days": "a row per region; in it 7 dates",
    "availability": "a row per published key, two numbers; never dropped",
    "freshness": "a row per region; in it sketches of two hours by source, checks of a day by hour",
    "modes": "a row per region; in it the snapshots that wait for partitions (at most 8 per source), the causes that "
    "stand, operators' words and the last row of every channel",
}
KINDS = {
    "table": "rows",
    "spread_table": f"hash buckets of {BUCKET_ROWS} rows",
    "mark_table": f"a tail and sealed chunks of {CHUNK_MARKS} marks",
}


class TableRow(NamedTuple):
    """One table of the lane as `tables/*.py` declares it."""

    name: str
    kind: str
    key: str
    row: str
    meaning: str
    writer: str


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def topics_table() -> str:
    """The catalogue of topics."""
    return markdown(
        ["topic", "role", "key", "written by", "read by", "partitions", "kept"],
        [
            [
                f"`{topic.name}`", topic.role.value, f"`{topic.key}`", topic.writer, topic.readers,
                "all" if topic.co_partitioned else "1",
                "compacted" if topic.compacted else f"{topic.retention_ms // topics.DAY_MS} days",
            ]
            for topic in topics.CATALOGUE
        ],
    )  # fmt: skip


def commands() -> dict[str, Any]:
    """The commands of the program by name, those of a group as `group command`."""
    return dict(_flat(typer.main.get_command(cli.app), ""))


def _flat(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _flat(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def options_of(command: Any) -> list[str]:
    """The words a command takes: its arguments, then its options."""
    shown = []
    for part in command.params:
        if part.param_type_name == "option":
            shown.append(max(part.opts, key=len))
        else:
            shown.append(part.metavar or part.name.upper())
    return [word for word in shown if word != "--help"]


def commands_table() -> str:
    """The commands that exist, and by name those that do not yet."""
    found = commands()
    rows = []
    for name, command in sorted(found.items()):
        taken = " ".join(word if word[0] != "-" else f"[{word}]" for word in options_of(command))
        rows.append([f"`atp {name}{' ' + taken if taken else ''}`", (command.help or "").split("\n")[0]])
    groups = {name.partition(" ")[0] for name in found}
    missing = [f"`atp {name}`" for name in CONTRACT if name not in groups]
    text = markdown(["command", "does"], rows)
    if missing:
        text += "\n" + textwrap.fill(f"Not built yet: {', '.join(missing)}.", 118) + "\n"
    if "demo" not in found:
        text += "`make demo` needs `atp demo`, so it ends with an error for now.\n"
    return text


def settings_table() -> str:
    """The environment variables of the worker."""
    rows = []
    for name, field in Settings.model_fields.items():
        shown = str(field.default).lower() if isinstance(field.default, bool) else field.default
        default = "" if shown is None else f"`{shown}`"
        allowed = allowed_values(field.annotation, field.metadata)
        variable = f"`ATP_{name.upper()}`"
        if is_secret(name):
            variable += f" or `ATP_{name.upper()}_FILE`"
        rows.append([variable, allowed, default, field.description or ""])
    return markdown(["variable", "allowed", "default", "meaning"], rows)


def allowed_values(annotation: Any, metadata: list[Any]) -> str:
    """What a setting takes, in words."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if isinstance(annotation, UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    names = {bool: "true, false", int: "integer", str: "text", Path: "path", "SecretStr": "secret"}
    word = names.get(annotation) or names[annotation.__name__]
    least = next((m.ge for m in metadata if hasattr(m, "ge")), None)
    most = next((m.le for m in metadata if hasattr(m, "le")), None)
    if least is None:
        return word
    return f"{word} ≥ {least}" if most is None else f"{word} {least}–{most}"


def declared_tables() -> Iterator[TableRow]:
    """Every table in `tables/*.py`, read from the source: no app is built for it."""
    for path in sorted((ROOT / "tables").glob("*.py")):
        source = path.read_text()
        tree = ast.parse(source)
        head = re.match(r"Written by (agents/\w+)", ast.get_docstring(tree) or "")
        modules = {a.name: n.module for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        for node in tree.body:
            call = node.value if isinstance(node, ast.Assign) else None
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            if call.func.attr not in KINDS or head is None:
                continue
            yield _declared(call, source.splitlines()[call.lineno - 1], modules, head[1])


def _declared(call: ast.Call, line: str, modules: dict[str, str | None], writer: str) -> TableRow:
    assert isinstance(call.func, ast.Attribute)
    row, meaning = "", ""
    for keyword in call.keywords:
        row = keyword.value.id if isinstance(keyword.value, ast.Name) else ""
        doc = getattr(importlib.import_module(modules[row] or ""), row).__doc__
        meaning = " ".join(doc.split("\n\n")[0].split())
    key = re.search(r"# key: (.*)$", line)
    name = ast.literal_eval(call.args[0])
    return TableRow(name, call.func.attr, key[1] if key else "(sku, hash)", row, meaning, writer)


def stages() -> list[str]:
    """The stages of both lanes in their order, as `atp/app.py` names them."""
    found = re.findall(r"^(?:REGION_)?STAGES = (\[.*?\])$", (ROOT / "atp/app.py").read_text(), re.M | re.S)
    assert len(found) == 2, "atp/app.py has no STAGES, or no REGION_STAGES"
    return [stage for stages in found for stage in ast.literal_eval(stages)]


def tables_table() -> str:
    """The tables of both topologies, in the order of the stages that write them."""
    order = [f"agents/{stage}" for stage in stages()]
    return markdown(
        ["table", "key", "row", "stored as", "written by", "what bounds it"],
        [
            [
                f"`{t.name}`", f"`{t.key}`",
                f"`{t.row}`: {t.meaning}" if t.row else "marks that tell what was seen",
                KINDS[t.kind], f"`{t.writer}`", BOUNDS[t.name],
            ]
            for t in sorted(declared_tables(), key=lambda t: order.index(t.writer))
        ],
    )  # fmt: skip


def alerts_table() -> str:
    """Every runbook with the alerts that lead to it, and those that it names beside them."""
    rows = []
    for path in sorted((ROOT / "runbooks").glob("*.md")):
        title, *_ = path.read_text().splitlines()
        if path.stem != "README":
            shown = sorted(alert.name for alert in monitoring.ALERTS if alert.runbook == path.stem)
            seen = [name for name in named_alerts(path.read_text()) if name not in shown]
            named = title.removeprefix("# ")
            cells = [f"`{name}`" for name in shown] + [f"`{name}` (see too)" for name in seen]
            rows.append([f"[{named[0].lower()}{named[1:]}]({path.name})", ", ".join(cells) or "none"])
    return markdown(["page", "alerts"], rows)


def named_alerts(page: str) -> list[str]:
    """The alerts that a runbook page names at its top."""
    head = re.search(r"^Alerts: (.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    return re.findall(r"`(Atp\w+)`", head[1]) if head else []


def recovery_table() -> str:
    """What the kept run of `bench.recovery` found, beside the numbers to reach."""
    return markdown(bounds.HEAD, bounds.rows(json.loads((ROOT / "bench/recovery.json").read_text())))


MAKERS: dict[str, Callable[[], str]] = {
    "topics": topics_table,
    "commands": commands_table,
    "settings": settings_table,
    "tables": tables_table,
    "recovery": recovery_table,
    "alerts": alerts_table,
}


def render(text: str) -> str:
    """A page with every generated block made anew."""
    return BLOCK.sub(lambda found: found["head"] + MAKERS[found["name"]]() + found["foot"], text)


def main() -> None:
    """Write the pages whose tables have changed, and name them."""
    for name in PAGES:
        path = ROOT / name
        before = path.read_text()
        after = render(before)
        if after != before:
            path.write_text(after)
            sys.stdout.write(f"{name}\n")
    for name, text in monitoring.files().items():
        if not (ROOT / name).exists() or (ROOT / name).read_text() != text:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(text)
            sys.stdout.write(f"{name}\n")
    contracts.write(ROOT / "docs/contracts", sys.stdout)


if __name__ == "__main__":
    main()

"""The documentation against the code: tables are current, commands and links exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from atp.domain import modes
from atp.lane import errors
from docs import generate

RUNBOOKS = [f"runbooks/{path.name}" for path in (generate.ROOT / "runbooks").glob("*.md")]
PAGES = [
    "README.md",
    "CHANGELOG.md",
    "bench/README.md",
    "docs/architecture.md",
    "docs/decisions.md",
    "docs/settings.md",
    *RUNBOOKS,
]
WITH_COMMANDS = ["README.md", *RUNBOOKS, "CHANGELOG.md"]
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCED = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(atp [a-z][^`]*)`")


def page(name: str) -> str:
    """The text of a page."""
    return (generate.ROOT / name).read_text()


def command_lines(name: str) -> Iterator[list[str]]:
    """What a page tells people to run: the words after `atp`, from inline code and code blocks."""
    text = generate.BLOCK.sub("", page(name)).replace("\\\n", " ")
    for found in INLINE.findall(text):
        yield shlex.split(found)[1:]
    fenced = [line for block in FENCED.findall(text) for line in block.splitlines()]
    for line in [f"    {line}" for line in fenced] + text.splitlines():
        words = shlex.split(line, comments=True) if re.match(r"^(    |\[|[A-Z_]+=|\.venv/bin/atp )", line) else []
        names = ["" if "=" in word else word.rpartition("/")[2] for word in words]
        if "atp" in names:
            yield words[names.index("atp") + 1 :]


@pytest.mark.parametrize("name", generate.PAGES)
def test_generated_tables_are_current(name: str) -> None:
    """Topics, commands, settings and tables read as the code has them; `python -m docs.generate` writes them anew."""
    text = page(name)
    assert generate.BLOCK.search(text)
    assert generate.render(text) == text


def test_every_table_has_its_bound() -> None:
    """Whoever adds a table says what keeps it from growing, and no bound is left behind by a table that went."""
    assert {table.name for table in generate.declared_tables()} == set(generate.BOUNDS)


def test_every_table_is_written_by_an_agent_that_exists() -> None:
    """The writer that a table's module names is a stage with an agent of that name."""
    for table in generate.declared_tables():
        assert table.writer.removeprefix("agents/") in generate.stages()
        assert (generate.ROOT / f"{table.writer}.py").exists()


def test_the_drawn_flow_has_every_stage() -> None:
    """The data flow in the README shows the stages of the app, in their order."""
    drawn = re.findall(r"\[ (\w+) \]", page("README.md"))
    assert drawn == generate.stages()


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_that_people_are_told_exist(name: str) -> None:
    """Every `atp …` that a page tells people to run is a command of the program, with options it takes."""
    known = generate.commands()
    told = list(command_lines(name))
    assert told
    groups = {command.partition(" ")[0] for command in known if " " in command}
    for words in told:
        command = " ".join(words[:2]) if words[0] in groups else words[0]
        if command in groups:  # the group as a whole, as in `atp dead-letters`
            continue
        assert command in known, f"atp {command}"
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= set(generate.options_of(known[command])), f"atp {command}"


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """Every link to a file of the project finds it."""
    folder = (generate.ROOT / name).parent
    missing = [link for link in LINK.findall(page(name)) if "://" not in link and not (folder / link).exists()]
    assert not missing


def test_every_runbook_that_is_named_exists() -> None:
    """Whatever the product names as a page for people in need, in a mode, a score or a document, is there."""
    places = [
        path for folder in ("atp", "agents", "docker", "docs") for path in (generate.ROOT / folder).rglob("*.*")
    ]
    texts = [path.read_text() for path in places if path.suffix in {".py", ".md", ".json", ".yaml", ".html", ".js"}]
    named = {name for text in [*texts, page("README.md")] for name in re.findall(r"\brunbooks/[\w-]+\.md", text)}
    assert named >= {*modes.RUNBOOKS.values(), modes.BOTH_KINDS}
    assert named <= set(RUNBOOKS)


def test_files_to_start_with_exist() -> None:
    """The README's reading list and layout name files and folders that are there."""
    text = page("README.md")
    named = re.findall(r"^\d\. `([\w/.]+)`", text, re.MULTILINE)
    assert len(named) == 5
    layout = text.partition("## Layout")[2].partition("## ")[0]
    named += re.findall(r"^(\w+)/ ", layout, re.MULTILINE)
    named += [f"atp/{inner}" for inner in re.findall(r"\b(\w+\.py)\b", layout) if inner != "generate.py"]
    assert [name for name in named if not (generate.ROOT / name).exists()] == []


def test_every_decision_is_complete() -> None:
    """An entry says what, why and what else was possible, and bears its date."""
    entries = page("docs/decisions.md").split("\n### ")[1:]
    for entry in entries:
        assert re.search(r"\(\d{4}-\d\d-\d\d\)$", entry.splitlines()[0]), entry.splitlines()[0]
        assert all(word in entry for word in ("**What.**", "**Why.**", "**Alternatives.**")), entry.splitlines()[0]


def test_reasons_in_the_runbooks_are_those_of_the_engine() -> None:
    """Every reason that a runbook quotes is an error of the lane, in the words of its source."""
    source = "".join(path.read_text() for path in (generate.ROOT / "atp/lane").glob("*.py"))
    quoted = re.findall(r"^\| `(\w+Error)(?:: ([^`]*))?` \|", page("runbooks/task-failed.md"), re.MULTILINE)
    assert quoted
    for name, words in quoted:
        assert issubclass(getattr(errors, name), errors.LaneError)
        assert [part for part in words.split("…") if part.strip() not in source] == []

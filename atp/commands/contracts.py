"""`atp contracts`: the product's papers, written from the code or checked against it."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from atp.commands.errors import CommandError
from atp.contracts import papers


def write(folder: Path, out: IO[str]) -> None:
    """Write the papers, unless a schema would break its readers or writers."""
    refuse_breaking(folder)
    out.writelines(f"{folder / name}\n" for name in papers.write(folder))


def check(folder: Path, out: IO[str]) -> None:
    """Raise when the papers are not those of this code."""
    refuse_breaking(folder)
    changed = papers.outdated(folder)
    if changed:
        raise CommandError(f"{folder}: {', '.join(changed)} differ from the code; see `atp contracts write`")
    out.write(f"{len(papers.papers())} papers in {folder} are as the code has them\n")


def refuse_breaking(folder: Path) -> None:
    """A breaking change needs a new major version, that is, a new topic."""
    wrong = papers.breaking(folder)
    if wrong:
        raise CommandError(f"{folder}: breaking change, a new major version (topic) is needed: {'; '.join(wrong)}")

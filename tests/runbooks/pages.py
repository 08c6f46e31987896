"""Runbook pages as their reader meets them: sections in order, and the command blocks in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

RUNBOOKS = Path(__file__).parents[2] / "runbooks"
SECTIONS = ("What people see", "Never", "Do", "Verify", "Tell")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Page(NamedTuple):
    """One page; `sections`: text by heading, in the order of the page."""

    stem: str
    title: str
    sections: dict[str, str]

    @property
    def actions(self) -> str:
        """The commands of `Do`, as one script."""
        return "\n".join(BLOCK.findall(self.sections["Do"]))

    @property
    def verification(self) -> str:
        """The commands of `Verify`: they end with 0 when the degradation is over."""
        return "\n".join(BLOCK.findall(self.sections["Verify"]))


def read(path: Path) -> Page:
    """A page from its file."""
    head, *parts = re.split(r"^## ", path.read_text(), flags=re.MULTILINE)
    sections = dict(part.split("\n", 1) for part in parts)
    return Page(path.stem, head.splitlines()[0].removeprefix("# "), sections)


def pages() -> list[Page]:
    """Every page but the index."""
    return [read(path) for path in sorted(RUNBOOKS.glob("*.md")) if path.stem != "README"]

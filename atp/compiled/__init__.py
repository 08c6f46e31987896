"""Compiled modules: the inner loop's own sources through Cython where a C compiler exists, else interpreted.

There is one source, the Python file. `make setup` compiles those below into `.cache/compiled`, each under the
digest of its source: a compiled module is used only for exactly the text that it was made from, so that an edit is
never shadowed, and nothing has to be rebuilt for the program to be right. `ATP_COMPILED=never` switches it off.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".cache" / "compiled"
DOMAIN = (
    "as_of", "availability", "daily_ledger", "damages", "decoding", "documents", "fold", "intake", "journal", "lags",
    "lateness", "ledger_account", "ledger_book", "ledger_days", "ledger_demand", "ledger_difference", "ledger_rows",
    "ledger_rules", "ledger_settle", "ledger_walk", "nodes", "policy", "receipts", "reconciliation", "record",
    "reservations", "resolution", "routing", "rows", "series", "snapshots", "stock", "times", "totals", "truth",
)  # fmt: skip
LANE = ("batch", "buffer", "kafka_reader", "keys", "linear", "marks", "pack", "rows", "spread", "table")
AGENTS = ("availability", "intake", "lags", "ledger", "receipts", "reconciliation", "reservations", "stock")
RETAIL = ("lines", "outbox", "papers", "time")  # what makes the facts of the demo beside the worker
MODULES = (
    *(f"atp.domain.{name}" for name in DOMAIN),
    *(f"atp.lane.{name}" for name in LANE),
    "atp.fact_tally",
    *(f"agents.{name}" for name in AGENTS),
    *(f"atp.sources.retail_{name}" for name in RETAIL),
)


def source_of(module: str) -> Path:
    """The Python file of a module."""
    return ROOT / f"{module.replace('.', '/')}.py"


def place_of(module: str) -> Path:
    """Where the compiled form of a module lies, as its source stands now."""
    digest = hashlib.sha256(source_of(module).read_bytes()).hexdigest()[:16]
    return FOLDER / f"{module}.{digest}{EXTENSION_SUFFIXES[0]}"


class Compiled(MetaPathFinder):
    """Finds the compiled form of a module, if there is one for its present source."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The compiled module, or None: the interpreter reads the source."""
        if fullname not in MODULES or not (found := place_of(fullname)).exists():
            return None
        return spec_from_file_location(fullname, found, loader=ExtensionFileLoader(fullname, str(found)))


def use() -> None:
    """Let compiled modules stand in for their sources from now on."""
    if FOLDER.is_dir() and os.environ.get("ATP_COMPILED") != "never":
        sys.meta_path.insert(0, Compiled())

"""The house rules that a machine can hold: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# For each room: what it must never import.
NEVER = {
    "atp/domain": (
        "faust",
        "aiokafka",
        "confluent_kafka",
        "rocksdict",
        "structlog",
        "atp.lane",
        "atp.app",
        "agents",
        "tables",
    ),
    "atp/lane": ("atp.domain", "atp.app", "atp.topics", "atp.commands", "agents", "tables"),
    "atp/contracts": ("faust", "aiokafka", "confluent_kafka", "atp.app", "atp.commands", "agents", "tables"),
    "tables": ("agents", "atp.commands", "atp.worker"),
    "atp/sources": ("faust", "aiokafka", "atp.lane", "atp.app", "agents", "tables"),
}
CORE_OF_THE_LANE = ("task.py", "batch.py", "table.py", "spread.py", "marks.py", "rows.py", "buffer.py", "recovery.py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def within(module: str, package: str) -> bool:
    """Whether a module is a package or lies in it."""
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("room", NEVER)
def test_imports_run_one_way(room: str) -> None:
    """Domain, engine, tables and adapters import nothing that stands above them."""
    broken = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / room).rglob("*.py")
        for module in imports(path)
        if any(within(module, package) for package in NEVER[room])
    ]
    assert not broken


def test_agents_never_import_agents() -> None:
    """Agents speak through the lane and the tables, never to each other."""
    broken = [str(path) for path in (ROOT / "agents").glob("*.py") if any(within(m, "agents") for m in imports(path))]
    assert not broken


@pytest.mark.parametrize("name", CORE_OF_THE_LANE)
def test_core_of_the_lane_knows_neither_faust_nor_aiokafka(name: str) -> None:
    """The protocol runs on ports, so that a simulation can run it too."""
    found = imports(ROOT / "atp/lane" / name)
    assert not [m for m in found if within(m, "faust") or within(m, "aiokafka") or within(m, "mode")]


def test_domain_never_reads_the_clock() -> None:
    """Time is an argument: no call of now(), today() or time() in the domain."""
    clocks = {"now", "today", "time", "monotonic", "utcnow"}
    broken = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "atp/domain").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks
    ]
    assert not broken

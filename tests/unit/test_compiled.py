"""Compiled modules: only ever the present source, and never another answer than the interpreter's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atp import compiled

SAME = """
import itertools
from atp import compiled
from atp.domain import fold, intake
from atp.domain.decoding import decode
from atp.domain.nodes import Node
from atp.domain.record import content_bytes, digest
from atp.lane import marks
from bench.workload import NODES, REGIONS, Workload

state, world = fold.State.in_memory(), fold.World()
for region, nodes in zip(REGIONS, NODES):
    world.nodes.update({node.decode(): Node(node.decode(), region.decode()) for node in nodes})
skus, now_ms = set(), 0
for record in itertools.islice(Workload(4000, skus=50), 4000):
    fact, now_ms = decode(record.topic, record.value), record.recorded_ms
    assert isinstance(fold.apply(fact, state, intake.Horizons(), now_ms), intake.Admitted)
    skus.add(fact.sku)
for sku in sorted(skus):
    for region, reckoning in fold.reckon(sku, state, world, intake.Horizons(), now_ms):
        print(sku, region, digest(content_bytes(reckoning.content)))
chunk = marks.Chunk(1, 3, {key: key.to_bytes(16, "big") for key in range(40)})
print(marks.encode(chunk).hex())
print(intake.__file__.endswith(".py"))
"""


def answers(mode: str) -> list[str]:
    """What the benchmark's first facts give in a process of its own, and whether it was interpreted."""
    environment = os.environ | {"ATP_COMPILED": mode, "PYTHONPATH": str(compiled.ROOT)}
    run = subprocess.run([sys.executable, "-c", SAME], env=environment, capture_output=True, text=True, check=True)
    return run.stdout.split("\n")


def test_compiled_and_interpreted_give_the_same() -> None:
    """The same facts give the same records and the same stored bytes either way."""
    if not compiled.place_of("atp.domain.intake").exists():
        pytest.skip("not compiled here: `make compiled`")
    *made, interpreted, _ = answers("auto")
    assert interpreted == "False"
    assert [*made, "True", ""] == answers("never")


def test_an_edited_source_is_not_shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled from another text is not found."""
    module, finder = compiled.MODULES[0], compiled.Compiled()
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    compiled.source_of(module).parent.mkdir(parents=True)
    compiled.source_of(module).write_text("one = 1")
    compiled.place_of(module).write_bytes(b"")
    assert finder.find_spec(module, None) is not None
    compiled.source_of(module).write_text("one = 2")
    assert finder.find_spec(module, None) is None


def test_every_compiled_module_is_there() -> None:
    """The list names files that exist."""
    assert [module for module in compiled.MODULES if not compiled.source_of(module).exists()] == []

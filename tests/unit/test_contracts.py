"""The product's papers: current, valid by their standards, true of real values, and no breaking change unnoticed."""

from __future__ import annotations

import copy
import importlib.resources
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atp import topics
from atp.brokers.jars import cache_folder
from atp.commands.fold import fold_file
from atp.contracts import papers, schemas, topology
from atp.contracts.compatibility import problems
from atp.domain.decoding import decode
from atp.domain.fold import World
from atp.domain.refusals import Refusal
from atp.topics import BY_NAME
from tests.cli import atp, count, is_one_line, node, placed, policy
from tests.unit.fact_histories import histories

FOLDER = Path(__file__).resolve().parents[2] / "docs/contracts"
SPECS = "@asyncapi/specs@6.11.1"
Schema = dict[str, Any]


def validator(schema: Schema) -> jsonschema.Draft202012Validator:
    """A validator that also looks at formats."""
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


CLOSED = {topic.name: validator(schemas.producer(topic)) for topic in schemas.TYPED}
OPEN = {topic.name: validator(schemas.consumer(topic)) for topic in schemas.TYPED}


def test_the_papers_are_current() -> None:
    """What is committed is what the code makes, and breaks nobody."""
    assert papers.breaking(FOLDER) == []
    assert papers.outdated(FOLDER) == []


@pytest.mark.parametrize("topic", schemas.TYPED, ids=lambda topic: topic.name)
def test_schemas_are_schemas(topic: topics.Topic) -> None:
    """Both readings of every topic are valid JSON Schema 2020-12."""
    for make in papers.READINGS.values():
        jsonschema.Draft202012Validator.check_schema(make(topic))


@given(histories())
def test_facts_satisfy_both_readings(history: list[tuple[str, dict[str, Any]]]) -> None:
    """A generated fact is valid in both readings; with an unknown field the closed one alone refuses it."""
    for topic, fact in history:
        assert CLOSED[topic].is_valid(fact), list(CLOSED[topic].iter_errors(fact))
        newer = {**fact, "field_of_a_later_version": 1}
        assert not CLOSED[topic].is_valid(newer)
        assert OPEN[topic].is_valid(newer)


@given(histories(), st.data())
def test_what_the_schema_refuses_the_decoder_refuses(
    history: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    """A fact with one spoiled field: the open schema never refuses what a worker would take."""
    for topic, fact in history[:3]:
        name = data.draw(st.sampled_from(sorted(fact)))
        spoiled = {**fact, name: data.draw(st.sampled_from([None, -1, "", "x" * 200, [], "2.0", 10**13]))}
        taken = not isinstance(decode(topic, msgspec.json.encode(spoiled)), Refusal)
        assert OPEN[topic].is_valid(spoiled) or not taken, f"{name} = {spoiled[name]!r}"


def test_published_values_satisfy_the_closed_schema() -> None:
    """A canonical record, a node, a policy, a mode and a heartbeat as they really are."""
    mode = {"region": "uk", "channel": "web", "mode": "CONSERVATIVE", "cause": "test"}
    alive = {"source": "wms", "region": "uk", "watermark": "2026-01-05T10:00:00Z", "type": "source.alive"}
    values = [node(), policy(), {"topic": "atp.modes.v1", "value": mode}]
    values += [{"topic": "sources.heartbeats.v1", "value": {**alive, "totals": {"t": {"h": [1, 2]}}}}]
    facts = [count("c", "10:00:00.000", 9), placed("order", "11:00:00.000", 5)]
    content = "\n".join(json.dumps(line) for line in values + facts).encode()
    records = list(fold_file(content, World(), None).records())
    assert records
    for line in (
        values + facts + [{"topic": "atp.availability.v1", "value": json.loads(value)} for _, value in records]
    ):
        CLOSED[line["topic"]].validate(line["value"])


def change(topic: str, alter: Callable[[Schema], Any]) -> list[str]:
    """What the rules say of an altered schema; `alter` gets the definition of the topic's own type."""
    found = BY_NAME[topic]
    inbound = schemas.consumed(found)
    old = schemas.consumer(found) if inbound else schemas.producer(found)
    new = copy.deepcopy(old)
    alter(new["$defs"][new["$ref"].rpartition("/")[2]] if "$ref" in new else new)
    return problems(old, new, consumed=inbound)


RECEIPTS, MODES, NODES, RECORD = topics.RECEIPTS.name, topics.MODES.name, topics.NODES.name, topics.AVAILABILITY.name
BREAKING: list[tuple[str, Callable[[Schema], Any], str]] = [
    (RECEIPTS, lambda s: s["required"].append("supplier"), "supplier: is required now"),
    (RECEIPTS, lambda s: s["properties"].pop("eta"), "eta: was taken away"),
    (RECEIPTS, lambda s: s["properties"]["expected"].update(maximum=10), "maximum"),
    (RECEIPTS, lambda s: s["properties"]["expected"].update(type="string"), "type 'integer' became 'string'"),
    (RECEIPTS, lambda s: s["properties"]["type"]["enum"].remove("receipt.over"), "no longer accepted"),
    (NODES, lambda s: s["properties"]["node"].update(maxLength=5), "maxLength"),
    (RECORD, lambda s: s["required"].remove("atp"), "atp: may be missing now"),
    (RECORD, lambda s: s["properties"].pop("shortage"), "shortage: was taken away"),
    (RECORD, lambda s: s["properties"].update(atp={"anyOf": [{"type": "integer"}, {"type": "null"}]}), "type"),
    (MODES, lambda s: s["properties"].update(mode={"enum": ["CONFIDENT", "CONSERVATIVE", "SUSPENDED", "X"]}), "new"),
]
COMPATIBLE: list[tuple[str, Callable[[Schema], Any]]] = [
    (RECEIPTS, lambda s: s["properties"].update(carrier={"type": "string"})),
    (RECEIPTS, lambda s: s["required"].remove("eta")),
    (RECEIPTS, lambda s: s["properties"]["type"]["enum"].append("receipt.lost")),
    (RECORD, lambda s: (s["properties"].update(margin={"type": "integer"}), s["required"].append("margin"))),
    (MODES, lambda s: s["properties"].update(mode={"enum": ["CONFIDENT", "CONSERVATIVE"]})),
]


@pytest.mark.parametrize(("topic", "alter", "told"), BREAKING)
def test_a_breaking_change_is_named(topic: str, alter: Callable[[Schema], Any], told: str) -> None:
    """Each seeded change that would break a reader or a writer is found, by its path."""
    found = change(topic, alter)
    assert len(found) == 1
    assert told in found[0]


@pytest.mark.parametrize(("topic", "alter"), COMPATIBLE)
def test_a_compatible_change_is_let_through(topic: str, alter: Callable[[Schema], Any]) -> None:
    """What a minor version may do breaks nobody."""
    assert change(topic, alter) == []


def test_a_variant_of_a_union_may_not_go(tmp_path: Path) -> None:
    """A stock fact type that is no longer accepted is a breaking change."""
    old = schemas.consumer(topics.STOCK)
    new = {**old, "anyOf": [one for one in old["anyOf"] if not one["$ref"].endswith("StockReturned")]}
    assert problems(old, new, consumed=True)
    assert problems(new, old, consumed=True) == []


def test_breaking_papers_are_never_written(tmp_path: Path) -> None:
    """A published schema that promised more than the code holds: write and check both refuse, in one line."""
    shutil.copytree(FOLDER, tmp_path / "papers")
    path = tmp_path / "papers" / papers.schema_file(topics.NODES, "consumer")
    promised = json.loads(path.read_text())
    promised["$defs"]["Node"]["properties"]["colour"] = {"type": "string"}
    path.write_text(json.dumps(promised))
    for action in ("write", "check"):
        run = atp("contracts", action, "--folder", str(tmp_path / "papers"))
        assert run.returncode == 1
        assert is_one_line(run)
        assert "reference.nodes.v1 $.colour: was taken away" in run.stderr
    assert json.loads(path.read_text()) == promised


def test_the_data_contract_is_valid() -> None:
    """The contract satisfies the JSON Schema of the Open Data Contract Standard 3.1, from its own package."""
    rules = json.loads(importlib.resources.files("open_data_contract_standard").joinpath("schema.json").read_text())
    contract = yaml.safe_load((FOLDER / "available-to-promise.odcs.yaml").read_text())
    assert contract["apiVersion"] == "v3.1.0"
    jsonschema.validators.validator_for(rules)(rules).validate(contract)
    assert {part["name"] for part in contract["schema"]} >= {topics.AVAILABILITY.name, topics.MODES.name}


def asyncapi_rules() -> Schema:
    """The JSON Schema of AsyncAPI 3.0, fetched once from npm."""
    found = cache_folder() / "asyncapi-3.0.0.json"
    if not found.exists():
        if shutil.which("npm") is None:
            pytest.skip("the AsyncAPI schema needs npm, once")
        found.parent.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", SPECS],
            cwd=found.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        with tarfile.open(found.parent / packed.stdout.strip()) as archive:
            content = archive.extractfile("package/schemas/3.0.0.json")
            assert content is not None
            found.write_bytes(content.read())
    rules: Schema = json.loads(found.read_text())
    return rules


def test_the_asyncapi_document_is_valid() -> None:
    """The document satisfies AsyncAPI 3.0, and every reference in it leads somewhere."""
    document = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
    jsonschema.Draft7Validator(asyncapi_rules()).validate(document)
    for channel in document["channels"].values():
        assert channel["messages"]["value"]["$ref"].rpartition("/")[2] in document["components"]["messages"]
    for message in document["components"]["messages"].values():
        assert (FOLDER / message["payload"]["$ref"]).exists()


def test_the_picture_shows_every_topic_but_the_inside() -> None:
    """The topology is well-formed, names every topic that others see, and draws the critical path thick."""
    drawn = topology.picture()
    root = ElementTree.fromstring(drawn)
    words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {topic.name for topic in topics.CATALOGUE if topic.role is not topics.Role.INTERNAL} <= words
    thick = [line for line in root.iter("{http://www.w3.org/2000/svg}path") if line.get("stroke-width") == "4"]
    assert len(thick) == len(topics.FACT_TOPICS) + 1 + 1  # facts, canonical records, legend

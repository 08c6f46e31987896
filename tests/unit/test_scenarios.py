"""Plays the readable scenarios of tests/scenarios: one line per fact, one expected line per record."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from atp.domain import stock
from atp.domain.intake import Duplicate
from atp.domain.refusals import Refusal
from tests.unit.builders import SKU, Fact, Product, Wire, stamp

FILES = sorted((Path(__file__).parents[1] / "scenarios").glob("*.txt"))
STATES = {"sellable", "receiving", "qc_hold", "damaged", "quarantine", "return_hold"}
RESERVED = {"soft", "firm", "allocated", "backordered"}
WORDS = {"count": "counted", "adjust": "adjusted", "move": "moved", "ship": "shipped", "return": "returned"}
ENVELOPE = {"recorded", "id", "sku"}


class Script:
    """One scenario: what it is about, and its lines."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.lines = []
        self.any_order = False
        for number, raw in enumerate(path.read_text().splitlines(), 1):
            words = raw.partition("#")[0].split()
            if words == ["any-order"]:
                self.any_order = True
            elif words:
                self.lines.append((number, words))


class Stage:
    """Plays the lines of a scenario on a product."""

    def __init__(self) -> None:
        self.product = Product(datetime(1970, 1, 1, tzinfo=UTC))
        self.wire = Wire()
        self.day = date(1970, 1, 1)
        self.taken: list[tuple[str, Fact]] = []
        self.notes: list[str] = []

    def play(self, words: list[str]) -> None:
        """One line."""
        first, rest = words[0], words[1:]
        if first in WORDS or first in ("reserve", "receipt", "damage"):
            self.fact(first, rest)
        else:
            getattr(self, f"say_{first}")(*rest)

    # --- what people and sources say

    def say_day(self, text: str) -> None:
        """The date of bare times."""
        self.day = date.fromisoformat(text)

    def say_now(self, text: str) -> None:
        """Let the clock go on."""
        now = self.instant(text)
        assert now >= self.product.now, f"now {text} lies before {self.product.now}"
        self.product.now = now

    def say_policy(self, scope: str, *fields: str) -> None:
        """A policy document."""
        self.product.policy(
            scope, **{name: json.loads(value) for name, _, value in (f.partition("=") for f in fields)}
        )

    def say_node(self, node: str, region: str, trust: str = "trusted") -> None:
        """A node's reference."""
        self.product.node(node, region, {"trusted": True, "untrusted": False}[trust])

    def say_mode(self, region: str, channel: str, mode: str, cause: str = "") -> None:
        """The mode of a channel."""
        self.product.mode(region, channel, mode, cause)

    def say_alive(self, source: str, region: str, watermark: str) -> None:
        """A heartbeat."""
        self.product.alive(source, region, self.instant(watermark))

    def say_expect(self, region: str, *pairs: str) -> None:
        """Compare what a line names with the record."""
        record = self.product.records().get(region)
        if pairs == ("none",):
            assert record is None, f"expected no record of {region}, got {record}"
            return
        assert record is not None, f"no record of {region}"
        expected = dict(pair.split("=", 1) for pair in pairs)
        found = {name: self.shown(record, name) for name in expected}
        assert found == expected

    # --- facts

    def fact(self, word: str, words: list[str]) -> None:
        """Build a fact, take it, and hold the outcome against the one named."""
        arrow = words.index("->") if "->" in words else len(words)
        words, outcome = words[:arrow], words[arrow + 1 :] or ["TAKEN"]
        topic, value = self.build(word, [w for w in words if w != "backfill"])
        if "backfill" in words:
            value["backfill"] = True
        assert self.outcome(topic, value) == outcome[0], value
        if outcome[0] in ("TAKEN", "SUPERSEDED", "STALE_SYNC"):
            self.taken.append((topic, value))

    def outcome(self, topic: str, value: Fact) -> str:
        """What became of a fact, in one word."""
        self.notes.clear()
        found = self.product.take(topic, value)
        if isinstance(found, Refusal):
            assert found.message
            return found.reason.value
        if isinstance(found, Duplicate):
            return "DUPLICATE"
        return next((note for note in self.notes if note), "TAKEN")

    def build(self, word: str, words: list[str]) -> tuple[str, Fact]:
        """The fact that a line says."""
        named = {name: value for name, eq, value in (w.partition("=") for w in words) if eq}
        plain = [w for w in words if "=" not in w]
        extra = {name: named.pop(name) for name in ENVELOPE & set(named)}
        topic, value = getattr(self, f"_{word if word not in WORDS else 'stock'}")(word, plain, named)
        value["sku"] = extra.get("sku", SKU)
        value["event_id"] = extra.get("id", value["event_id"])
        if "recorded" in extra:
            value["recorded_at"] = stamp(self.instant(extra["recorded"]))
        return topic, value

    def _stock(self, word: str, plain: list[str], named: dict[str, str]) -> tuple[str, Fact]:
        node, at, *rest = plain
        body: Fact = {"node": node}
        if word == "count":
            body["quantities"] = {state: int(units) for state, units in named.items()}
        elif word == "adjust":
            body |= {"state": rest[0], "delta": int(rest[1]), "reason": "found"}
        elif word == "move":
            body |= {"from_state": rest[0], "to_state": rest[1], "quantity": int(rest[2]), "reason": "put"}
        else:
            body["quantity"] = int(rest[0])
            if word == "ship" and len(rest) > 1:
                name, line = rest[1].split("/")
                body |= {"reservation_id": name, "line": int(line)}
        return self.wire.stock(WORDS[word], self.instant(at), **body)

    def _reserve(self, _: str, plain: list[str], named: dict[str, str]) -> tuple[str, Fact]:
        line, version, state, at = plain
        body: Fact = {name: int(named[name]) for name in ("open", "consumed", "released") if name in named}
        body |= {name: named[name] for name in ("node", "region", "channel") if name in named}
        if "expires" in named:
            body["expires_at"] = stamp(self.instant(named["expires"]))
        if "due" in named:
            body["due_date"] = self.date(named["due"]).isoformat()
        return self.wire.reservation(line, int(version[1:]), state, self.instant(at), **body)

    def _receipt(self, _: str, plain: list[str], named: dict[str, str]) -> tuple[str, Fact]:
        line, version, stage, at = plain
        body: Fact = {name: value if name == "node" else int(value) for name, value in named.items() if name != "eta"}
        if "eta" in named:
            body["eta"] = self.date(named["eta"]).isoformat()
        return self.wire.receipt(line, int(version[1:]), stage, self.instant(at), **body)

    def _damage(self, _: str, plain: list[str], named: dict[str, str]) -> tuple[str, Fact]:
        name, version, at = plain
        body: Fact = {key: int(value) if value.isdigit() else value for key, value in named.items()}
        return self.wire.damage(name, int(version[1:]), self.instant(at), **body)

    # --- times and figures as they are written in a scenario

    def instant(self, text: str) -> datetime:
        """`10:00`, `-2d@10:00` or a whole instant."""
        if "T" in text:
            return datetime.fromisoformat(text)
        days, _, time = text.rpartition("@")
        at = datetime.fromisoformat(f"{self.day.isoformat()}T{time}+00:00")
        return at + timedelta(days=int(days[:-1])) if days else at

    def date(self, text: str) -> date:
        """`today`, `+2d` or a date."""
        if text == "today":
            return self.day
        return self.day + timedelta(days=int(text[:-1])) if text.endswith("d") else date.fromisoformat(text)

    def shown(self, record: dict[str, Any], name: str) -> str:
        """A figure of a record as a scenario writes it."""
        if name in STATES:
            return str(record["on_hand"][name])
        if name in RESERVED:
            return str(record["reserved"][name])
        if name == "buckets":
            return ",".join(f"{self.shown_day(b['date'])}:{b['atp']}" for b in record["buckets"])
        if name in record:
            return ",".join(record[name]) or "-" if name == "flags" else str(record[name])
        channel, _, figure = name.partition(".")
        value = record["channels"][channel][figure or "sellable"]
        return (",".join(value) or "-") if isinstance(value, list) else str(value)

    def shown_day(self, text: str) -> str:
        """A date relative to the day."""
        days = (date.fromisoformat(text) - self.day).days
        return f"{days:+d}d" if days else "today"


@contextmanager
def heard(stage: Stage) -> Iterator[None]:
    """Lets a stage hear what became of effects and counts; the fold itself has no use for it."""
    place = stock.apply

    def listening(*args: Any) -> Any:
        note = place(*args)
        stage.notes.append(note.value if note else "")
        return note

    with mock.patch.object(stock, "apply", listening):
        yield


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    """Every line of a scenario holds."""
    stage = Stage()
    with heard(stage):
        for number, words in Script(path).lines:
            try:
                stage.play(words)
            except AssertionError as error:
                raise AssertionError(f"{path.name}:{number}: {' '.join(words)}\n{error}") from None


@pytest.mark.parametrize("path", [p for p in FILES if Script(p).any_order], ids=lambda path: path.stem)
def test_scenario_in_any_order(path: Path) -> None:
    """The facts of a scenario, shuffled and repeated, end in the same records as in the order they are told."""
    told = Stage()
    with heard(told):
        for _, words in Script(path).lines:
            if words[0] != "expect":
                told.play(words)
    for seed in range(20):
        rng = random.Random(seed)
        facts = told.taken + rng.choices(told.taken, k=3)
        rng.shuffle(facts)
        other = Product(told.product.now)
        other.world = told.product.world
        other.take_all(facts)
        assert other.records() == told.product.records(), f"seed {seed}"


def test_scenarios_say_what_they_show() -> None:
    """Each scenario opens with a sentence for the reader and expects something."""
    assert len(FILES) >= 25
    for path in FILES:
        text = path.read_text()
        assert re.match(r"# .+[.:]\n", text), path.name
        assert re.search(r"^expect ", text, re.MULTILINE), path.name

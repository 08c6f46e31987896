"""`atp dead-letters`: what was refused, by cause, and the replay of what is good by now.

A letter's id is `topic/partition/offset` of the record that was refused. A replayed record keeps key, value and so
its event id: replaying one twice changes nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from atp import admin, topics
from atp.commands import clients
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.files import FactLine, instant_ms
from atp.commands.lines import Outgoing, judge
from atp.commands.publish import produce
from atp.commands.worker import checked_settings
from atp.domain.refusals import Reason
from atp.domain.times import rfc3339
from atp.lane import DeadLetter
from atp.settings import Settings

# The record that came first stands, or the window has gone by: the same record would be refused again.
FINAL = {
    Reason.EVENT_CONFLICT: "the first record stands",
    Reason.VERSION_CONFLICT: "the first record stands",
    Reason.DOCUMENT_CHANGED: "the document's first version stands",
    Reason.TOO_OLD: "the journal no longer reaches back",
}


class Selection(msgspec.Struct, frozen=True):
    """Which letters are meant; nothing given: all of them."""

    ids: tuple[str, ...] = ()
    topic: str | None = None
    reason: str | None = None
    since_ms: int = 0

    @classmethod
    def of(cls, ids: list[str], topic: str | None, reason: str | None, since: str | None) -> Selection:
        """A selection from the command line's words, or WrongUseError."""
        allowed = [known.value for known in Reason]
        if reason is not None and reason not in allowed:
            raise WrongUseError(f"--reason = {reason!r}: allowed are {', '.join(allowed)}")
        if topic is not None and topic not in topics.BY_NAME:
            raise WrongUseError(f"--topic = {topic!r}: allowed are {', '.join(topics.BY_NAME)}")
        return cls(tuple(ids), topic, reason, instant_ms(since, "--since") if since else 0)

    def holds(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        found = letter.letter
        return (
            (not self.ids or letter.id in self.ids)
            and self.topic in (None, found.topic)
            and self.reason in (None, found.reason)
            and letter.seen_ms >= self.since_ms
        )


class Letter(msgspec.Struct):
    """A dead letter, and when it was written."""

    seen_ms: int
    letter: DeadLetter

    @property
    def id(self) -> str:
        """Where the refused record lies."""
        return f"{self.letter.topic}/{self.letter.partition}/{self.letter.offset}"

    @property
    def key(self) -> str:
        """The refused record's key, as far as it is text."""
        return base64.b64decode(self.letter.key or "").decode(errors="replace")

    @property
    def value(self) -> bytes:
        """The refused record's value, as far as it was kept."""
        return base64.b64decode(self.letter.value or "")

    def said(self) -> dict[str, Any]:
        """The letter for people and programs."""
        found = self.letter
        return {
            "id": self.id, "seen_at": rfc3339(self.seen_ms), "topic": found.topic, "reason": found.reason,
            "message": found.message, "key": self.key, "value": self.value.decode(errors="replace"),
            "value_bytes": found.value_bytes,
        }  # fmt: skip


def list_letters(selection: Selection, each: bool, check: bool, as_json: bool, out: IO[str]) -> None:
    """Print the letters by topic and reason, or one by one. `check`: raise when there is one."""
    letters = [letter for letter in read(checked_settings()) if selection.holds(letter)]
    said = [letter.said() for letter in letters] if each else groups(letters)
    if as_json:
        out.write(msgspec.json.encode({"letters": len(letters), "each" if each else "groups": said}).decode() + "\n")
    else:
        out.writelines(_line(one) for one in said)
        out.write(f"{len(letters)} dead letters\n")
    if check and letters:
        raise CommandError(f"{len(letters)} dead letters, the first {letters[0].id}: {letters[0].letter.message}")


def replay(selection: Selection, dry_run: bool, as_json: bool, out: IO[str]) -> None:
    """Send again what is good by now; raise when a selected letter is not."""
    config = checked_settings()
    found = {letter.id: judged(letter, config) for letter in read(config) if selection.holds(letter)}
    good = {name: outcome for name, outcome in found.items() if isinstance(outcome, Outgoing)}
    still = {name: outcome for name, outcome in found.items() if isinstance(outcome, str)}
    if not dry_run:
        produce(list(good.values()), config)
    report = {
        "replayed": 0 if dry_run else len(good),
        "good": list(good),
        "refused": [{"id": name, "why": why} for name, why in still.items()],
    }
    if as_json:
        out.write(msgspec.json.encode(report).decode() + "\n")
    else:
        out.write(f"{len(good)} records {'would be replayed' if dry_run else 'replayed'}\n")
        out.writelines(f"{name} is left: {why}\n" for name, why in still.items())
    if still:
        raise CommandError(f"{len(still)} of {len(found)} letters would be refused again")


def judged(letter: Letter, config: Settings) -> Outgoing | str:
    """The record to be sent again, or why not."""
    found = letter.letter
    if (final := FINAL.get(Reason(found.reason))) is not None:
        return f"{found.reason}: {final}; publish a new event"
    if found.value is None or found.value_bytes > len(letter.value):
        return f"the letter keeps {len(letter.value)} of {found.value_bytes} bytes"
    line = FactLine(found.topic, msgspec.Raw(letter.value), None if found.key is None else letter.key)
    outcome = judge(line, config.horizons)
    return outcome if isinstance(outcome, Outgoing) else f"{outcome.reason.value}: {outcome.message}"


def groups(letters: list[Letter]) -> list[dict[str, Any]]:
    """Letters by topic and reason, the most first, each with an example."""
    found: dict[tuple[str, str], list[Letter]] = {}
    for letter in letters:
        found.setdefault((letter.letter.topic, letter.letter.reason), []).append(letter)
    return [
        {
            "topic": topic, "reason": reason, "letters": len(members),
            "first_seen": rfc3339(min(m.seen_ms for m in members)),
            "last_seen": rfc3339(max(m.seen_ms for m in members)),
            "id": members[0].id, "message": members[0].letter.message,
        }
        for (topic, reason), members in sorted(found.items(), key=lambda item: -len(item[1]))
    ]  # fmt: skip


def read(config: Settings) -> Iterator[Letter]:
    """Every dead letter that the topic holds now."""
    with clients.one_line(config.bootstrap):
        known = admin.partition_counts(admin.client(config.admin()), config.bootstrap).get(
            topics.DEAD_LETTERS.name, 0
        )
        with clients.consumer(config.admin()) as reader:
            for message in clients.read_whole(reader, [(topics.DEAD_LETTERS.name, p) for p in range(known)]):
                yield Letter(message.timestamp()[1], msgspec.json.decode(message.value(), type=DeadLetter))


def _line(said: dict[str, Any]) -> str:
    """One line of the list."""
    if "letters" in said:
        return (
            f"{said['letters']:>7}  {said['reason']:<18}{said['topic']:<26}"
            f"{said['first_seen']} … {said['last_seen']}\n"
            f"         {said['id']}: {said['message']}\n"
        )
    return f"{said['seen_at']}  {said['reason']:<18}{said['id']}  {said['message']}\n"

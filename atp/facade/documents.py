"""Documents and the latest events of other topics, as they are: routes, modes, exceptions, freshness …"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from atp.client.follower import Follower, Place

EVENTS_KEPT = 500
COURSE_KEPT = 120  # samples of a document's course
Document = dict[str, Any]
# From key and document: the name under which it takes the place of the one before, and whether it is kept there.
Rule = Callable[[str, Document], tuple[str, bool]]
Sample = Callable[[Document], Any]


def by_key(key: str, _document: Document) -> tuple[str, bool]:
    """The rule of a compacted topic: the latest document of every key."""
    return key, True


class Held(NamedTuple):
    """A document, the partition that it came from, and when it was written (epoch ms)."""

    document: Document
    partition: int
    at_ms: int


class Event(msgspec.Struct):
    """A record of a topic that is no state: what it says, and when it was written (epoch ms)."""

    at_ms: int
    partition: int
    offset: int
    value: Any


class Documents:
    """Topic → name → document, and topic → latest events; a topic that is not there is named in `missing`.

    `states`: each topic's rule of what is kept under which name; `courses`: of what a document's course consists.
    `revision` grows with every change. What is no JSON object is counted in `unreadable` and left out.
    """

    def __init__(
        self,
        config: dict[str, Any],
        states: Mapping[str, Rule],
        events: Sequence[str] = (),
        courses: Mapping[str, Sample] | None = None,
    ) -> None:
        self._rules, self._samples = dict(states), dict(courses or {})
        self._by_topic: dict[str, dict[str, Held]] = {name: {} for name in states}
        self._events: dict[str, deque[Event]] = {name: deque(maxlen=EVENTS_KEPT) for name in events}
        self._courses: dict[tuple[str, str], deque[Any]] = {}
        self._lock = threading.Lock()
        self.revision = self.unreadable = 0
        self._follower = Follower(config, dict.fromkeys([*states, *events], False), self)

    def start(self) -> None:
        """Begin to read in the background."""
        self._follower.start()

    def stop(self) -> None:
        """Stop reading."""
        self._follower.stop()

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was there at the start is known."""
        return self._follower.ready.wait(timeout_s)

    @property
    def ready(self) -> bool:
        """Whether all that was there at the start is known."""
        return self._follower.ready.is_set()

    @property
    def error(self) -> str | None:
        """Why nothing can be read now."""
        return self._follower.error

    def is_missing(self, topic: str) -> bool:
        """Whether the broker has no such topic."""
        return topic in self._follower.missing

    def of(self, topic: str) -> dict[str, Document]:
        """The documents of a topic by name."""
        with self._lock:
            return {name: held.document for name, held in self._by_topic[topic].items()}

    def written_ms(self, topic: str, name: str) -> int:
        """When a document was written (epoch ms); 0 where there is none."""
        held = self._by_topic[topic].get(name)
        return held.at_ms if held is not None else 0

    def events(self, topic: str) -> list[Event]:
        """The latest events of a topic, in order of their times."""
        with self._lock:
            return sorted(self._events[topic], key=lambda event: event.at_ms)

    def course(self, topic: str, name: str) -> list[Any]:
        """The latest samples of a document's course, in their order."""
        with self._lock:
            return list(self._courses.get((topic, name), ()))

    def begin(self, places: Sequence[Place]) -> None:
        """Everything is read from the beginning."""
        with self._lock:
            for state in self._by_topic.values():
                state.clear()
            for events in self._events.values():
                events.clear()
            self._courses.clear()

    def take(self, message: Any) -> None:
        """A document, its deletion, or an event."""
        topic, key = message.topic(), (message.key() or b"").decode(errors="replace")
        value, (_, at_ms) = _decoded(message.value()), message.timestamp()
        with self._lock:
            self.revision += 1
            if topic in self._events:
                self._events[topic].append(Event(at_ms, message.partition(), message.offset(), value))
            elif message.value() is None:
                self._by_topic[topic].pop(key, None)
            elif isinstance(value, dict):
                self._keep(topic, key, Held(value, message.partition(), at_ms))
            else:
                self.unreadable += 1

    def _keep(self, topic: str, key: str, held: Held) -> None:
        name, kept = self._rules[topic](key, held.document)
        if not kept:
            self._by_topic[topic].pop(name, None)
            return
        self._by_topic[topic][name] = held
        if (sample := self._samples.get(topic)) is not None:
            course = self._courses.setdefault((topic, name), deque(maxlen=COURSE_KEPT))
            course.append(sample(held.document))

    def complete(self, place: Place, at_ms: int) -> None:
        """Nothing to do: what is shown says its own times."""

    def forget(self, place: Place) -> None:
        """A partition began anew: what came from it is not known any more."""
        topic, partition = place
        with self._lock:
            self.revision += 1
            if topic in self._events:
                left = [event for event in self._events[topic] if event.partition != partition]
                self._events[topic] = deque(left, maxlen=EVENTS_KEPT)
            else:
                held = self._by_topic[topic].items()
                self._by_topic[topic] = {name: one for name, one in held if one.partition != partition}


def _decoded(value: bytes | None) -> Any:
    try:
        return msgspec.json.decode(value) if value is not None else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None

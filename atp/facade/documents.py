"""Compacted documents and the latest events of other topics, as they are: routes, modes, exceptions, freshness …"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from atp.client.follower import Follower, Place

EVENTS_KEPT = 500


class Event(msgspec.Struct):
    """A record of a topic that is no state: what it says, and when it was written (epoch ms)."""

    at_ms: int
    partition: int
    offset: int
    value: Any


class Documents:
    """Topic → key → document, and topic → latest events; a topic that is not there is named in `missing`.

    `revision` grows with every change. What is no JSON object is counted in `unreadable` and left out.
    """

    def __init__(self, config: dict[str, Any], states: Sequence[str], events: Sequence[str] = ()) -> None:
        self._by_topic: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in states}
        self._events: dict[str, deque[Event]] = {name: deque(maxlen=EVENTS_KEPT) for name in events}
        self._written_ms: dict[tuple[str, str], int] = {}
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

    def of(self, topic: str) -> dict[str, dict[str, Any]]:
        """The documents of a topic by key."""
        with self._lock:
            return dict(self._by_topic[topic])

    def written_ms(self, topic: str, key: str) -> int:
        """When a document was written (epoch ms)."""
        return self._written_ms.get((topic, key), 0)

    def events(self, topic: str) -> list[Event]:
        """The latest events of a topic, in order of their times."""
        with self._lock:
            return sorted(self._events[topic], key=lambda event: event.at_ms)

    def begin(self, places: Sequence[Place]) -> None:
        """Everything is read from the beginning."""
        with self._lock:
            for state in self._by_topic.values():
                state.clear()
            for events in self._events.values():
                events.clear()

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
                self._by_topic[topic][key] = value
                self._written_ms[topic, key] = at_ms
            else:
                self.unreadable += 1

    def complete(self, place: Place, at_ms: int) -> None:
        """Nothing to do: what is shown says its own times."""

    def forget(self, place: Place) -> None:
        """A partition began anew."""
        with self._lock:
            self.revision += 1
            if place[0] in self._events:
                self._events[place[0]].clear()
            else:
                self._by_topic[place[0]].clear()


def _decoded(value: bytes | None) -> Any:
    try:
        return msgspec.json.decode(value) if value is not None else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None

"""The journal of a (SKU, node): every stock effect of the window with its own time.

A count must be able to say which effects it supersedes, a late lower version must be able to re-date its
share, and neither may cost more as history grows. So the newest entries are in the node's own row (the tail);
full tails are sealed into chunks, rows of their own that are written once; an index row keeps each chunk's
span of time and its sums, so that most questions are answered without opening a chunk. The index is written with
every seal, so it must stay short too: many small chunks are merged into a large one, once.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from atp.domain.rows import Rows

TAIL_ENTRIES = 48
MERGED_CHUNKS = 48

# One entry: (time_ms, tag, legs). Legs are flat pairs (state index, delta). The tag names the document
# version behind the effect (0: a plain event), so that its share can be re-dated.
Entry = tuple[int, int, tuple[int, ...]]


class Chunk(msgspec.Struct, array_like=True, gc=False):
    """Sealed entries, in order of arrival."""

    entries: list[Entry]


class ChunkSpan(msgspec.Struct, array_like=True, gc=False):
    """What the index knows of a chunk."""

    number: int
    first_ms: int
    last_ms: int
    sums: list[int]
    merged: bool = False


class JournalIndex(msgspec.Struct, array_like=True):
    """The sealed chunks of a journal."""

    next_number: int = 0
    spans: list[ChunkSpan] = []


class Journal:
    """The journal of one node: a view on its tail, its index and its chunks.

    `sealed`: whether there may be chunks. Of most nodes there are none, and none are looked for.
    """

    __slots__ = ("_chunks", "_indexes", "_key", "sealed", "tail")

    def __init__(
        self, key: tuple[str, str], tail: list[Entry], indexes: Rows[JournalIndex], chunks: Rows[Chunk], sealed: bool
    ) -> None:
        self._key = key
        self.tail = tail
        self._indexes = indexes
        self._chunks = chunks
        self.sealed = sealed

    def _chunk_key(self, number: int) -> tuple[str, str, str]:
        return (*self._key, f"{number:08x}")

    def seal(self, states: int) -> None:
        """Move the tail into a chunk of its own."""
        index = self._indexes.get(self._key) or JournalIndex()
        self.sealed = True
        self._add(index, list(self.tail), states)
        self.tail.clear()
        small = [span for span in index.spans if not span.merged]
        if len(small) >= MERGED_CHUNKS:
            self._merge(index, small, states)
        self._indexes[self._key] = index

    def _merge(self, index: JournalIndex, small: list[ChunkSpan], states: int) -> None:
        entries = [entry for span in small for entry in self.entries_of(span)]
        for span in small:
            del self._chunks[self._chunk_key(span.number)]
        index.spans = [span for span in index.spans if span.merged]
        self._add(index, entries, states, merged=True)

    def _add(self, index: JournalIndex, entries: list[Entry], states: int, *, merged: bool = False) -> None:
        times, number = [entry[0] for entry in entries], index.next_number
        self._chunks[self._chunk_key(number)] = Chunk(entries)
        index.spans.append(ChunkSpan(number, min(times), max(times), _sums(entries, states), merged))
        index.next_number += 1

    def spans(self) -> list[ChunkSpan]:
        """The sealed chunks, oldest first sealed first."""
        index = self._indexes.get(self._key) if self.sealed else None
        return index.spans if index is not None else []

    def entries_of(self, span: ChunkSpan) -> list[Entry]:
        """The entries of a sealed chunk."""
        chunk = self._chunks.get(self._chunk_key(span.number))
        assert chunk is not None, f"journal chunk {span.number} of {self._key} is gone"
        return chunk.entries

    def between(self, first_ms: int, last_ms: int) -> Iterator[Entry]:
        """Entries whose time lies in [first_ms, last_ms]."""
        for span in self.spans():
            if span.last_ms >= first_ms and span.first_ms <= last_ms:
                yield from (e for e in self.entries_of(span) if first_ms <= e[0] <= last_ms)
        yield from (e for e in self.tail if first_ms <= e[0] <= last_ms)

    def take(self, time_ms: int, tag: int, states: int) -> Entry | None:
        """Remove and return the entry of a document version, if the journal still holds it."""
        found = _pop(self.tail, time_ms, tag)
        if found is not None:
            return found
        for span in self.spans():
            if span.first_ms <= time_ms <= span.last_ms:
                entries = self.entries_of(span)
                found = _pop(entries, time_ms, tag)
                if found is not None:
                    span.sums = _sums(entries, states)
                    self._chunks[self._chunk_key(span.number)] = Chunk(entries)
                    self._touch_index()
                    return found
        return None

    def drop(self, spans: list[ChunkSpan]) -> None:
        """Forget whole chunks."""
        index = self._indexes.get(self._key)
        if index is None or not spans:
            return
        gone = {span.number for span in spans}
        for number in gone:
            del self._chunks[self._chunk_key(number)]
        index.spans = [span for span in index.spans if span.number not in gone]
        self._indexes[self._key] = index

    def _touch_index(self) -> None:
        index = self._indexes.get(self._key)
        assert index is not None
        self._indexes[self._key] = index


def _sums(entries: list[Entry], states: int) -> list[int]:
    sums = [0] * states
    for _, _, legs in entries:
        for at in range(0, len(legs), 2):
            sums[legs[at]] += legs[at + 1]
    return sums


def _pop(entries: list[Entry], time_ms: int, tag: int) -> Entry | None:
    for at, entry in enumerate(entries):
        if entry[1] == tag and entry[0] == time_ms:
            return entries.pop(at)
    return None

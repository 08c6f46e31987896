"""Mark tables: have we seen this before? Twenty-four bytes an answer.

The newest marks of a record key lie in its tail, one small row. A full tail is sealed: written once more as a chunk
under a number, and begun anew. So a commit writes one row for all the marks that it adds to a key, however many the
key has. Once there are many chunks, sealing turns the oldest over: what has expired or was answered anew since goes,
the rest moves to the end. So chunks are numbered without gaps, and nothing is kept for ever or searched for.

A row is packed: numbers of the first and of the next chunk, then all marks (u64), then all answers (payload u64,
expiry i64). In the cache the sealed marks of a key are one dictionary: nearly every question finds nothing, and
numbers with bytes are nothing that the garbage collector would have to walk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from atp.lane.rows import Rows
from atp.lane.table import BaseTable

CHUNK_MARKS = 64
SPARE_CHUNKS = 8  # of a key: so many are no reason yet to look through old ones
_WORD = 8
_HEAD_WORDS = 2
_ANSWER = struct.Struct("<Qq")
_pack, _unpack = _ANSWER.pack, _ANSWER.unpack


class Chunk:
    """Packed (payload, expires_ms) by mark; the tail also knows the chunks of its key."""

    __slots__ = ("first", "marks", "next", "sealed")

    def __init__(self, first: int, next_: int, marks: dict[int, bytes]) -> None:
        self.first = first
        self.next = next_
        self.marks = marks
        self.sealed: dict[int, bytes] | None = {} if first == next_ else None  # None: not read yet


def encode(chunk: Chunk) -> bytes:
    """The packed row."""
    marks = chunk.marks
    words = struct.pack(f"<{len(marks) + _HEAD_WORDS}Q", chunk.first, chunk.next, *marks)
    return words + b"".join(marks.values())


def decode(data: bytes) -> Chunk:
    """The row of its packed form."""
    count = (len(data) - _HEAD_WORDS * _WORD) // (_WORD + _ANSWER.size)
    first, next_, *keys = struct.unpack_from(f"<{count + _HEAD_WORDS}Q", data)
    starts = range(_WORD * (count + _HEAD_WORDS), len(data), _ANSWER.size)
    return Chunk(first, next_, {key: data[at : at + _ANSWER.size] for key, at in zip(keys, starts, strict=True)})


class MarkTable(BaseTable):
    """Marks by record key and a 64-bit hash; each expires."""

    def __init__(self, name: str, chunk_marks: int = CHUNK_MARKS, spare_chunks: int = SPARE_CHUNKS) -> None:
        super().__init__(name)
        self._full = chunk_marks
        self._spare = spare_chunks

    def codec(self) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """Packed words."""
        return encode, decode

    def get(self, key: str, mark: int) -> tuple[int, int] | None:
        """Payload and expiry of a mark, or None."""
        rows = self._rows or self.rows
        tail = rows.hot.get((key,)) or self._load(rows, key)
        if tail is None:
            return None
        answer = tail.marks.get(mark)
        if answer is None:
            answer = (tail.sealed if tail.sealed is not None else self._read(rows, key, tail)).get(mark)
        return None if answer is None else _unpack(answer)

    def put(self, key: str, mark: int, payload: int, expires_ms: int, drop_before_ms: int) -> None:
        """Insert or overwrite; what expired before `drop_before_ms` is let go when room is made."""
        rows, at = self._rows or self.rows, (key,)
        tail = rows.hot.get(at) or self._load(rows, key) or Chunk(0, 0, {})
        rows.hot[at] = tail
        rows.dirty[at] = None
        if len(tail.marks) >= self._full and mark not in tail.marks:
            self._make_room(rows, key, tail, drop_before_ms)
        tail.marks[mark] = _pack(payload, expires_ms)

    def _load(self, rows: Rows, key: str) -> Any:
        tail = rows.load((key,))
        if tail is not None and tail.sealed:
            rows.weight += len(tail.sealed) // self._full
        return tail

    def _read(self, rows: Rows, key: str, tail: Chunk) -> dict[int, bytes]:
        """All sealed marks of a key; a later chunk has the later answer."""
        sealed: dict[int, bytes] = {}
        for number in range(tail.first, tail.next):
            sealed.update(rows.peek((key, str(number))).marks)
        rows.weight += tail.next - tail.first
        tail.sealed = sealed
        return sealed

    def _make_room(self, rows: Rows, key: str, tail: Chunk, before_ms: int) -> None:
        sealed = tail.sealed if tail.sealed is not None else self._read(rows, key, tail)
        # What has expired still covers an older answer that lies in a chunk.
        kept = {m: answer for m, answer in tail.marks.items() if _unpack(answer)[1] >= before_ms or m in sealed}
        if len(kept) <= self._full // 2:
            tail.marks = kept
            return
        sealed.update(kept)
        tail.marks = {}
        self._append(rows, key, tail, kept)
        if tail.next - tail.first > self._spare:
            self._turn_over(rows, key, tail, sealed, before_ms)

    def _append(self, rows: Rows, key: str, tail: Chunk, marks: dict[int, bytes]) -> None:
        rows.put((key, str(tail.next)), Chunk(0, 0, marks))
        rows.weight += 1
        tail.next += 1

    def _turn_over(self, rows: Rows, key: str, tail: Chunk, sealed: dict[int, bytes], before_ms: int) -> None:
        """Move what still counts of the oldest chunk to the end: into the tail, or a lot of it as a chunk."""
        at, kept = (key, str(tail.first)), {}
        for mark, answer in rows.peek(at).marks.items():
            if sealed.get(mark) != answer:
                continue  # answered anew since
            if _unpack(answer)[1] >= before_ms:
                kept[mark] = answer
            else:
                del sealed[mark]
        rows.put(at, None)
        tail.first += 1
        if len(kept) > self._full // 2:
            self._append(rows, key, tail, kept)
        else:
            tail.marks = kept


def marks_of(rows: dict[tuple[str, ...], Chunk]) -> dict[tuple[str, int], tuple[int, int]]:
    """Payload and expiry by record key and mark, of all rows of a table."""
    found = {}
    for key in sorted(rows, key=_age):
        found.update({(key[0], mark): _unpack(answer) for mark, answer in rows[key].marks.items()})
    return found


def _age(key: tuple[str, ...]) -> tuple[bool, int]:
    is_tail = len(key) == 1
    return is_tail, 0 if is_tail else int(key[1])

"""A long journal: what is written with every seal stays short, and nothing of it is lost."""

from __future__ import annotations

from atp.domain.journal import MERGED_CHUNKS, TAIL_ENTRIES, Chunk, Journal, JournalIndex
from atp.domain.rows import Rows

STATES = 6
SEALS = 2 * MERGED_CHUNKS + 5


def long_journal() -> tuple[Journal, dict[tuple[str, ...], JournalIndex], dict[tuple[str, ...], Chunk]]:
    """A journal of many seals, entry by entry a millisecond apart, with the tables it lies in."""
    indexes: dict[tuple[str, ...], JournalIndex] = {}
    chunks: dict[tuple[str, ...], Chunk] = {}
    journal = Journal(("sku", "node"), [], indexes, chunks, sealed=False)
    for seal in range(SEALS):
        journal.tail += [(seal * TAIL_ENTRIES + at, 7, (0, 1, 3, -1)) for at in range(TAIL_ENTRIES)]
        journal.seal(STATES)
    return journal, indexes, chunks


def test_the_index_of_a_long_journal_is_short() -> None:
    """Full sets of chunks are merged; every entry is still there, in order, and the sums are those of the entries."""
    journal, indexes, chunks = long_journal()
    (index,) = indexes.values()
    assert [len(journal.entries_of(span)) // TAIL_ENTRIES for span in index.spans] == [MERGED_CHUNKS] * 2 + [1] * 5
    assert len(chunks) == len(index.spans)
    assert [entry[0] for entry in journal.between(0, 10**9)] == list(range(SEALS * TAIL_ENTRIES))
    assert sum(span.sums[0] for span in index.spans) == SEALS * TAIL_ENTRIES
    assert sum(span.sums[3] for span in index.spans) == -SEALS * TAIL_ENTRIES


def test_entries_are_found_and_dropped_in_merged_chunks() -> None:
    """A version's share is taken out of a merged chunk as out of any other; chunks are dropped whole."""
    journal, _, chunks = long_journal()
    assert journal.take(5, 7, STATES) == (5, 7, (0, 1, 3, -1))
    assert journal.take(5, 7, STATES) is None
    merged = journal.spans()[0]
    assert merged.sums[0] == MERGED_CHUNKS * TAIL_ENTRIES - 1
    journal.drop([merged])
    assert next(journal.between(0, 10**9))[0] == MERGED_CHUNKS * TAIL_ENTRIES
    assert len(chunks) == len(journal.spans())


def test_emptied_chunks_leave_nothing_behind() -> None:
    """Chunks whose every entry was taken out are merged away; what was sealed last remains."""
    indexes: Rows[JournalIndex] = {}
    journal = Journal(("sku", "node"), [], indexes, {}, sealed=False)
    for seal in range(MERGED_CHUNKS):
        journal.tail.append((seal, 7, (0, 1)))
        journal.seal(STATES)
        if seal < MERGED_CHUNKS - 1:
            journal.take(seal, 7, STATES)
    assert [span.sums[0] for span in journal.spans()] == [1]

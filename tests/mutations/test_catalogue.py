"""The catalogue of mutations fits the source as it is; `make mutations` runs them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.bug)
def test_a_mutation_fits_the_source(mutation: Mutation) -> None:
    """Its text stands there exactly once; whoever changes that text changes the mutation too."""
    for edit in mutation.edits:
        assert (ROOT / edit.path).read_text().count(edit.old) == 1, f"{edit.path}: {edit.old!r}"


def test_each_bug_is_named_once() -> None:
    """A name finds its bug."""
    assert Counter(mutation.bug for mutation in MUTATIONS).most_common(1)[0][1] == 1

"""Settings and policies that decide together."""

from __future__ import annotations

import pytest

from atp import settings
from atp.domain.policy import PolicyBook, PolicyError, parse_policy


def test_the_policy_decides_how_fast_a_sweep_goes() -> None:
    """By the default scope alone, at once, and by the default of the field when nobody said anything."""
    book = PolicyBook()
    assert book.sweep_keys_per_s == 1000
    book.put(parse_policy({"scope": "default", "sweep_keys_per_s": 40}))
    book.put(parse_policy({"scope": "region:uk", "sweep_keys_per_s": 7}))
    assert book.sweep_keys_per_s == 40
    book.remove("default")
    assert book.sweep_keys_per_s == 1000
    with pytest.raises(PolicyError, match="sweep_keys_per_s = 0"):
        parse_policy({"sweep_keys_per_s": 0})


@pytest.mark.parametrize(("bound", "policy", "found"), [("", 40, 40), ("0", 40, 40), ("30", 40, 30), ("90", 40, 40)])
def test_a_worker_may_sweep_slower_than_the_policy_says(
    monkeypatch: pytest.MonkeyPatch, bound: str, policy: int, found: int
) -> None:
    """Never faster: the lower of the two counts."""
    if bound:
        monkeypatch.setenv("ATP_SWEEP_KEYS_PER_S", bound)
    assert settings.load().sweep_keys_per_s_of(policy) == found

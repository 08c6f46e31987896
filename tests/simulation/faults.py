"""Which faults a seed draws, how often, and what of it happened.

A run has a profile: some kinds of faults, each with its own likelihood. Different seeds have different profiles,
so that rare combinations are not drowned by frequent ones. Everything that happens is counted by kind and by the
protocol step it hit.
"""

from __future__ import annotations

from collections import Counter
from random import Random

# What may become of one request. Likelihood per call when the profile has the kind.
CALL_FAULTS = {
    "request lost": 0.02,
    "answer lost": 0.02,
    "request late": 0.02,  # it arrives when the caller has given up
    "answer slow": 0.03,
    "refused": 0.03,  # an error, without effect
    "failed after": 0.03,  # an error, but it took effect
}
INPUT_FAULTS = {"input hole": 0.04, "input repeated": 0.04, "input broken": 0.03}
READ_FAULTS = {"read failed": 0.03, "read slow": 0.05}
AGENT_FAULTS = {"agent raises": 0.02}
DISK_FAULTS = {"disk full": 0.05}
RESTART_FAULTS = {"disk wiped": 0.25, "disk stale": 0.3, "disk corrupt": 0.25, "disk of another log": 0.25}
# Things that happen to the world: likelihood that one of the run's few strokes is this one, relative to the others.
STROKES = {
    "crash": 5.0,
    "stall": 2.0,
    "zombie": 4.0,
    "orderly stop": 2.0,
    "rebalance": 3.0,
    "worker joins": 2.0,
    "dead letters down": 1.0,
    "compaction": 2.0,
    "clock jump": 1.5,
    "burst": 1.0,
    "policy changed": 2.0,
}
UPSTREAM = {
    "duplicate": 0.15,
    "conflict": 0.04,
    "poison": 0.04,
    "wrong partition": 0.04,
    "upstream aborted": 0.05,
    "upstream slow": 0.03,  # its transaction stays open for a while
    "disorder": 0.3,
}
KINDS = CALL_FAULTS | INPUT_FAULTS | READ_FAULTS | AGENT_FAULTS | DISK_FAULTS | RESTART_FAULTS | STROKES | UPSTREAM
# Without transactions nothing fences a request that arrives late, or a worker taken for dead.
NEED_FENCING = {"request late", "answer slow", "zombie", "worker joins", "rebalance", "upstream aborted", "stall"}


class Faults:
    """The dice of one run."""

    def __init__(self, rng: Random, transactional: bool) -> None:
        self.rng = rng
        self.on = True
        self.hits: Counter[tuple[str, str]] = Counter()
        share = rng.choice((0.15, 0.35, 0.6))
        kinds = {kind: likelihood for kind, likelihood in KINDS.items() if rng.random() < share}
        self.likely = {k: v * rng.choice((0.5, 1, 3)) for k, v in kinds.items()}
        if not transactional:
            self.likely = {k: v for k, v in self.likely.items() if k not in NEED_FENCING}

    def draw(self, among: dict[str, float], step: str) -> str | None:
        """One of these kinds, or none; counted."""
        if not self.on:
            return None
        left = self.rng.random()
        for kind in among:
            left -= self.likely.get(kind, 0.0)
            if left < 0:
                self.hit(kind, step)
                return kind
        return None

    def hit(self, kind: str, step: str) -> None:
        """It happened."""
        self.hits[kind, step] += 1

    def strokes(self) -> list[str]:
        """A few things that will happen to the world."""
        known = {kind: weight for kind, weight in self.likely.items() if kind in STROKES}
        if not known:
            return []
        return self.rng.choices(list(known), list(known.values()), k=self.rng.randint(1, 5))

"""What may change in a schema without breaking anybody, and what needs a new major version (a new topic).

*Consumed* topics: what was valid under the older schema must stay valid. *Published* topics: what is valid under the
newer schema must have been valid under the older one, except for fields that readers must ignore. A field that is
taken away or changes its meaning breaks either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
LOWER, UPPER = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")
MEANING = ("type", "format", "pattern", "const")


def problems(old: Schema, new: Schema, *, consumed: bool) -> list[str]:
    """Every breaking change from an older to a newer schema, a line each; none: compatible."""
    return list(_Comparison(old, new, consumed).compare(old, new, "$"))


class _Comparison:
    """Two schemas with their definitions, walked side by side."""

    def __init__(self, old: Schema, new: Schema, consumed: bool) -> None:
        self._old, self._new, self._consumed = old, new, consumed

    def compare(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Differences that break, at a path and below it."""
        old, new = _resolved(self._old, old), _resolved(self._new, new)
        if "anyOf" in old or "anyOf" in new:
            yield from self._variants(old, new, path)
            return
        for word in MEANING:
            if old.get(word) != new.get(word):
                yield f"{path}: {word} {old.get(word)!r} became {new.get(word)!r}"
        yield from self._values(old, new, path)
        yield from self._limits(old, new, path)
        yield from self._properties(old, new, path)
        for word in ("items", "additionalProperties"):
            before, after = old.get(word), new.get(word)
            if isinstance(before, dict) and isinstance(after, dict):
                yield from self.compare(before, after, f"{path}[*]")
        for index, (before, after) in enumerate(zip(*_tuples(old, new), strict=False)):
            yield from self.compare(before, after, f"{path}[{index}]")

    def _variants(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """Every variant that somebody still sends must have one that takes it."""
        before, after = old.get("anyOf", [old]), new.get("anyOf", [new])
        for variant in before if self._consumed else after:
            others = after if self._consumed else before
            found = [list(self._pair(variant, other, path)) for other in others]
            if all(found):
                yield from min(found, key=len)

    def _pair(self, variant: Schema, other: Schema, path: str) -> Iterator[str]:
        old, new = (variant, other) if self._consumed else (other, variant)
        return self.compare(old, new, path)

    def _values(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        before, after = old.get("enum"), new.get("enum")
        if before == after:
            return
        if before is None or after is None:
            narrower = before is None if self._consumed else after is None
            if narrower:
                yield f"{path}: allowed values {before!r} became {after!r}"
            return
        lost = set(before) - set(after) if self._consumed else set(after) - set(before)
        if lost:
            what = "are no longer accepted" if self._consumed else "are new to readers"
            yield f"{path}: values {', '.join(sorted(map(str, lost)))} {what}"

    def _limits(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        for words, widest, sign in ((LOWER, float("-inf"), 1), (UPPER, float("inf"), -1)):
            for word in words:
                change = (
                    sign * (new.get(word, widest) - old.get(word, widest)) if old.get(word) != new.get(word) else 0
                )
                if change > 0 if self._consumed else change < 0:
                    yield f"{path}: {word} {old.get(word)} became {new.get(word)}"

    def _properties(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in after:
                yield f"{path}.{name}: was taken away"
            else:
                yield from self.compare(before[name], after[name], f"{path}.{name}")
        first, second = set(old.get("required", [])), set(new.get("required", []))
        for name in sorted(second - first) if self._consumed else sorted(first - second):
            yield f"{path}.{name}: {'is required now' if self._consumed else 'may be missing now'}"


def _tuples(old: Schema, new: Schema) -> tuple[list[Schema], list[Schema]]:
    return old.get("prefixItems", []), new.get("prefixItems", [])


def _resolved(root: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema

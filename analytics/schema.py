"""What payloads of a type look like on a topic: which fields they must have, and what stands in them. Pure.

The gateway tells shapes only (field names with JSON types, `broker/inspection.py` says how they are written). A
learnt shape is known. One that lacks a field, gives it another type or is no JSON at all is broken: no consumer
can read it. One that has all fields and some more is added to, which is what a new firmware does as well.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Fit: TypeAlias = Literal["known", "added", "broken"]

REQUIRED_SHARE = 0.98
"""A field that this share of the learnt messages has may not be missing."""

MIN_MESSAGES = 10
"""Of fewer messages nothing is required."""

ANY = "z"
"""A null stands for a value that is not there: it contradicts no type."""


def fields_of(text: str) -> dict[str, str] | None:
    """Field names to JSON types; None for what is no JSON object."""
    if not text.startswith("{"):
        return None
    pairs = (item.rpartition(":") for item in text[1:-1].split(",") if item)
    return {name: kind for name, _, kind in pairs}


@dataclass(frozen=True, slots=True)
class Schema:
    """What was learnt of one type on one topic pattern."""

    known: frozenset[str]
    required: frozenset[str]
    kinds: Mapping[str, frozenset[str]]
    objects: bool

    def fit(self, text: str) -> Fit:
        """How a shape relates to what was learnt."""
        if text in self.known or not self.objects:
            # what was no JSON while learning may be anything now: there is nothing to hold it against
            return "known"
        found = fields_of(text)
        if found is None:
            return "known" if text == "large" else "broken"
        if self.required - found.keys():
            return "broken"
        for name, kind in found.items():
            learnt = self.kinds.get(name)
            if learnt is not None and kind not in learnt and ANY not in (kind, *learnt):
                return "broken"
        return "added" if found.keys() - self.kinds.keys() else "known"


def learn_schema(shapes: Mapping[str, int]) -> Schema:
    """Learn from shapes and how many messages had each."""
    objects = {text: fields for text in shapes if (fields := fields_of(text)) is not None}
    total = sum(shapes.values())
    readable = sum(shapes[text] for text in objects)
    has: Counter[str] = Counter()
    kinds: dict[str, set[str]] = {}
    for text, fields in objects.items():
        for name, kind in fields.items():
            has[name] += shapes[text]
            kinds.setdefault(name, set()).add(kind)
    needed = REQUIRED_SHARE * readable if total >= MIN_MESSAGES else float("inf")
    return Schema(
        known=frozenset(shapes),
        required=frozenset(name for name, count in has.items() if count >= needed),
        kinds={name: frozenset(found) for name, found in kinds.items()},
        objects=total > 0 and readable >= REQUIRED_SHARE * total,
    )

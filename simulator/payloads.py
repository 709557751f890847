"""A device's payload: fields, each with one value generator."""

import random
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from .expression import Expression, linked
from .generators import DAY, Daily, Decay, Generator, Json, JsonValue, Series, Sine, Spec, Walk
from .recorded import Recorded
from .values import nearest

RESERVED = ("ts", "seq", "diag")
"""What every payload holds anyway: device clock, count, and the filler of behaviours that add bytes."""

_SPECS = ("walk", "daily", "sine", "decay", "series", "expression", "recorded")
KNOWN = (*_SPECS, "const", "choice")


class Field(Spec):
    """One payload field: exactly one generator. `const` is always the same, `choice` one of a list at random."""

    walk: Walk | None = None
    daily: Daily | None = None
    sine: Sine | None = None
    decay: Decay | None = None
    series: Series | None = None
    expression: Expression | None = None
    recorded: Recorded | None = None
    const: JsonValue = None
    choice: tuple[JsonValue, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_one(cls, value: Any) -> Any:
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError(f"a payload field has exactly one of {', '.join(KNOWN)}")
        ((name, spec),) = value.items()
        if name in KNOWN and name != "const" and (spec is None or spec in ("", [], {})):
            raise ValueError(f"{name} is empty")
        return value

    def generator(self, rng: random.Random) -> Generator:
        """A generator of its own, driven by this random source."""
        for name in _SPECS:
            if (spec := getattr(self, name)) is not None:
                made: Generator = spec.generator(rng)
                return made
        if self.choice is not None:
            choices = self.choice
            return lambda _: rng.choice(choices)
        return lambda _: self.const

    @property
    def numeric(self) -> bool:
        """Whether an expression can use it: numbers, perhaps with gaps, but no text."""
        if self.series is not None:
            values = self.series.values
        elif self.recorded is not None:
            values = self.recorded.values
        elif self.choice is not None:
            values = self.choice
        else:
            generated = any(getattr(self, name) is not None for name in _SPECS)
            return generated or _is_number(self.const)
        return all(value is None or _is_number(value) for value in values)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _no_reserved_name(fields: Mapping[str, Field]) -> Mapping[str, Field]:
    if taken := [name for name in fields if name in RESERVED]:
        raise ValueError(f"'{taken[0]}' is in every payload already: choose another name")
    return fields


Payload = Annotated[dict[str, Field], AfterValidator(_no_reserved_name)]
"""The fields of a group's payload, by name, in the order of the file."""


def misuses(payload: Mapping[str, Field]) -> Iterator[tuple[str, str, str]]:
    """Names that an expression of the payload cannot use: the field, what is wrong, and how to mend it."""
    for place, (name, field) in enumerate(payload.items()):
        if field.expression is None:
            continue
        usable = [before for before in list(payload)[:place] if payload[before].numeric]
        used = field.expression.compiled
        for word, column in used.fields.items():
            if word not in usable:
                yield (
                    name,
                    f"column {column}: {_why_not(word, payload)}",
                    nearest(word, usable, what="it can use"),
                )
        for word, column in used.words.items():
            if word in payload:
                yield (
                    name,
                    f"column {column}: '{word}' is a field and a word of expressions",
                    "rename the field",
                )


def _why_not(used: str, payload: Mapping[str, Field]) -> str:
    if used not in payload:
        return f"there is no field '{used}'"
    if not payload[used].numeric:
        return f"the field '{used}' is no number"
    return f"the field '{used}' does not stand before it"


__all__ = ["DAY", "KNOWN", "Field", "Generator", "Json", "Payload", "linked", "misuses"]

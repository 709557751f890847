"""The small values of a scenario file: durations and comparisons."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from contracts.messages import SECOND, Nanoseconds

_UNITS = {"ms": SECOND // 1000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")

_OPERATORS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": (">", operator.gt),
    "gte": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "lte": ("<=", operator.le),
    "eq": ("=", operator.eq),
    "ne": ("!=", operator.ne),
}


def duration(value: Any) -> Nanoseconds:
    """Nanoseconds of `30s`, `500ms`, `5m`, `2h`. Raises ValueError."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration: write 30s, 500ms, 5m or 2h")
    return int(float(match[1]) * _UNITS[match[2]])


def positive_duration(value: Any) -> Nanoseconds:
    """A duration above zero. Raises ValueError."""
    if (span := duration(value)) <= 0:
        raise ValueError(f"{value!r} must be longer than nothing")
    return span


def share(value: Any) -> float:
    """A share from `20%` or a number of 0 to 1. Raises ValueError."""
    if isinstance(value, str) and value.endswith("%"):
        return float(value[:-1]) / 100
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"{value!r} is no share: write 20% or 0.2")


Duration = Annotated[Nanoseconds, BeforeValidator(duration)]
PositiveDuration = Annotated[Nanoseconds, BeforeValidator(positive_duration)]
Share = Annotated[float, BeforeValidator(share)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`{lte: 5}` or a plain number (equality). A duration compares in seconds."""

    operator: str
    value: float
    text: str

    @classmethod
    def equal(cls, value: float) -> "Comparison":
        return cls("eq", value, f"= {value:g}")

    @classmethod
    def of(cls, given: Any) -> "Comparison":
        """Read one from a scenario file. Raises ValueError."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, dict):
            return cls("eq", _number(given), f"= {given}")
        if len(given) != 1 or next(iter(given)) not in _OPERATORS:
            raise ValueError(f"a comparison has one of {', '.join(_OPERATORS)}, for example {{lte: 5}}")
        ((name, value),) = given.items()
        return cls(name, _number(value), f"{_OPERATORS[name][0]} {value}")

    def holds(self, seen: float) -> bool:
        """Whether the comparison is true of what was seen."""
        return _OPERATORS[self.operator][1](seen, self.value)

    def __str__(self) -> str:
        return self.text


def _number(value: Any) -> float:
    if isinstance(value, str):
        return duration(value) / SECOND
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is neither a number nor a duration")  # noqa: TRY004 - pydantic wants ValueError
    return float(value)


Compared = Annotated[Comparison, BeforeValidator(Comparison.of)]

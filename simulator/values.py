"""The small values of a scenario file: durations, shares, clock times, topics and comparisons."""

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from contracts.messages import SECOND, Nanoseconds

_UNITS = {"ms": SECOND // 1000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
"""Nine digits of hours are 100,000 years: what is longer is no duration but a mistake."""

MAX_TOPIC_BYTES = 256
"""AWS IoT Core message broker quotas: a topic has at most 256 bytes of UTF-8."""

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
    return round(float(match[1]) * _UNITS[match[2]])


def positive_duration(value: Any) -> Nanoseconds:
    """A duration above zero. Raises ValueError."""
    if (span := duration(value)) <= 0:
        raise ValueError(f"{value!r} must be longer than nothing")
    return span


def share(value: Any) -> float:
    """A share from `20%` or a number of 0 to 1. Raises ValueError."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}(\.\d{1,6})?%", value):
        return float(value[:-1]) / 100
    if (number := _finite(value)) is not None:
        return number
    raise ValueError(f"{value!r} is no share: write 20% or 0.2")


def clock_time(value: Any) -> str:
    """A time of day, UTC, as quoted text. Raises ValueError."""
    if not isinstance(value, str) or not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", value):
        raise ValueError(f'{value!r} is no clock time: write "15:00", in quotes (YAML reads 15:00 as 900)')
    return value


def since_midnight(clock: str) -> Nanoseconds:
    """Nanoseconds from midnight to a clock time."""
    hours, minutes = clock.split(":")
    return (int(hours) * 60 + int(minutes)) * 60 * SECOND


def topic(value: Any) -> str:
    """A topic to publish to, perhaps with `{device}` or `{type}`; no wildcards. Raises ValueError."""
    text = _topic_text(value)
    if "+" in text or "#" in text:
        raise ValueError(f"{text!r} has a wildcard: nobody can publish to a filter")
    return text


def topic_filter(value: Any) -> str:
    """A topic filter to subscribe to, perhaps with `{device}` or `{type}`. Raises ValueError."""
    text = _topic_text(value)
    levels = text.split("/")
    lonely = all(level in ("+", "#") or not set(level) & set("+#") for level in levels)
    if not lonely or "#" in levels[:-1]:
        raise ValueError(f"{text!r} is no topic filter: + and # fill a whole level, # only the last one")
    return text


def _topic_text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\x00" in value:
        raise ValueError(f"{value!r} is no topic: write one like dt/meter/{{device}}/telemetry")
    if wrong := set(re.findall(r"\{[^}]*\}?|\}", value)) - {"{device}", "{type}"}:
        raise ValueError(f"{value!r} has {min(wrong)}: only {{device}} and {{type}} are filled in")
    if len(value.encode()) > MAX_TOPIC_BYTES:
        raise ValueError(f"a topic has at most {MAX_TOPIC_BYTES} bytes")
    return value


def fill(template: str, *, device: str, kind: str) -> str:
    """A topic template for one device of one type."""
    return template.replace("{device}", device).replace("{type}", kind)


_DURATION_SCHEMA = {
    "type": "string",
    "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)$",
    "description": "A duration: 30s, 500ms, 5m or 2h.",
}
_SHARE_SCHEMA = {
    "anyOf": [{"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,6})?%$"}, {"type": "number"}],
    "description": "A share: 20% or 0.2.",
}
_CLOCK_SCHEMA = {
    "type": "string",
    "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$",
    "description": 'A time of day, UTC, in quotes: "15:00".',
}
_TOPIC_SCHEMA = {
    "type": "string",
    "pattern": r"^([^+#{}\u0000]|\{(device|type)\})+$",
    "description": "A topic to publish to; {device} and {type} are filled in.",
}
_FILTER_SCHEMA = {
    "type": "string",
    "pattern": r"^([^{}\u0000]|\{(device|type)\})+$",
    "description": "A topic filter to subscribe to; {device} and {type} are filled in.",
}


def nearest(name: str, known: Iterable[str], *, what: str = "known") -> str:
    """The fix for a word that nobody knows: the nearest known one, and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}{what}: {', '.join(names) or 'none'}"


Duration = Annotated[Nanoseconds, BeforeValidator(duration), WithJsonSchema(_DURATION_SCHEMA)]
PositiveDuration = Annotated[
    Nanoseconds, BeforeValidator(positive_duration), WithJsonSchema(_DURATION_SCHEMA)
]
Share = Annotated[float, BeforeValidator(share), WithJsonSchema(_SHARE_SCHEMA)]
ClockTime = Annotated[str, BeforeValidator(clock_time), WithJsonSchema(_CLOCK_SCHEMA)]
Topic = Annotated[str, BeforeValidator(topic), WithJsonSchema(_TOPIC_SCHEMA)]
TopicFilter = Annotated[str, BeforeValidator(topic_filter), WithJsonSchema(_FILTER_SCHEMA)]


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
    if (number := _finite(value)) is None:
        raise ValueError(f"{value!r} is neither a number nor a duration")
    return number


def _finite(value: Any) -> float | None:
    """A number as YAML gives it; None if it is no number, or beyond what a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


_COMPARED = {"anyOf": [{"type": "number"}, _DURATION_SCHEMA]}
_COMPARISON_SCHEMA = {
    "anyOf": [
        *_COMPARED["anyOf"],
        {
            "type": "object",
            "properties": dict.fromkeys(_OPERATORS, _COMPARED),
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ],
    "description": "A number (equality) or one comparison, for example {lte: 60s}.",
}

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "duration": _DURATION_SCHEMA,
    "share": _SHARE_SCHEMA,
    "clock_time": _CLOCK_SCHEMA,
    "topic": _TOPIC_SCHEMA,
    "topic_filter": _FILTER_SCHEMA,
    "comparison": _COMPARISON_SCHEMA,
}
"""What JSON Schema says of the small values, by the name that `simulator.schema` gives them."""

Compared = Annotated[Comparison, BeforeValidator(Comparison.of), WithJsonSchema(_COMPARISON_SCHEMA)]

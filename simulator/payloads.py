"""Value generators of a device's payload: seeded, and cheap enough for every message."""

import json
import math
import random
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from contracts.messages import SECOND, Nanoseconds

from .values import PositiveDuration

Json: TypeAlias = Any
Generator: TypeAlias = Callable[[Nanoseconds], Json]
DAY: Nanoseconds = 86_400 * SECOND

RESERVED = ("ts", "seq", "diag")
"""What every payload holds anyway: device clock, count, and the filler of behaviours that add bytes."""


def _clock_time(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f'{value!r} is no clock time: write "15:00", in quotes (YAML reads 15:00 as 900)')
    return value


def _json(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no JSON value: put dates in quotes") from None
    return value


ClockTime = Annotated[str, BeforeValidator(_clock_time)]
JsonValue = Annotated[Any, AfterValidator(_json)]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Walk(_Spec):
    """A random walk: steps of at most `step`, held between `min` and `max`."""

    start: float
    step: float
    min: float
    max: float

    @model_validator(mode="after")
    def _begins_inside(self) -> "Walk":
        if not self.min <= self.start <= self.max or self.step < 0:
            raise ValueError(
                "a walk starts between min and max, with a step of at least 0: "
                f"start {self.start:g}, min {self.min:g}, max {self.max:g}, step {self.step:g}"
            )
        return self

    def generator(self, rng: random.Random) -> Generator:
        value = self.start

        def next_value(_: Nanoseconds) -> float:
            nonlocal value
            value = min(self.max, max(self.min, value + rng.uniform(-self.step, self.step)))
            return round(value, 3)

        return next_value


class Daily(_Spec):
    """A daily curve with its highest point at `peak` (a quoted clock time, UTC), and noise of 5 % of `amplitude`."""

    mean: float
    amplitude: float
    peak: ClockTime = "15:00"

    def generator(self, rng: random.Random) -> Generator:
        hours, minutes = self.peak.split(":")
        peak = (int(hours) * 60 + int(minutes)) * 60 * SECOND

        def next_value(now: Nanoseconds) -> float:
            phase = 2 * math.pi * ((now - peak) % DAY) / DAY
            return round(self.mean + self.amplitude * (math.cos(phase) + rng.gauss(0, 0.05)), 3)

        return next_value


class Sine(_Spec):
    """A sine of any period."""

    mean: float
    amplitude: float
    period: PositiveDuration

    def generator(self, _: random.Random) -> Generator:
        return lambda now: round(
            self.mean + self.amplitude * math.sin(2 * math.pi * (now % self.period) / self.period), 3
        )


_SPECS: Mapping[str, type[Walk] | type[Daily] | type[Sine]] = {"walk": Walk, "daily": Daily, "sine": Sine}
KNOWN = (*_SPECS, "const", "choice")


class Field(_Spec):
    """One payload field: exactly one generator."""

    walk: Walk | None = None
    daily: Daily | None = None
    sine: Sine | None = None
    const: JsonValue = None
    choice: tuple[JsonValue, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_one(cls, value: Any) -> Any:
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError(f"a payload field has exactly one of {', '.join(KNOWN)}")
        ((name, spec),) = value.items()
        if name in KNOWN and name != "const" and not spec:
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


def _no_reserved_name(fields: Mapping[str, Field]) -> Mapping[str, Field]:
    if taken := [name for name in fields if name in RESERVED]:
        raise ValueError(f"'{taken[0]}' is in every payload already: choose another name")
    return fields


Payload = Annotated[dict[str, Field], AfterValidator(_no_reserved_name)]
"""The fields of a group's payload, by name, in the order of the file."""

"""Value generators of a device's payload: seeded, and cheap enough for every message."""

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, model_validator

from contracts.messages import SECOND, Nanoseconds

from .values import PositiveDuration

Json: TypeAlias = Any
Generator: TypeAlias = Callable[[Nanoseconds], Json]
DAY: Nanoseconds = 86_400 * SECOND


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Walk(_Spec):
    """A random walk: steps of at most `step`, held between `min` and `max`."""

    start: float
    step: float
    min: float
    max: float

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
    peak: str = "15:00"

    def generator(self, rng: random.Random) -> Generator:
        hours, _, minutes = self.peak.partition(":")
        peak = (int(hours) * 60 + int(minutes or 0)) * 60 * SECOND

        def next_value(now: Nanoseconds) -> float:
            phase = 2 * math.pi * ((now - peak) % DAY) / DAY
            return round(self.mean + self.amplitude * (math.cos(phase) + rng.gauss(0, 0.05)), 3)

        return next_value

    @model_validator(mode="after")
    def _has_a_clock_time(self) -> "Daily":
        parts = self.peak.split(":")
        if (
            len(parts) != 2
            or not all(part.isdigit() for part in parts)
            or int(parts[0]) > 23
            or int(parts[1]) > 59
        ):
            raise ValueError(f'peak {self.peak!r} is no clock time: write "15:00", in quotes')
        return self


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
    const: Json = None
    choice: tuple[Json, ...] | None = None

    @model_validator(mode="after")
    def _has_one(self) -> "Field":
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a payload field has exactly one of {', '.join(KNOWN)}")
        if self.choice is not None and not self.choice:
            raise ValueError("choice needs at least one value")
        return self

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

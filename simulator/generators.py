"""The value generators of a payload that need nothing but time and chance: walk, daily, sine, decay, series.

`generator(rng)` gives a function from the time to the next value. It is seeded, and cheap enough for every
message. Spans that begin with the device count from its first reading.
"""

import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from contracts.messages import SECOND, Nanoseconds

from .values import ClockTime, PositiveDuration, Share, since_midnight

Json: TypeAlias = Any
Generator: TypeAlias = Callable[[Nanoseconds], Json]
DAY: Nanoseconds = 86_400 * SECOND
HOUR: Nanoseconds = 3_600 * SECOND


def _json(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no JSON value: put dates in quotes") from None
    return value


JsonValue = Annotated[Any, AfterValidator(_json), WithJsonSchema({"description": "Any JSON value."})]


class Spec(BaseModel):
    """Base of what describes a generator in a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Walk(Spec):
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


class Daily(Spec):
    """A daily curve with its highest point at `peak` (a quoted clock time, UTC), and noise of 5 % of `amplitude`."""

    mean: float
    amplitude: float
    peak: ClockTime = "15:00"

    def generator(self, rng: random.Random) -> Generator:
        peak = since_midnight(self.peak)

        def next_value(now: Nanoseconds) -> float:
            phase = 2 * math.pi * ((now - peak) % DAY) / DAY
            return round(self.mean + self.amplitude * (math.cos(phase) + rng.gauss(0, 0.05)), 3)

        return next_value


class Sine(Spec):
    """A sine of any period."""

    mean: float
    amplitude: float
    period: PositiveDuration

    def generator(self, _: random.Random) -> Generator:
        return lambda now: round(
            self.mean + self.amplitude * math.sin(2 * math.pi * (now % self.period) / self.period), 3
        )


class Decay(Spec):
    """What falls from `start` to `min` and stays there, as a battery does.

    It halves every `half_life`, or loses `rate` an hour: one of the two. With `recharge` it rises again to
    `start` in that time as soon as it is at `min`, and falls anew. `spread` makes devices differ: each is faster
    or slower by a share of its own, up to this one.
    """

    start: float
    min: float = 0.0
    half_life: PositiveDuration | None = None
    rate: float | None = Field(default=None, gt=0)
    recharge: PositiveDuration | None = None
    spread: Share = Field(default=0.0, ge=0.0, le=0.9)

    @model_validator(mode="after")
    def _falls(self) -> "Decay":
        if (self.half_life is None) == (self.rate is None):
            raise ValueError("a decay has a half_life (12h) or a rate (units an hour): one of them")
        if self.start <= self.min:
            raise ValueError(f"a decay starts above min: start {self.start:g}, min {self.min:g}")
        if self.half_life is not None and (self.min < 0 or (self.recharge is not None and self.min == 0)):
            raise ValueError(
                "what halves never reaches 0: give a min above 0, or a rate in place of half_life"
            )
        return self

    def generator(self, rng: random.Random) -> Generator:
        speed = 1.0 + rng.uniform(-self.spread, self.spread) if self.spread else 1.0
        fall = self._hours_to_min() / speed
        rise = math.inf if self.recharge is None else self.recharge / HOUR
        elapsed = since_first()

        def next_value(now: Nanoseconds) -> float:
            hours = elapsed(now) / HOUR
            if math.isfinite(fall + rise):
                hours %= fall + rise
            if hours < fall:
                return round(self._fallen(hours * speed), 3)
            return round(self.min + (self.start - self.min) * (hours - fall) / rise, 3)

        return next_value

    def _hours_to_min(self) -> float:
        if self.rate is not None:
            return (self.start - self.min) / self.rate
        assert self.half_life is not None  # noqa: S101 - one of the two is there, see _falls
        return math.inf if self.min <= 0 else math.log2(self.start / self.min) * self.half_life / HOUR

    def _fallen(self, hours: float) -> float:
        if self.rate is not None:
            return max(self.min, self.start - self.rate * hours)
        assert self.half_life is not None  # noqa: S101 - one of the two is there, see _falls
        return max(self.min, self.start * math.exp2(-hours * HOUR / self.half_life))


class Series(Spec):
    """A list of values in their order, one a reading, or each for `every`; then again, or the last one is held."""

    values: tuple[JsonValue, ...] = Field(min_length=1)
    at_end: Literal["repeat", "hold"] = "repeat"
    every: PositiveDuration | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"values": value} if isinstance(value, list | tuple) else value

    def generator(self, _: random.Random) -> Generator:
        return played(self.values, every=self.every, hold=self.at_end == "hold")


def played(
    values: Sequence[Json], *, every: Nanoseconds | None, hold: bool = False, first: int = 0
) -> Generator:
    """Values in order from place `first` on, one a call or each for `every`; looped, or the last one held."""
    count = 0
    elapsed = since_first()

    def next_value(now: Nanoseconds) -> Json:
        nonlocal count
        place = first + (count if every is None else elapsed(now) // every)
        count += 1
        return values[min(place, len(values) - 1) if hold else place % len(values)]

    return next_value


def since_first() -> Callable[[Nanoseconds], Nanoseconds]:
    """Nanoseconds since the time of the first call; never below 0."""
    first: Nanoseconds | None = None

    def elapsed(now: Nanoseconds) -> Nanoseconds:
        nonlocal first
        if first is None:
            first = now
        return max(0, now - first)

    return elapsed

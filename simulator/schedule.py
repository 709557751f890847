"""When a device publishes: the time to its next reading."""

import math
import random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.messages import Nanoseconds

from .generators import DAY
from .values import ClockTime, PositiveDuration, Share, since_midnight

SHORTEST_GAP: Nanoseconds = 100_000
"""0.1 ms: 10,000 messages a second from one device are as many as all of the simulator can send."""


class Sleep(BaseModel):
    """A battery device: it reads for `awake`, then does nothing for `asleep`, and so on.

    Every device has a rhythm of its own: it wakes up with its first reading. What falls due while it sleeps is
    one reading at the moment it wakes up. Its connection stays open meanwhile, and no behaviour wakes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    awake: PositiveDuration
    asleep: PositiveDuration

    @property
    def cycle(self) -> Nanoseconds:
        return self.awake + self.asleep

    def not_before_waking(self, due: Nanoseconds, *, woke: Nanoseconds) -> Nanoseconds:
        """`due`, or the next time that a device awake at `woke` is awake after it."""
        into = (due - woke) % self.cycle
        return due if into < self.awake else due + self.cycle - into


class Every(BaseModel):
    """The distribution of the time between two readings; a plain duration means constant.

    `jitter` is the standard deviation as a share of the mean (lognormal, diurnal), or the half width (constant);
    poisson has a spread of its own. With `diurnal` the rate follows the time of day (UTC): it is highest at
    `peak` and lowest half a day later, `amplitude` above and below its mean over the day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dist: Literal["constant", "lognormal", "poisson", "diurnal"] = "constant"
    mean: PositiveDuration
    jitter: Share = Field(default=0.0, ge=0.0, le=2.0)
    peak: ClockTime = "15:00"
    amplitude: Share = Field(default=0.5, ge=0.0, le=0.95)
    """Below 1, so that the rate is never zero: at 0.95 the night has a 39th of the peak's readings."""
    sleep: Sleep | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return value if isinstance(value, dict | cls) else {"mean": value}

    @model_validator(mode="after")
    def _parts_mean_something(self) -> "Every":
        if self.dist == "poisson" and self.jitter:
            raise ValueError("poisson takes no jitter: its spread is its mean")
        if self.dist == "constant" and self.jitter > 1:
            raise ValueError("a constant interval jitters by 100% at most")
        if self.dist != "diurnal" and (given := self.model_fields_set & {"peak", "amplitude"}):
            raise ValueError(f"{self.dist} takes no {min(given)}: that is for dist: diurnal")
        return self

    @property
    def spread(self) -> Nanoseconds:
        """The time over which the first readings of a group are spread."""
        return self.mean if self.sleep is None else self.sleep.cycle

    def gap(
        self, rng: random.Random, rate_factor: float, now: Nanoseconds = 0, *, woke: Nanoseconds = 0
    ) -> Nanoseconds:
        """Time from `now` to the next reading when the rate is `rate_factor` times the usual.

        `now` matters to a diurnal rate and to sleep; `woke` is any moment at which the device woke up.
        """
        mean = self.mean / (rate_factor * self._rate_at(now))
        gap = max(SHORTEST_GAP, int(mean * self._relative(rng)))
        if self.sleep is None:
            return gap
        return self.sleep.not_before_waking(now + gap, woke=woke) - now

    def _rate_at(self, now: Nanoseconds) -> float:
        """The rate at a time of day, as a multiple of the mean over the day."""
        if self.dist != "diurnal":
            return 1.0
        phase = 2 * math.pi * ((now - since_midnight(self.peak)) % DAY) / DAY
        return 1.0 + self.amplitude * math.cos(phase)

    def _relative(self, rng: random.Random) -> float:
        if self.dist == "poisson":
            return rng.expovariate(1.0)
        if self.dist == "constant":
            return 1.0 + rng.uniform(-self.jitter, self.jitter)
        sigma = math.sqrt(
            math.log1p(self.jitter**2)
        )  # of a lognormal whose standard deviation is jitter * mean
        return rng.lognormvariate(-(sigma**2) / 2, sigma)

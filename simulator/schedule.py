"""When a device publishes: the time to its next reading."""

import math
import random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.messages import Nanoseconds

from .values import PositiveDuration, Share

SHORTEST_GAP: Nanoseconds = 100_000
"""0.1 ms: 10,000 messages a second from one device are as many as all of the simulator can send."""


class Every(BaseModel):
    """The distribution of the time between two readings; a plain duration means constant.

    `jitter` is the standard deviation as a share of the mean (lognormal), or the half width (constant);
    poisson has a spread of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dist: Literal["constant", "lognormal", "poisson"] = "constant"
    mean: PositiveDuration
    jitter: Share = Field(default=0.0, ge=0.0, le=2.0)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return value if isinstance(value, dict | cls) else {"mean": value}

    @model_validator(mode="after")
    def _jitter_means_something(self) -> "Every":
        if self.dist == "poisson" and self.jitter:
            raise ValueError("poisson takes no jitter: its spread is its mean")
        if self.dist == "constant" and self.jitter > 1:
            raise ValueError("a constant interval jitters by 100% at most")
        return self

    def gap(self, rng: random.Random, rate_factor: float) -> Nanoseconds:
        """Time to the next reading when the rate is `rate_factor` times the usual."""
        mean = self.mean / rate_factor
        return max(SHORTEST_GAP, int(mean * self._relative(rng)))

    def _relative(self, rng: random.Random) -> float:
        if self.dist == "poisson":
            return rng.expovariate(1.0)
        if self.dist == "constant":
            return 1.0 + rng.uniform(-self.jitter, self.jitter)
        sigma = math.sqrt(
            math.log1p(self.jitter**2)
        )  # of a lognormal whose standard deviation is jitter * mean
        return rng.lognormvariate(-(sigma**2) / 2, sigma)

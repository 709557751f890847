"""When a device publishes: the time to its next reading."""

import math
import random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.messages import Nanoseconds

from .values import PositiveDuration, Share


class Every(BaseModel):
    """The distribution of the time between two readings; a plain duration means constant.

    `jitter` is the standard deviation as a share of the mean (lognormal), or the half width (constant).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dist: Literal["constant", "lognormal", "poisson"] = "constant"
    mean: PositiveDuration
    jitter: Share = Field(default=0.0, ge=0.0, le=2.0)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"mean": value} if isinstance(value, str) else value

    def gap(self, rng: random.Random, rate_factor: float) -> Nanoseconds:
        """Time to the next reading when the rate is `rate_factor` times the usual; at least a tenth of a millisecond."""
        mean = self.mean / rate_factor
        return max(100_000, int(mean * self._relative(rng)))

    def _relative(self, rng: random.Random) -> float:
        if self.dist == "poisson":
            return rng.expovariate(1.0)
        if self.dist == "constant":
            return 1.0 + rng.uniform(-self.jitter, self.jitter)
        sigma = math.sqrt(math.log1p(self.jitter**2))
        return rng.lognormvariate(-(sigma**2) / 2, sigma)

"""Attacks."""

from typing import ClassVar

from pydantic import Field

from ..device import Device, Effect, Extra
from ..values import Duration, Topic
from .base import Behaviour, Span, Step

RAMP_STEPS = 8


class PublishFlood(Behaviour):
    """Devices publish `rate_factor` times as often, rising over `ramp` (from twice the usual rate on)."""

    kind: ClassVar[str] = "attack.publish_flood"

    rate_factor: float = Field(default=30.0, gt=1, le=10_000)
    ramp: Duration = 0

    def steps(self, span: Span, device: Device, place: int) -> list[Step]:
        _ = place
        if not self.ramp:
            return [self._step(span, device, 0, self.rate_factor)]
        # geometric: what rises from 2 to 40 is at 9 half way
        low = min(2.0, self.rate_factor)
        rise = self.rate_factor / low
        return [
            self._step(span, device, number, low * rise ** (number / RAMP_STEPS))
            for number in range(RAMP_STEPS + 1)
        ]

    def _step(self, span: Span, device: Device, number: int, factor: float) -> Step:
        at = span.until_end(span.start + self.ramp * number // RAMP_STEPS)
        return Step(at, "effect", device.device_id, span.phase, Effect(rate_factor=factor))


class CoordinatedBotnet(Behaviour):
    """Devices start together: a little louder than their peers, and talking on topics of their own.

    `topics` may hold `{type}` and `{device}`; every bot publishes to one of them `odd_rate` times a second.
    """

    kind: ClassVar[str] = "attack.coordinated_botnet"

    rate_factor: float = Field(default=3.0, ge=1, le=10_000)
    odd_rate: float = Field(default=1.0, ge=0.001, le=1_000)
    topics: tuple[Topic, ...] = Field(default=("dt/{type}/{device}/c2",), min_length=1)

    def steps(self, span: Span, device: Device, place: int) -> list[Step]:
        _ = place
        topics = tuple(device.fill(topic) for topic in self.topics)
        effect = Effect(rate_factor=self.rate_factor, extra=Extra(topics, self.odd_rate))
        return [Step(span.start, "effect", device.device_id, span.phase, effect)]

"""Attacks."""

from typing import ClassVar

from pydantic import Field

from contracts.messages import SECOND, Label, Nanoseconds

from ..device import Device, Effect
from ..values import Duration
from .base import Behaviour, Plan, Span, Step

RAMP_STEPS = 8


class PublishFlood(Behaviour):
    """Devices publish `rate_factor` times as often, rising over `ramp` (from twice the usual rate on)."""

    kind: ClassVar[str] = "attack.publish_flood"

    rate_factor: float = Field(default=30.0, gt=1, le=10_000)
    ramp: Duration = 0

    def plan(self, span: Span) -> Plan:
        steps: list[Step] = []
        for device in span.targets:
            steps += self._rise(span, device)
            steps.append(Step(span.end, "restore", device.device_id, span.phase))
        return Plan(tuple(steps), tuple(self.label(span, device, span.start) for device in span.targets))

    def _rise(self, span: Span, device: Device) -> list[Step]:
        """Geometric steps: what rises from 2 to 40 is at 9 half way."""
        if not self.ramp:
            return [Step(span.start, "effect", device.device_id, span.phase, Effect(self.rate_factor))]
        low = min(2.0, self.rate_factor)
        return [
            Step(
                span.start + self.ramp * number // RAMP_STEPS,
                "effect",
                device.device_id,
                span.phase,
                Effect(low * (self.rate_factor / low) ** (number / RAMP_STEPS)),
            )
            for number in range(RAMP_STEPS + 1)
        ]


class CoordinatedBotnet(Behaviour):
    """Devices start together: a little louder than their peers, and talking on topics of their own.

    `topics` may hold `{type}` and `{device}`; every bot publishes to one of them `odd_rate` times a second.
    """

    kind: ClassVar[str] = "attack.coordinated_botnet"

    rate_factor: float = Field(default=3.0, ge=1, le=10_000)
    odd_rate: float = Field(default=1.0, gt=0, le=1_000)
    topics: tuple[str, ...] = Field(default=("dt/{type}/{device}/c2",), min_length=1)

    def plan(self, span: Span) -> Plan:
        steps: list[Step] = []
        for device in span.targets:
            steps.append(Step(span.start, "effect", device.device_id, span.phase, Effect(self.rate_factor)))
            steps += self._beacons(span, device)
            steps.append(Step(span.end, "restore", device.device_id, span.phase))
        labels: tuple[Label, ...] = tuple(self.label(span, device, span.start) for device in span.targets)
        return Plan(tuple(steps), labels)

    def _beacons(self, span: Span, device: Device) -> list[Step]:
        gap: Nanoseconds = int(SECOND / self.odd_rate)
        names = [
            t.replace("{type}", device.device_type).replace("{device}", device.device_id) for t in self.topics
        ]
        steps: list[Step] = []
        at = span.start + int(gap * span.rng.random() / 2)
        while at < span.end:
            steps.append(Step(at, "publish", device.device_id, span.phase, topic=span.rng.choice(names)))
            at += int(gap * span.rng.uniform(0.8, 1.2))
        return steps

"""Benign upticks: what makes traffic jump and is no attack."""

from typing import ClassVar

from pydantic import Field

from contracts.messages import SECOND, Nanoseconds

from ..device import Effect
from ..values import Duration
from .base import Behaviour, Plan, Span, Step


class FirmwareRollout(Behaviour):
    """Devices reboot in waves, come back with new firmware, and report more and larger for the rest of the phase.

    Waves start evenly over the first half of the phase; within a wave each device starts up to a second late.
    """

    kind: ClassVar[str] = "benign.firmware_rollout"

    rate_factor: float = Field(default=2.0, gt=0, le=20)
    extra_bytes: int = Field(default=300, ge=0, le=100_000)
    new_fw: str = "2.0.0"
    reboot: Duration = 2 * SECOND

    def plan(self, span: Span) -> Plan:
        steps: list[Step] = []
        labels = []
        effect = Effect(self.rate_factor, self.extra_bytes)
        for place, device in enumerate(span.targets):
            wave = place * span.waves // len(span.targets)
            start = span.start + wave * span.length // (2 * span.waves) + _within(span, SECOND)
            back = start + self.reboot // 2 + _within(span, self.reboot)
            steps += [
                Step(start, "offline", device.device_id, span.phase),
                Step(back, "effect", device.device_id, span.phase, effect, self.new_fw),
                Step(back, "online", device.device_id, span.phase),
                Step(span.end, "restore", device.device_id, span.phase),
            ]
            labels.append(self.label(span, device, start))
        return Plan(tuple(steps), tuple(labels))


class ReconnectStorm(Behaviour):
    """Devices drop together, keep their readings, come back with backoff and jitter, and send what they kept."""

    kind: ClassVar[str] = "benign.reconnect_storm"

    outage: Duration = 5 * SECOND
    spread: Duration = 4 * SECOND

    def plan(self, span: Span) -> Plan:
        steps: list[Step] = []
        labels = []
        for device in span.targets:
            gone = span.start + _within(span, SECOND // 5)
            back = min(span.start + self.outage + _within(span, self.spread), span.end)
            steps += [
                Step(gone, "offline", device.device_id, span.phase),
                Step(back, "online", device.device_id, span.phase),
            ]
            labels.append(self.label(span, device, gone))
        return Plan(tuple(steps), tuple(labels))


def _within(span: Span, length: Nanoseconds) -> Nanoseconds:
    return int(length * span.rng.random())

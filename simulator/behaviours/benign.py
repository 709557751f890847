"""Benign upticks: what makes traffic jump and is no attack."""

from typing import ClassVar

from pydantic import Field

from contracts.messages import SECOND, Nanoseconds

from ..device import Device, Effect
from ..values import Duration, PositiveDuration
from .base import Behaviour, Span, Step


class FirmwareRollout(Behaviour):
    """Devices reboot in waves, come back with new firmware, and report more and larger for the rest of the phase.

    Waves start evenly over the first half of the phase; within a wave each device starts up to a second late.
    `reboot` is the mean time that a device is gone, from half of it to one and a half. The firmware stays.
    """

    kind: ClassVar[str] = "benign.firmware_rollout"
    in_waves: ClassVar[bool] = True

    rate_factor: float = Field(default=2.0, ge=0.01, le=20)
    extra_bytes: int = Field(default=300, ge=0, le=100_000)
    new_fw: str = Field(default="2.0.0", min_length=1, max_length=100)
    reboot: PositiveDuration = 2 * SECOND

    def steps(self, span: Span, device: Device, place: int) -> list[Step]:
        wave = place * span.waves // len(span.targets)
        wave_start = span.start + wave * span.length // (2 * span.waves)
        start = span.until_end(wave_start + span.within(SECOND))
        back = span.until_end(start + self.reboot // 2 + span.within(self.reboot))
        effect = Effect(rate_factor=self.rate_factor, extra_bytes=self.extra_bytes)
        return [
            Step(start, "off", device.device_id, span.phase),
            Step(back, "effect", device.device_id, span.phase, effect, self.new_fw),
            Step(back, "online", device.device_id, span.phase),
        ]


class ReconnectStorm(Behaviour):
    """Devices lose the network together, try again with backoff and jitter, and send what they kept as a burst.

    The network is back after `outage`; a device notices at its next attempt. Attempts wait `backoff`, doubled
    each time up to `max_backoff`, each times a random factor of a half to one and a half.
    """

    kind: ClassVar[str] = "benign.reconnect_storm"

    outage: Duration = 5 * SECOND
    backoff: PositiveDuration = SECOND
    max_backoff: PositiveDuration = 8 * SECOND

    def steps(self, span: Span, device: Device, place: int) -> list[Step]:
        _ = place
        gone = span.start + span.within(min(SECOND // 5, span.length))
        back = span.until_end(self._first_attempt_after(span, gone))
        return [
            Step(gone, "cut", device.device_id, span.phase),
            Step(back, "online", device.device_id, span.phase),
        ]

    def _first_attempt_after(self, span: Span, gone: Nanoseconds) -> Nanoseconds:
        up = span.start + self.outage
        # only the last attempts of a long outage matter: 64 are enough to forget how they began
        attempt = max(gone, up - 64 * self.max_backoff)
        wait = self.backoff
        while attempt <= gone or attempt < up:
            attempt += wait // 2 + span.within(wait) + 1
            wait = min(2 * wait, self.max_backoff)
        return attempt

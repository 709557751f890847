"""Benign upticks: what makes traffic jump, or fall, and is no attack."""

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from contracts.messages import MILLISECOND, SECOND, Nanoseconds

from ..device import Device
from ..effects import Effect, Extra
from ..values import Duration, PositiveDuration, Share, Topic
from .base import AnyStep, DeviceBehaviour, EffectBehaviour, OrderStep, Span, Step

CURVE_STEPS = 12


class Diurnal(DeviceBehaviour):
    """The working day: the rate rises along a half sine to `peak_factor` in the middle of the phase and falls again."""

    kind: ClassVar[str] = "benign.diurnal"

    peak_factor: float = Field(default=3.0, gt=1, le=50)

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        _ = place
        return [
            _rate(span, device, number / CURVE_STEPS, 1 + (self.peak_factor - 1) * height)
            for number in range(CURVE_STEPS)
            if (height := math.sin(math.pi * (number + 0.5) / CURVE_STEPS)) >= 0
        ]


class FlashCrowd(DeviceBehaviour):
    """Everybody at once (the end of a match, a cold front): up to `rate_factor` within `rise`, then it fades away."""

    kind: ClassVar[str] = "benign.flash_crowd"

    rate_factor: float = Field(default=5.0, gt=1, le=100)
    rise: PositiveDuration = 2 * SECOND

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        _ = place
        up = span.until_end(span.start + span.within(self.rise))
        fade = [
            _rate(span, device, share, 1 + (self.rate_factor - 1) * math.exp(-3 * share))
            for share in (number / CURVE_STEPS for number in range(4, CURVE_STEPS))
        ]
        first = Step(up, "effect", device.device_id, span.phase, Effect(rate_factor=self.rate_factor))
        return [first, *(step for step in fade if step.at > up)]


class FirmwareRollout(DeviceBehaviour):
    """A retained job tells devices, wave by wave, to reboot into new firmware; after that they report more and larger.

    Waves are ordered evenly over the first half of the phase; within a wave each job comes up to a second late.
    `reboot` is the mean time that a device is gone, from half of it to one and a half. The firmware stays.
    """

    kind: ClassVar[str] = "benign.firmware_rollout"
    in_waves: ClassVar[bool] = True

    rate_factor: float = Field(default=2.0, ge=0.01, le=20)
    extra_bytes: int = Field(default=300, ge=0, le=100_000)
    new_fw: str = Field(default="2.0.0", min_length=1, max_length=100)
    reboot: PositiveDuration = 2 * SECOND

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        wave = place * span.waves // len(span.targets)
        wave_start = span.start + wave * span.length // (2 * span.waves)
        at = span.until_end(wave_start + span.within(SECOND))
        job = {
            "job": span.phase,
            "firmware": self.new_fw,
            "reboot_ms": (self.reboot // 2 + span.within(self.reboot)) // MILLISECOND,
            "rate_factor": self.rate_factor,
            "extra_bytes": self.extra_bytes,
        }
        return [OrderStep(at, device.device_id, job), OrderStep(span.end, device.device_id, {})]


class ReconnectStorm(DeviceBehaviour):
    """Devices lose the network together, try again with backoff and jitter, and send what they kept as a burst.

    The network is back after `outage`; a device notices at its next attempt. Attempts wait `backoff`, doubled
    each time up to `max_backoff`, each times a random factor of a half to one and a half.
    """

    kind: ClassVar[str] = "benign.reconnect_storm"

    outage: Duration = 5 * SECOND
    backoff: PositiveDuration = SECOND
    max_backoff: PositiveDuration = 8 * SECOND

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
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


class BackfillBurst(DeviceBehaviour):
    """A gateway in the field was down: its devices measured on, and send everything they kept when it is back.

    `outage` is a share of the phase; they come back within `spread`.
    """

    kind: ClassVar[str] = "benign.backfill_burst"

    outage: Share = Field(default=0.5, gt=0, lt=1)
    spread: Duration = SECOND

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        _ = place
        back = span.start + int(span.length * self.outage) + span.within(self.spread)
        return [
            Step(span.start, "cut", device.device_id, span.phase),
            Step(span.until_end(back), "online", device.device_id, span.phase),
        ]


class Onboarding(DeviceBehaviour):
    """New devices: the targets are not there before the phase, and come one after the other during its first half.

    They stay after it. For the first `warm_up` each reports `rate_factor` times as often, as after an installation.
    """

    kind: ClassVar[str] = "benign.onboarding"
    absent: ClassVar[bool] = True

    rate_factor: float = Field(default=2.0, ge=1, le=20)
    warm_up: Duration = 5 * SECOND

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        at = span.start + place * span.length // (2 * len(span.targets))
        settled = span.until_end(at + self.warm_up)
        effect = Effect(rate_factor=self.rate_factor)
        return [
            Step(at, "effect", device.device_id, span.phase, effect),
            Step(at, "online", device.device_id, span.phase),
            Step(settled, "effect", device.device_id, span.phase),
        ]


class SamplingChange(EffectBehaviour):
    """An engineer sets another sampling rate for a while: all targets follow within `spread_over`."""

    kind: ClassVar[str] = "benign.sampling_change"

    rate_factor: float = Field(default=3.0, ge=0.05, le=50)
    spread_over: Duration = 2 * SECOND

    def spread(self) -> Nanoseconds:
        return self.spread_over

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(rate_factor=self.rate_factor)


class AlarmCascade(DeviceBehaviour):
    """One physical event trips neighbouring devices one after the other; each repeats its alarm until the phase ends.

    The alarms go to a topic of their own, which nobody used before: that is why it looks like an attack. The cascade
    takes the first third of the phase.
    """

    kind: ClassVar[str] = "benign.alarm_cascade"

    alarm_rate: float = Field(default=1.0, ge=0.01, le=100)
    topic: Topic = "dt/{type}/{device}/alarm"

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        at = span.start + place * span.length // (3 * len(span.targets))
        extra = Extra((device.fill(self.topic),), self.alarm_rate, body="alarm")
        return [Step(at, "effect", device.device_id, span.phase, Effect(extra=extra))]


class MaintenanceSilence(DeviceBehaviour):
    """The targets are switched off for maintenance, and come back within `spread` before the phase ends."""

    kind: ClassVar[str] = "benign.maintenance_silence"

    spread: Duration = 2 * SECOND

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        _ = place
        back = max(span.start, span.end - self.spread) + span.within(min(self.spread, span.length))
        return [
            Step(span.start, "off", device.device_id, span.phase),
            Step(back, "online", device.device_id, span.phase),
        ]


class ClockSkew(EffectBehaviour):
    """The targets' own clocks are wrong by `by`, ahead (`future`) or behind: the times in their payloads are."""

    kind: ClassVar[str] = "benign.clock_skew"

    by: PositiveDuration = 300 * SECOND
    future: bool = True

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(clock_offset=self.by if self.future else -self.by)


class QosDuplicates(EffectBehaviour):
    """Acknowledgements get lost on a bad network: a `share` of the readings is sent twice, as QoS 1 allows."""

    kind: ClassVar[str] = "benign.qos_duplicates"

    share: Share = Field(default=0.3, gt=0, le=1)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(duplicates=self.share)


class BatterySaver(EffectBehaviour):
    """Low batteries: the targets report `rate_factor` times as often, which is less, from random moments on."""

    kind: ClassVar[str] = "benign.battery_saver"

    rate_factor: float = Field(default=0.2, gt=0, lt=1)
    spread_over: Duration = 5 * SECOND

    def spread(self) -> Nanoseconds:
        return self.spread_over

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(rate_factor=self.rate_factor)


def _rate(span: Span, device: Device, share: float, factor: float) -> Step:
    """Another rate from this share of the phase on."""
    at = span.start + int(span.length * share)
    return Step(at, "effect", device.device_id, span.phase, Effect(rate_factor=factor))

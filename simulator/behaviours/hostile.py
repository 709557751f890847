"""Attacks by devices of the fleet: they are connected as themselves, and somebody else decides what they send."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from contracts.messages import SECOND

from ..device import Device
from ..effects import Breakage, Effect, Extra, Spoof
from ..values import Duration, PositiveDuration, Share, Topic
from .base import AnyStep, DeviceBehaviour, EffectBehaviour, Span, Step, SubscribeStep

RAMP_STEPS = 8

WORDS = (
    "admin", "config", "debug", "firmware", "keys", "log", "ota", "password", "root", "secret", "shell", "status",
    "system", "token", "update", "user", "wifi", "backup", "test", "internal",
)  # fmt: skip
"""What somebody tries who does not know the names."""


class PublishFlood(DeviceBehaviour):
    """Devices publish `rate_factor` times as often, rising over `ramp` (from twice the usual rate on)."""

    kind: ClassVar[str] = "attack.publish_flood"

    rate_factor: float = Field(default=30.0, gt=1, le=10_000)
    ramp: Duration = 0

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
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


class LowAndSlow(EffectBehaviour):
    """A little more than usual for a long time, so that no single window stands out; targets begin one by one."""

    kind: ClassVar[str] = "attack.low_and_slow"

    rate_factor: float = Field(default=1.6, gt=1, le=5)
    extra_bytes: int = Field(default=40, ge=0, le=10_000)

    def spread(self) -> int:
        return 5 * SECOND

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(rate_factor=self.rate_factor, extra_bytes=self.extra_bytes)


class CoordinatedBotnet(EffectBehaviour):
    """Devices start together: a little louder than their peers, and talking on topics of their own.

    `topics` may hold `{type}` and `{device}`; every bot publishes to one of them `odd_rate` times a second.
    """

    kind: ClassVar[str] = "attack.coordinated_botnet"

    rate_factor: float = Field(default=3.0, ge=1, le=10_000)
    odd_rate: float = Field(default=1.0, ge=0.001, le=1_000)
    topics: tuple[Topic, ...] = Field(default=("dt/{type}/{device}/c2",), min_length=1)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span
        topics = tuple(device.fill(topic) for topic in self.topics)
        return Effect(rate_factor=self.rate_factor, extra=Extra(topics, self.odd_rate))


class TopicEnumeration(DeviceBehaviour):
    """A device looks for what else there is: it publishes on guessed topics, and asks to read others' data.

    `rate` guesses a second; a SUBSCRIBE to guessed filters every 2 s, which the policy refuses.
    """

    kind: ClassVar[str] = "attack.topic_enumeration"

    rate: float = Field(default=5.0, ge=0.01, le=1_000)
    words: int = Field(default=20, ge=1, le=len(WORDS))

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        _ = place
        words = WORDS[: self.words]
        topics = tuple(f"dt/{device.device_type}/{device.device_id}/{word}" for word in words)
        first = Step(
            span.start, "effect", device.device_id, span.phase, Effect(extra=Extra(topics, self.rate))
        )
        asked = [
            SubscribeStep(at, device.device_id, tuple(f"{span.rng.choice(words)}/#" for _ in range(4)))
            for at in range(span.start + SECOND, span.end, 2 * SECOND)
        ]
        return [first, *asked]


class UnauthorisedPublish(EffectBehaviour):
    """A device publishes where its policy does not let it, and is thrown out for it, again and again.

    `topics` may hold `{type}` and `{device}`.
    """

    kind: ClassVar[str] = "attack.unauthorised_publish"

    rate: float = Field(default=1.0, ge=0.01, le=100)
    topics: tuple[Topic, ...] = Field(default=("admin/{type}/config", "ota/{device}/image"), min_length=1)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span
        topics = tuple(device.fill(topic) for topic in self.topics)
        return Effect(extra=Extra(topics, self.rate), hasty=True)


class OversizePayload(EffectBehaviour):
    """Payloads far beyond the usual: the gateway throws out who sends more than its limit (128 KB on AWS)."""

    kind: ClassVar[str] = "attack.oversize_payload"

    bytes: int = Field(default=100_000, ge=1_000, le=1_000_000)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(padded_to=self.bytes, hasty=True)


class MalformedPayload(EffectBehaviour):
    """Payloads that the consumers cannot read: truncated JSON, binary, or another schema."""

    kind: ClassVar[str] = "attack.malformed_payload"

    breakage: Literal["truncated", "binary", "schema"] = "truncated"
    share: Share = Field(default=1.0, gt=0, le=1)
    rate_factor: float = Field(default=1.0, ge=0.1, le=100)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        breakage: Breakage = self.breakage
        return Effect(breakage=breakage, share=self.share, rate_factor=self.rate_factor)


class Exfiltration(EffectBehaviour):
    """A device sends out what it should not: blocks of data on a topic of its own, beside its readings."""

    kind: ClassVar[str] = "attack.exfiltration"

    rate: float = Field(default=2.0, ge=0.01, le=1_000)
    bytes: int = Field(default=4_000, ge=50, le=100_000)
    topic: Topic = "dt/{type}/{device}/sync"

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span
        return Effect(extra=Extra((device.fill(self.topic),), self.rate, body="blob", size=self.bytes))


class SensorSpoof(EffectBehaviour):
    """False values in an honest rhythm: fixed, scaled, moved, frozen, or drifting `drift` a second.

    `fields` names those of the payload; none means every number.
    """

    kind: ClassVar[str] = "attack.sensor_spoof"

    fields: tuple[str, ...] = ()
    mode: Literal["fixed", "scale", "offset", "freeze", "drift"] = "scale"
    by: float = Field(default=3.0, ge=-1e9, le=1e9)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = device
        spoof = Spoof(
            self.fields,
            value=self.by if self.mode == "fixed" else None,
            scale=self.by if self.mode == "scale" else 1.0,
            offset=self.by if self.mode == "offset" else 0.0,
            drift=self.by if self.mode == "drift" else 0.0,
            freeze=self.mode == "freeze",
            since=span.start,
        )
        return Effect(spoof=spoof)


class Replay(EffectBehaviour):
    """Old payloads of a device are sent once more, byte for byte, `rate` times a second, beside its new ones."""

    kind: ClassVar[str] = "attack.replay"

    rate: float = Field(default=2.0, ge=0.01, le=1_000)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span
        return Effect(extra=Extra((device.topic,), self.rate, body="replay"))


class C2Beacon(EffectBehaviour):
    """A device calls home: small messages on a topic of its own, every `every` with hardly any jitter."""

    kind: ClassVar[str] = "attack.c2_beacon"

    every: PositiveDuration = 5 * SECOND
    topic: Topic = "dt/{type}/{device}/hb"

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span
        rate = SECOND / self.every
        return Effect(extra=Extra((device.fill(self.topic),), rate, body="alarm", jitter=0.02))


class BillAbuse(EffectBehaviour):
    """Well-formed messages that cost the most: just below the throttle, just above a metering unit.

    AWS IoT Core meters messages by 5 KB (IoT Core pricing page): 5,200 bytes cost two.
    """

    kind: ClassVar[str] = "attack.bill_abuse"

    rate_factor: float = Field(default=8.0, gt=1, le=1_000)
    bytes: int = Field(default=5_200, ge=100, le=100_000)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(rate_factor=self.rate_factor, padded_to=self.bytes)


class Mimic(EffectBehaviour):
    """An attacker that copies what a rollout does to everybody, and hides a second channel in it.

    Rate and size rise like those of a rollout; the odd messages are few.
    """

    kind: ClassVar[str] = "attack.mimic"

    rate_factor: float = Field(default=2.0, ge=1, le=20)
    extra_bytes: int = Field(default=300, ge=0, le=100_000)
    odd_rate: float = Field(default=0.3, ge=0.001, le=100)
    topic: Topic = "dt/{type}/{device}/upd"

    def spread(self) -> int:
        return SECOND

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span
        extra = Extra((device.fill(self.topic),), self.odd_rate, body="alarm")
        return Effect(rate_factor=self.rate_factor, extra_bytes=self.extra_bytes, extra=extra)

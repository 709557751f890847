"""Faults of the platform and of the network: nobody's attack, and nothing may be lost by them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from contracts.messages import SECOND, Label, Nanoseconds

from ..device import Device
from ..effects import Effect
from ..values import PositiveDuration, Share
from .base import AnyStep, Behaviour, DeviceBehaviour, EffectBehaviour, FaultStep, Plan, Span, Step


class PlatformFault(Behaviour):
    """A fault that is switched on at the phase's beginning and undone at its end. It needs no targets.

    The label names nobody.
    """

    def parameters(self) -> Mapping[str, Any]:
        """What the platform is told; durations in seconds."""
        return {
            name: value / SECOND if name in self.durations else value
            for name, value in self.model_dump().items()
        }

    durations: ClassVar[frozenset[str]] = frozenset()

    def plan(self, span: Span) -> Plan:
        kind, told = self.kind.partition(".")[2], self.parameters()
        steps = (
            FaultStep(span.start, kind, span.phase, told, on=True),
            FaultStep(span.end, kind, span.phase, {}, on=False),
        )
        label: Label = self.label(span, "", span.start)
        return Plan(steps, (label,))


class BrokerRestart(PlatformFault):
    """The broker closes every connection and takes none until the phase is over; devices come back with backoff."""

    kind: ClassVar[str] = "fault.broker_restart"


class Throttle(PlatformFault):
    """The tables take a `share` of the writes only: the others are throttled and tried again."""

    kind: ClassVar[str] = "fault.throttle"

    share: Share = Field(default=0.5, gt=0, le=1)


class ServiceError(PlatformFault):
    """A `share` of the calls to SNS fails with an error of the service; they are tried again."""

    kind: ClassVar[str] = "fault.service_error"

    share: Share = Field(default=0.5, gt=0, le=1)


class HandlerCrash(PlatformFault):
    """A `share` of the handler's invocations raises: the batch returns to the queue and is handled again."""

    kind: ClassVar[str] = "fault.handler_crash"

    share: Share = Field(default=0.2, gt=0, le=1)


class StreamLag(PlatformFault):
    """The tables' streams deliver `delay` late: the view is stale meanwhile."""

    kind: ClassVar[str] = "fault.stream_lag"
    durations: ClassVar[frozenset[str]] = frozenset({"delay"})

    delay: PositiveDuration = 3 * SECOND


class ServiceLatency(PlatformFault):
    """SNS, the queues and the tables answer every call `delay` later: the path slows down, and must catch up."""

    kind: ClassVar[str] = "fault.service_latency"
    durations: ClassVar[frozenset[str]] = frozenset({"delay"})

    delay: PositiveDuration = SECOND // 5


class EmulatorRestart(PlatformFault):
    """The AWS emulator is stopped and comes back at the phase's end, with its data and without its streams' records."""

    kind: ClassVar[str] = "fault.emulator_restart"


class DuplicateDelivery(PlatformFault):
    """A `share` of the batches is delivered twice, as queues may: the view must not show it."""

    kind: ClassVar[str] = "fault.duplicate_delivery"

    share: Share = Field(default=0.3, gt=0, le=1)


class Reorder(PlatformFault):
    """Batches arrive shuffled: the newest state of a device must win all the same."""

    kind: ClassVar[str] = "fault.reorder"

    share: Share = Field(default=1.0, gt=0, le=1)


class PoisonMessage(PlatformFault):
    """`count` messages that no handler understands get into the telemetry queue: they end as dead letters, alone."""

    kind: ClassVar[str] = "fault.poison_message"

    count: int = Field(default=3, ge=1, le=1_000)


class NetworkDrop(DeviceBehaviour):
    """The targets' network is gone until the phase is over: they measure on, and send what they kept."""

    kind: ClassVar[str] = "fault.network_drop"

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        _ = place
        gone = span.start + span.within(min(SECOND // 2, span.length))
        return [Step(gone, "cut", device.device_id, span.phase)]


class Latency(EffectBehaviour):
    """The network holds every message of the targets back for `delay`, give or take `jitter`."""

    kind: ClassVar[str] = "fault.latency"

    delay: PositiveDuration = SECOND // 2
    jitter: Share = Field(default=0.3, ge=0, le=1)

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(delay=self.delay, delay_jitter=int(self.delay * self.jitter))


class ClockJump(EffectBehaviour):
    """The targets' clocks jump by `by` (a bad time server), and back at the end."""

    kind: ClassVar[str] = "fault.clock_jump"

    by: PositiveDuration = 3600 * SECOND
    back: bool = False

    def spread(self) -> Nanoseconds:
        return SECOND

    def effect(self, span: Span, device: Device) -> Effect:
        _ = span, device
        return Effect(clock_offset=-self.by if self.back else self.by)

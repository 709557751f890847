"""What a behaviour is: a plan of steps, made before the phase is played, and its ground truth.

Pure: the same targets, times and random source give the same plan. The player knows the steps and no behaviour,
so a new one is a new class and an entry in the table of `behaviours/__init__.py`.
"""

import random
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from contracts.messages import Label, LabelKind, Nanoseconds

from ..device import Device
from ..effects import Effect
from ..lines import LineAction

StepKind: TypeAlias = Literal["off", "cut", "online", "effect", "restore"]
"""`off`: disconnects in order and measures nothing (a reboot). `cut`: the network is gone, it measures on.

`online`: the phase no longer holds it offline. `effect`: from now on, in place of this phase's effect before.
`restore`: everything this phase did to the device ends.
"""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to a device at a moment. `effect` and `firmware` belong to the kind `effect`."""

    at: Nanoseconds
    kind: StepKind
    device_id: str
    phase: str
    effect: Effect = field(default=Effect())
    firmware: str | None = None


@dataclass(frozen=True, slots=True)
class SubscribeStep:
    """The device asks for these topic filters, whether it may or not."""

    at: Nanoseconds
    device_id: str
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrderStep:
    """The operator sends a retained job to the device; `job` is its JSON, {} takes the order back."""

    at: Nanoseconds
    device_id: str
    job: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LineStep:
    """Something happens on a connection that is no device's."""

    at: Nanoseconds
    action: LineAction


@dataclass(frozen=True, slots=True)
class FaultStep:
    """A fault of the platform begins (`on`) or is over."""

    at: Nanoseconds
    kind: str
    phase: str
    parameters: Mapping[str, Any]
    on: bool


AnyStep: TypeAlias = Step | SubscribeStep | OrderStep | LineStep | FaultStep


@dataclass(frozen=True, slots=True)
class Span:
    """When a phase is played, and on whom; `targets` come in random order."""

    phase: str
    start: Nanoseconds
    end: Nanoseconds
    targets: Sequence[Device]
    waves: int
    rng: random.Random
    fleet: Sequence[Device] = ()

    @property
    def length(self) -> Nanoseconds:
        return self.end - self.start

    def within(self, length: Nanoseconds) -> Nanoseconds:
        """A random part of `length`."""
        return int(length * self.rng.random())

    def until_end(self, moment: Nanoseconds) -> Nanoseconds:
        """The moment, or the end of the phase if that is earlier."""
        return min(moment, self.end)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a phase, none outside it, and its labels: one for every device or client id that takes part.

    Steps of one moment happen in the order given. Every target is restored at the end of the phase.
    """

    steps: tuple[AnyStep, ...]
    labels: tuple[Label, ...]


class Behaviour(BaseModel):
    """Base of all behaviours: the fields are the parameters of `with:`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: ClassVar[str]
    in_waves: ClassVar[bool] = False
    """Whether `targets.waves` means something to it; a scenario that gives waves to another is refused."""

    absent: ClassVar[bool] = False
    """Whether its targets are not there until it begins."""

    @abstractmethod
    def plan(self, span: Span) -> Plan:
        """The steps and the ground truth of one phase."""

    def label(self, span: Span, device_id: str, start: Nanoseconds) -> Label:
        """The ground truth of one device or client id: takes part from `start` to the end of the phase."""
        family = self.kind.partition(".")[0]
        label: LabelKind = "attack" if family == "attack" else "benign"
        return Label(span.phase, self.kind, label, device_id, start, span.end)


class DeviceBehaviour(Behaviour):
    """A behaviour that does something to every target by itself."""

    @abstractmethod
    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        """What happens to one device, the `place`th target; the first step is when it begins to take part."""

    def plan(self, span: Span) -> Plan:
        steps: list[AnyStep] = []
        labels: list[Label] = []
        for place, device in enumerate(span.targets):
            mine = self.steps(span, device, place)
            labels.append(self.label(span, device.device_id, mine[0].at))
            steps += [*mine, Step(span.end, "restore", device.device_id, span.phase)]
        return Plan(tuple(steps), tuple(labels))


class EffectBehaviour(DeviceBehaviour):
    """A behaviour that is one effect on every target, from the phase's beginning to its end.

    The targets begin at random within `spread()`.
    """

    @abstractmethod
    def effect(self, span: Span, device: Device) -> Effect:
        """The effect on one device."""

    def spread(self) -> Nanoseconds:
        """The time over which the targets begin."""
        return 0

    def steps(self, span: Span, device: Device, place: int) -> Sequence[AnyStep]:
        _ = place
        at = span.until_end(span.start + span.within(min(self.spread(), span.length)))
        return [Step(at, "effect", device.device_id, span.phase, self.effect(span, device))]

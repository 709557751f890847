"""What a behaviour is: a plan of steps, made before the phase is played, and its ground truth.

Pure: the same targets, times and random source give the same plan. The player knows the steps and no behaviour,
so a new one is a new class and an entry in the table of `behaviours/__init__.py`.
"""

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from contracts.messages import Label, LabelKind, Nanoseconds

from ..device import Device, Effect

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
class Span:
    """When a phase is played, and on whom; `targets` come in random order."""

    phase: str
    start: Nanoseconds
    end: Nanoseconds
    targets: Sequence[Device]
    waves: int
    rng: random.Random

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
    """The steps of a phase, none outside it, and one label a device.

    Steps of one moment happen in the order given. Every target is restored at the end of the phase.
    """

    steps: tuple[Step, ...]
    labels: tuple[Label, ...]


class Behaviour(BaseModel):
    """Base of all behaviours: the fields are the parameters of `with:`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: ClassVar[str]
    in_waves: ClassVar[bool] = False
    """Whether `targets.waves` means something to it; a scenario that gives waves to another is refused."""

    @abstractmethod
    def steps(self, span: Span, device: Device, place: int) -> list[Step]:
        """What happens to one device, the `place`th target; the first step is when it begins to take part."""

    def plan(self, span: Span) -> Plan:
        """The steps and the ground truth of one phase."""
        steps: list[Step] = []
        labels: list[Label] = []
        for place, device in enumerate(span.targets):
            mine = self.steps(span, device, place)
            labels.append(self._label(span, device, mine[0].at))
            steps += [*mine, Step(span.end, "restore", device.device_id, span.phase)]
        return Plan(tuple(steps), tuple(labels))

    def _label(self, span: Span, device: Device, start: Nanoseconds) -> Label:
        label: LabelKind = "attack" if self.kind.startswith("attack.") else "benign"
        return Label(span.phase, self.kind, label, device.device_id, start, span.end)

"""What a behaviour is: a plan of steps, made before the phase is played, and its ground truth.

Pure: the same targets, times and random source give the same plan.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from contracts.messages import Label, LabelKind, Nanoseconds

from ..device import Device, Effect

StepKind: TypeAlias = Literal["offline", "online", "effect", "restore", "publish"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something a device does at a moment. `topic` belongs to `publish`, `effect` and `firmware` to `effect`."""

    at: Nanoseconds
    kind: StepKind
    device_id: str
    phase: str
    effect: Effect = field(default=Effect())
    firmware: str | None = None
    topic: str = ""


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


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a phase, in any order, and one label a device."""

    steps: tuple[Step, ...]
    labels: tuple[Label, ...]


class Behaviour(BaseModel):
    """Base of all behaviours: the fields are the parameters of `with:`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]

    def plan(self, span: Span) -> Plan:
        """The steps and the ground truth of one phase."""
        raise TypeError(f"{type(self).__name__} over {span.length} ns does not say what it does")

    def label(self, span: Span, device: Device, start: Nanoseconds) -> Label:
        """The ground truth of one device from its own start to the end of the phase."""
        family = self.kind.partition(".")[0]
        label: LabelKind = "attack" if family == "attack" else "benign"
        return Label(span.phase, self.kind, label, device.device_id, start, span.end)

"""What a player says: what devices, the operator and hostile clients do now. Carried out by `crew.py`."""

from dataclasses import dataclass
from typing import TypeAlias

from contracts.messages import Nanoseconds

from .behaviours.base import FaultStep
from .device import Device, Reading
from .lines import LineAction


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A phase as it is played: absolute start and end."""

    id: str
    kind: str
    start: Nanoseconds
    end: Nanoseconds
    devices: int


@dataclass(frozen=True, slots=True)
class Connect:
    """The device wants to be online."""

    device: Device


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The device goes offline: in order, or (`abrupt`) without a word."""

    device: Device
    abrupt: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """The device sends a reading; what cannot be sent goes back by `Player.unsent`."""

    device: Device
    reading: Reading


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The device asks for topic filters besides those that it listens to."""

    device: Device
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """The operator sends a retained job to a device; an empty payload takes it back."""

    device: Device
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """Something happens on a connection that is no device's."""

    action: LineAction


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the platform begins or is over."""

    step: FaultStep


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase of the timeline begins."""

    phase: PhaseSpan


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """A phase of the timeline is over."""

    phase: PhaseSpan


Command: TypeAlias = (
    Connect | Disconnect | Publish | Subscribe | Order | Line | Fault | PhaseStarted | PhaseEnded
)

"""What carries the fleet. Everything happens on the event loop, callbacks included."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from contracts.ports import Gauge

from ..device import Reading
from ..lines import LineAction

Loss: TypeAlias = Literal["unreachable", "refused", "lost"]
"""Nobody listens at the address; the broker said no; an open connection broke."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a transport tells.

    `connected(device_id)`: the broker let the device in. `writable(device_id)`: a connection that could not take
    a reading can take some now. `lost(device_id, why, unacknowledged)`: it is not
    connected (any more); the QoS 1 readings that were not acknowledged, oldest first, may never have arrived.
    `message(device_id, topic, payload)`: something came to the device. `acknowledged(device_id, reading)`: the
    broker has a QoS 1 reading.
    """

    connected: Callable[[str], None]
    writable: Callable[[str], None]
    lost: Callable[[str, Loss, Sequence[Reading]], None]
    message: Callable[[str, str, bytes], None] = lambda _device_id, _topic, _payload: None
    acknowledged: Callable[[str, Reading], None] = lambda _device_id, _reading: None


class Transport(Protocol):
    """One connection a device."""

    async def open(self) -> None:
        """Make ready to connect devices. Raises BackendError if the address makes no sense."""
        ...

    def connect(self, device_id: str, listens: Sequence[str]) -> None:
        """Begin to connect; a callback tells how it went. Nothing if it is connected or about to be."""
        ...

    def publish(self, device_id: str, reading: Reading) -> bool:
        """Hand over a reading; False if the connection cannot take it now."""
        ...

    def disconnect(self, device_id: str) -> None:
        """Close in order; no callback."""
        ...

    def drop(self, device_id: str) -> Sequence[Reading]:
        """Break the connection without a word; no callback. Returns what was not acknowledged, oldest first."""
        ...

    def subscribe(self, device_id: str, filters: Sequence[str]) -> None:
        """Ask for more topic filters; nothing if the device is not connected."""
        ...

    def line(self, action: LineAction) -> None:
        """Do something on a connection that is no device's. What comes back on it is read and forgotten."""
        ...

    def in_flight(self) -> Gauge:
        """QoS 1 readings handed over and not acknowledged yet, over all devices."""
        ...

    def acknowledged(self) -> int:
        """QoS 1 readings acknowledged so far."""
        ...

    async def close(self) -> None:
        """Disconnect every device in order. May be called twice."""
        ...

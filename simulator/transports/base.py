"""What carries the fleet. Callbacks come on the event loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a transport tells: a device's connection came up, or went down (`refused`: it never came up)."""

    connected: Callable[[str], None]
    lost: Callable[[str, bool], None]


class Transport(Protocol):
    """One connection a device."""

    def connect(self, device_id: str, listens: Sequence[str]) -> None:
        """Begin to connect; a callback tells how it went."""
        ...

    def publish(self, device_id: str, *, topic: str, payload: bytes, qos: int) -> bool:
        """Hand over a message; False if the connection cannot take it."""
        ...

    def disconnect(self, device_id: str) -> None:
        """Close in order; no callback."""
        ...

    def in_flight(self) -> int:
        """QoS 1 messages that are not acknowledged yet."""
        ...

    def acknowledged(self) -> int:
        """QoS 1 messages acknowledged so far."""
        ...

    async def close(self) -> None:
        """Drop everything."""
        ...

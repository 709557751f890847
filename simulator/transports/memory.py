"""Carries the fleet in memory: for tests, and for paths without sockets."""

from collections.abc import Callable, Sequence

from .base import Callbacks

Deliver = Callable[[str, str, bytes, int], bool]
"""Takes (device id, topic, payload, QoS); False refuses."""


class MemoryTransport:
    """Connects at once, unless `admit` refuses the device; hands each message to `deliver`."""

    def __init__(
        self, *, callbacks: Callbacks, deliver: Deliver, admit: Callable[[str], bool] | None = None
    ) -> None:
        self._callbacks = callbacks
        self._deliver = deliver
        self._admit = admit or (lambda _: True)
        self._connected: set[str] = set()
        self._acknowledged = 0

    def connect(self, device_id: str, listens: Sequence[str]) -> None:
        _ = listens
        if not self._admit(device_id):
            self._callbacks.lost(device_id, True)
            return
        self._connected.add(device_id)
        self._callbacks.connected(device_id)

    def publish(self, device_id: str, *, topic: str, payload: bytes, qos: int) -> bool:
        if device_id not in self._connected or not self._deliver(device_id, topic, payload, qos):
            return False
        self._acknowledged += qos
        return True

    def disconnect(self, device_id: str) -> None:
        self._connected.discard(device_id)

    def cut(self, device_id: str) -> None:
        """Break a connection, as a network does."""
        if device_id in self._connected:
            self._connected.remove(device_id)
            self._callbacks.lost(device_id, False)

    def in_flight(self) -> int:
        return 0

    def acknowledged(self) -> int:
        return self._acknowledged

    async def close(self) -> None:
        self._connected.clear()

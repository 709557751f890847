"""Carries the fleet in memory: for tests, and for paths without sockets."""

from collections.abc import Callable, Sequence

from contracts.ports import Gauge

from ..device import Reading
from ..lines import LineAction
from .base import Callbacks

Deliver = Callable[[str, Reading], bool]
"""Takes (device id, reading); False refuses."""


class MemoryTransport:
    """Connects at once, unless `admit` refuses the device; hands each reading to `deliver`."""

    def __init__(
        self, *, callbacks: Callbacks, deliver: Deliver, admit: Callable[[str], bool] = lambda _: True
    ) -> None:
        self._callbacks = callbacks
        self._deliver = deliver
        self._admit = admit
        self._connected: set[str] = set()
        self._acknowledged = 0
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.lines: list[LineAction] = []

    async def open(self) -> None:
        """Nothing to do."""

    def connect(self, device_id: str, listens: Sequence[str]) -> None:
        """Ask `admit`, and call back before returning."""
        _ = listens
        if device_id in self._connected:
            return
        if not self._admit(device_id):
            self._callbacks.lost(device_id, "refused", ())
            return
        self._connected.add(device_id)
        self._callbacks.connected(device_id)

    def publish(self, device_id: str, reading: Reading) -> bool:
        """Deliver at once; False if the device is not connected or `deliver` refuses."""
        if device_id not in self._connected or not self._deliver(device_id, reading):
            return False
        self._acknowledged += reading.qos
        return True

    def disconnect(self, device_id: str) -> None:
        """Forget the connection."""
        self._connected.discard(device_id)

    def drop(self, device_id: str) -> Sequence[Reading]:
        """Forget the connection; nothing is ever unacknowledged here."""
        self._connected.discard(device_id)
        return ()

    def cut(self, device_id: str) -> None:
        """Break a connection from outside, as a network or a broker does."""
        if device_id in self._connected:
            self._connected.remove(device_id)
            self._callbacks.lost(device_id, "lost", ())

    def hand(self, device_id: str, topic: str, payload: bytes) -> None:
        """A message for a device; nothing if it is not connected."""
        if device_id in self._connected:
            self._callbacks.message(device_id, topic, payload)

    def connected(self) -> frozenset[str]:
        """The devices that are connected now."""
        return frozenset(self._connected)

    def subscribe(self, device_id: str, filters: Sequence[str]) -> None:
        """Remember it in `asked`."""
        self.asked.append((device_id, tuple(filters)))

    def line(self, action: LineAction) -> None:
        """Remember it in `lines`; there is no broker here that could answer."""
        self.lines.append(action)

    def in_flight(self) -> Gauge:
        """Nothing: a delivery is acknowledged at once."""
        return Gauge("in_flight", 0, 0, 0)

    def acknowledged(self) -> int:
        """QoS 1 readings delivered so far."""
        return self._acknowledged

    async def close(self) -> None:
        """Forget all connections."""
        self._connected.clear()

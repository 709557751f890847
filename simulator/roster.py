"""Who of the devices is online, what each keeps meanwhile, and when it tries again.

The same for a scenario's fleet and for the clients of a recording.
"""

import random
from collections.abc import Iterator

from contracts.messages import SECOND, Nanoseconds

from .commands import Command, Publish
from .device import MAX_KEPT, Device, Reading

BACKOFF: Nanoseconds = SECOND
MAX_BACKOFF: Nanoseconds = 30 * SECOND
"""A device that is refused or lost tries again after 1, 2, 4, ... 30 s, each with a jitter of a half."""

HASTY_BACKOFF: Nanoseconds = SECOND // 5
"""A hostile device that was thrown out does not wait: an attack that backs off politely is none."""


class Roster:
    """The connections of `devices`, by device id. `rng` jitters the tries."""

    def __init__(self, devices: dict[str, Device], rng: random.Random) -> None:
        self.devices = devices
        self.online = self.kept = self.kept_highest = self.dropped_unsent = 0
        self._rng = rng
        self._attempts: dict[str, int] = {}

    @property
    def expected(self) -> list[Device]:
        """The devices that want to be online now."""
        return [device for device in self.devices.values() if device.wanted]

    @property
    def kept_capacity(self) -> int:
        return MAX_KEPT * len(self.devices)

    def writable(self, device_id: str) -> Iterator[Command]:
        """The connection can take readings again: more of what is kept."""
        yield from self._send_kept(self.devices[device_id])

    def unsent(self, device_id: str, reading: Reading) -> None:
        """A reading could not be sent, or was not acknowledged before the connection broke: it goes first later."""
        self._keep(self.devices[device_id], reading, first=True)

    def _is_up(self, device: Device) -> None:
        """Its tries are counted from the beginning again."""
        self._set_online(device, online=True)
        self._attempts.pop(device.device_id, None)

    def _next_try(self, device: Device) -> Nanoseconds:
        """The time until a device that was refused or lost tries again."""
        attempt = self._attempts[device.device_id] = self._attempts.get(device.device_id, 0) + 1
        wait = min(MAX_BACKOFF, BACKOFF << min(attempt - 1, 5))
        if device.hasty and attempt == 1:
            wait = HASTY_BACKOFF
        return int(wait * self._rng.uniform(0.5, 1.5))

    def _send_or_keep(self, device: Device, reading: Reading) -> Iterator[Command]:
        """Behind what is kept already: a device's readings stay in order."""
        if not device.online or device.kept:
            self._keep(device, reading)
            yield from self._send_kept(device)
        else:
            yield Publish(device, reading)

    def _send_kept(self, device: Device) -> Iterator[Command]:
        """Oldest first, as many as there are now: what comes back meanwhile waits for the next time."""
        for _ in range(len(device.kept) if device.online else 0):
            before = len(device.kept)
            self.kept -= 1
            yield Publish(device, device.kept.popleft())
            if len(device.kept) >= before:
                return

    def _keep(self, device: Device, reading: Reading, *, first: bool = False) -> None:
        lost = device.keep(reading, first=first)
        self.dropped_unsent += lost
        self.kept += 1 - lost
        self.kept_highest = max(self.kept_highest, self.kept)

    def _set_online(self, device: Device, *, online: bool) -> None:
        self.online += online - device.online
        device.online = online

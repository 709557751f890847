"""Who is in quarantine, since when and why, and when each is let out again.

A device of a closed incident comes out `release_after` seconds after the close (twice as long each time it is
back), and in any case when its `limit` is over. Never while evidence goes on: not while its incident is open, and
not while it hammers at the door. What a person put in stays until a person lets it out, or until the time that was
given.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from contracts.messages import SECOND, Nanoseconds

HAMMERING = 120.0
"""Refused attempts of about a minute. A client that tries again every second makes 60; one that backs off far fewer."""

FADE_SECONDS = 60.0

Closed = Callable[[str], "Nanoseconds | None"]
"""When an incident was closed; None while it is open, or kept for a person to decide."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One device in quarantine. `until` is set where a person said for how long."""

    device_id: str
    since: Nanoseconds
    by: str
    incident_id: str = ""
    until: Nanoseconds | None = None
    postponed: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """A stay whose time has come: `go` if nothing speaks against it, else `why` not."""

    stay: Stay
    go: bool
    why: str


class Ward:
    """The stays. Decides who may leave; acts on nobody."""

    def __init__(self, *, release_after: float, limit: float) -> None:
        self._release_after = int(release_after * SECOND)
        self._limit = int(limit * SECOND)
        self._stays: dict[str, Stay] = {}
        self._times: Counter[str] = Counter()
        self._attempts: dict[str, tuple[Nanoseconds, float]] = {}

    def __contains__(self, device_id: str) -> bool:
        return device_id in self._stays

    @property
    def stays(self) -> tuple[Stay, ...]:
        return tuple(self._stays.values())

    def enter(self, stay: Stay) -> None:
        """The device is in quarantine from now on."""
        self._stays[stay.device_id] = stay
        self._times[stay.device_id] += 1

    def leave(self, device_id: str) -> Stay | None:
        """The device is out; its stay, if it had one."""
        self._attempts.pop(device_id, None)
        return self._stays.pop(device_id, None)

    def limit_of(self, since: Nanoseconds) -> Nanoseconds:
        """When a stay that begins now is over at the latest."""
        return since + self._limit

    def knocked(self, device_id: str, attempts: int, at: Nanoseconds) -> None:
        """A device in quarantine was refused that often in the second that ends at `at`."""
        if attempts and device_id in self._stays:
            self._attempts[device_id] = (at, self._knocks(device_id, at) + attempts)

    def due(self, at: Nanoseconds, closed: Closed) -> list[Due]:
        """Whose time has come, and whether they may go. One that may not is told once."""
        found = []
        for stay in self.stays:
            moment = self._leaves_at(stay, closed)
            if moment is None or at < moment:
                continue
            against = self._against(stay, at, closed)
            if not against:
                found.append(Due(stay, go=True, why="its time is over and nothing goes on"))
            elif not stay.postponed:
                self._stays[stay.device_id] = replace(stay, postponed=True)
                found.append(Due(stay, go=False, why=against))
        return found

    def of_incident(self, incident_id: str) -> tuple[str, ...]:
        """Who is in for this incident."""
        return tuple(stay.device_id for stay in self.stays if stay.incident_id == incident_id)

    def forget_missing(self, quarantined: Mapping[str, object] | frozenset[str]) -> None:
        """Drop the stays of devices that somebody else let out."""
        for device_id in self._stays.keys() - set(quarantined):
            self.leave(device_id)

    def _leaves_at(self, stay: Stay, closed: Closed) -> Nanoseconds | None:
        if stay.until is not None:
            return stay.until
        if not stay.incident_id:
            return None
        limit = self.limit_of(stay.since)
        over = closed(stay.incident_id)
        if over is None:
            return limit
        longer: int = 2 ** min(self._times[stay.device_id] - 1, 16)
        return min(limit, over + longer * self._release_after)

    def _against(self, stay: Stay, at: Nanoseconds, closed: Closed) -> str:
        if stay.incident_id and closed(stay.incident_id) is None:
            return f"incident {stay.incident_id} goes on"
        if self._knocks(stay.device_id, at) >= HAMMERING:
            return "it keeps trying to connect, more often than any client that backs off"
        return ""

    def _knocks(self, device_id: str, at: Nanoseconds) -> float:
        """Attempts of the last minute or so, fading."""
        last, count = self._attempts.get(device_id, (at, 0.0))
        return count * math.exp(-(at - last) / SECOND / FADE_SECONDS)

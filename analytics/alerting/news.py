"""Which moments of an incident people are told of: it opens, it becomes worse, it is over. Never a reminder.

Worse is a graver kind (doubt that turns into an attack), at once; or at least twice the devices of the last alert,
and then not before `PAUSE_SECONDS` after it: an attack of 1,000 devices that grows from one is at most ten alerts.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from contracts.messages import SECOND, Alert, AlertKind, Incident, Nanoseconds, VerdictKind

ALERTED: dict[VerdictKind, int] = {"undecided": 1, "attack": 2}
"""An attack needs a person, and so does doubt; a benign uptick does not. The higher, the graver."""

PAUSE_SECONDS = 60

_ALERTS = ("alert", "all_clear")


@dataclass(slots=True)
class _Last:
    """The last alert about an incident."""

    number: int
    gravity: int
    devices: int
    at: Nanoseconds
    over: bool = False


class News:
    """Remembers what was told about each incident that may still change."""

    def __init__(self) -> None:
        self._told: dict[str, _Last] = {}

    def of(self, incident: Incident, at: Nanoseconds) -> Alert | None:
        """The alert that an open incident is worth now, if it is worth one."""
        happened = self._happened(incident, at)
        if happened is None:
            return None
        last = self._told.get(incident.incident_id)
        number = last.number + 1 if last else 1
        gravity = ALERTED[incident.kind]
        self._told[incident.incident_id] = _Last(number, gravity, len(incident.devices), at)
        return _alert(incident, number, happened, at)

    def over(self, find: Callable[[str], Incident | None], at: Nanoseconds) -> list[Alert]:
        """One alert for each incident that was told of and is closed by now."""
        found = []
        for incident_id, last in self._told.items():
            incident = None if last.over else find(incident_id)
            if incident is not None and incident.closed_at is not None:
                last.number, last.at, last.over = last.number + 1, at, True
                found.append(_alert(incident, last.number, "closed", at))
        return found

    def restore(self, incident: Incident) -> None:
        """Remember what an earlier process told about it, by the actions that it recorded."""
        told = [action for action in incident.actions if action.action in _ALERTS]
        if not told or incident.kind not in ALERTED:
            return
        (_, number), *_ = Counter(action.target for action in told if _settled(action.outcome)).most_common(
            1
        ) or [("", 1)]
        over = incident.closed_at is not None and told[-1].action == "all_clear"
        gravity, devices = ALERTED[incident.kind], len(incident.devices)
        self._told[incident.incident_id] = _Last(number, gravity, devices, told[-1].at, over)

    def forget(self, incident_ids: Iterable[str]) -> None:
        """These will not change any more."""
        for incident_id in incident_ids:
            self._told.pop(incident_id, None)

    def _happened(self, incident: Incident, at: Nanoseconds) -> AlertKind | None:
        gravity = ALERTED.get(incident.kind)
        if gravity is None:
            return None
        last = self._told.get(incident.incident_id)
        if last is None or last.over:
            return "opened"
        grown = len(incident.devices) >= max(1, 2 * last.devices)
        rested = at - last.at >= PAUSE_SECONDS * SECOND
        return "worsened" if gravity > last.gravity or (grown and rested) else None


def _settled(outcome: str) -> bool:
    """A channel records a first failure, and later how it ended; each alert is to be counted once."""
    return not outcome.endswith(TRYING)


TRYING = "it is tried again"
"""How the outcome of an alert ends that is not settled yet."""


def _alert(incident: Incident, number: int, happened: AlertKind, at: Nanoseconds) -> Alert:
    return Alert(f"{incident.incident_id}-{number}", happened, at, incident)

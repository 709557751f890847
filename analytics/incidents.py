"""Incidents out of verdicts: opened, updated, closed after quiet; ids follow from event time alone.

Two tracks run side by side: "security" (attack, or undecided until it is known) and "uptick" (recorded so
that it can be explained later; alerts nobody). Verdicts of one track that follow within the quiet time are
one incident: its devices are merged, and an undecided one that turns into an attack keeps its id.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from contracts.messages import (
    MILLISECOND,
    SECOND,
    ActionTaken,
    Incident,
    Nanoseconds,
    Verdict,
    VerdictKind,
)

_TRACKS: dict[VerdictKind, str] = {"attack": "security", "undecided": "security", "benign_uptick": "uptick"}
_GRAVER: dict[VerdictKind, int] = {"normal": 0, "benign_uptick": 1, "undecided": 2, "attack": 3}


class IncidentBook:
    """Open incidents by track, and the closed ones (the newest `keep`)."""

    def __init__(self, *, quiet_seconds: float = 15.0, keep: int = 1000) -> None:
        self._quiet = int(quiet_seconds * SECOND)
        self._open: dict[str, Incident] = {}
        self._closed: deque[Incident] = deque(maxlen=keep)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All that are kept, oldest first."""
        return tuple(sorted((*self._closed, *self._open.values()), key=lambda item: item.opened_at))

    @property
    def security(self) -> Incident | None:
        """The open incident that people must look at."""
        return self._open.get("security")

    def update(self, verdict: Verdict) -> list[Incident]:
        """Take one verdict (in order of event time); returns the incidents that it changed."""
        changed = self._close_quiet(verdict)
        track = _TRACKS.get(verdict.kind)
        if track is not None:
            changed.append(self._extend(track, verdict))
        return changed

    def restore(self, incident: Incident) -> None:
        """Take up an incident that an earlier process had open."""
        self._open[_TRACKS[incident.kind]] = incident

    def close(self, at: Nanoseconds) -> list[Incident]:
        """Close all that are open; returns them."""
        closed = [replace(incident, closed_at=at) for incident in self._open.values()]
        self._open.clear()
        self._closed.extend(closed)
        return closed

    def record(self, actions: Sequence[ActionTaken]) -> list[Incident]:
        """Append actions to the open incidents they belong to; returns those that changed."""
        changed: list[Incident] = []
        for track, incident in self._open.items():
            own = tuple(action for action in actions if action.incident_id == incident.incident_id)
            if own:
                self._open[track] = replace(incident, actions=(*incident.actions, *own))
                changed.append(self._open[track])
        return changed

    def _close_quiet(self, verdict: Verdict) -> list[Incident]:
        over = [t for t, item in self._open.items() if verdict.at - item.updated_at >= self._quiet]
        closed = [replace(self._open.pop(track), closed_at=verdict.at) for track in over]
        self._closed.extend(closed)
        return closed

    def _extend(self, track: str, verdict: Verdict) -> Incident:
        known = self._open.get(track)
        if known is None:
            known = _opened(track, verdict)
        # an attack that fades into doubt stays an attack, with the verdict that says most
        graver = _GRAVER[verdict.kind] > _GRAVER[known.kind]
        same_and_surer = verdict.kind == known.kind and verdict.confidence >= known.verdict.confidence
        self._open[track] = replace(
            known,
            kind=verdict.kind if graver else known.kind,
            updated_at=verdict.at,
            devices=_merged(known, verdict),
            verdict=verdict if graver or same_and_surer else known.verdict,
        )
        return self._open[track]


def _opened(track: str, verdict: Verdict) -> Incident:
    incident_id = f"{track}-{verdict.at // MILLISECOND:013d}"
    return Incident(incident_id, verdict.kind, verdict.at, verdict.at, None, (), verdict)


def _merged(incident: Incident, verdict: Verdict) -> tuple[str, ...]:
    # only the devices of an attack verdict are accused; what doubt or load names is in the verdict itself
    return tuple(dict.fromkeys((*incident.devices, *verdict.devices)))

"""Incidents out of verdicts: opened, updated, merged, closed after quiet; ids follow from event time alone.

Two tracks run side by side: "security" (attack, or undecided until it is known) and "uptick" (recorded so
that it can be explained later; alerts nobody). Verdicts of one track that follow within the quiet time are
one incident: its devices are merged, and an undecided one that turns into an attack keeps its id. One that comes
back soon after its close, with a device of it or as the same kind of trouble, is the same one again: it is opened
again, unless an analyst has resolved it.
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
    Resolution,
    Verdict,
    VerdictKind,
)

_TRACKS: dict[VerdictKind, str] = {"attack": "security", "undecided": "security", "benign_uptick": "uptick"}
_GRAVER: dict[VerdictKind, int] = {"normal": 0, "benign_uptick": 1, "undecided": 2, "attack": 3}


class IncidentBook:
    """Open incidents by track, and the closed ones (the newest `keep`)."""

    def __init__(self, *, quiet_seconds: float = 15.0, merge_seconds: float = 60.0, keep: int = 1000) -> None:
        self._quiet = int(quiet_seconds * SECOND)
        self._merge = int(merge_seconds * SECOND)
        self._open: dict[str, Incident] = {}
        self._closed: deque[Incident] = deque(maxlen=keep)
        self._fresh: list[str] = []
        self._final: set[str] = set()

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All that are kept, oldest first."""
        return tuple(sorted((*self._closed, *self._open.values()), key=lambda item: item.opened_at))

    @property
    def open(self) -> tuple[Incident, ...]:
        """Those that go on, the one that people must look at first."""
        return tuple(self._open[track] for track in ("security", "uptick") if track in self._open)

    @property
    def security(self) -> Incident | None:
        """The open incident that people must look at."""
        return self._open.get("security")

    def find(self, incident_id: str) -> Incident | None:
        """The incident of that id, if it is kept."""
        return next((item for item in self.incidents if item.incident_id == incident_id), None)

    def closed_at(self, incident_id: str) -> Nanoseconds | None:
        """When it was closed (0 if long forgotten); None while it is open, and for an attack that was confirmed."""
        found = self.find(incident_id)
        if found is None:
            return 0
        return None if found.resolution == "true_positive" else found.closed_at

    def update(self, verdict: Verdict) -> list[Incident]:
        """Take one verdict (in order of event time); returns the incidents that it changed."""
        changed = self._close_quiet(verdict)
        track = _TRACKS.get(verdict.kind)
        if track is not None:
            changed.append(self._extend(track, verdict))
        return changed

    def settled(self, at: Nanoseconds) -> list[str]:
        """The ids that can no longer be opened again, each told once."""
        known = {item.incident_id: item for item in self._closed}
        over = [
            name
            for name in self._fresh
            if name not in known
            or at - (known[name].closed_at or 0) > self._merge
            or known[name].resolution
            or name in self._final
        ]
        self._fresh = [name for name in self._fresh if name not in over]
        return over

    def resolve(self, incident: Incident, resolution: Resolution, *, by: str, at: Nanoseconds) -> Incident:
        """What an analyst made of it, which closes it. It may be one that is no longer kept."""
        resolved = replace(
            incident,
            resolution=resolution,
            resolved_by=by,
            resolved_at=at,
            closed_at=incident.closed_at or at,
        )
        self._drop(incident.incident_id)
        self._keep(resolved)
        return resolved

    def restore(self, incident: Incident) -> None:
        """Take up an incident that an earlier process had open."""
        self._open[_TRACKS[incident.kind]] = incident

    def take_up(self, closed: Sequence[Incident]) -> None:
        """Keep the closed incidents of an earlier process, oldest first."""
        for incident in closed:
            self._keep(incident)

    def close(self, at: Nanoseconds) -> list[Incident]:
        """Close all that are open, for good: none is opened again. Returns them."""
        self._final = {incident.incident_id for incident in self._open.values()}
        closed = [replace(incident, closed_at=at) for incident in self._open.values()]
        self._open.clear()
        for incident in closed:
            self._keep(incident)
        return closed

    def record(self, actions: Sequence[ActionTaken]) -> list[Incident]:
        """Append actions to the incidents they belong to; returns those that changed."""
        changed: list[Incident] = []
        for incident_id in dict.fromkeys(action.incident_id for action in actions if action.incident_id):
            own = tuple(action for action in actions if action.incident_id == incident_id)
            known = self.find(incident_id)
            if known is not None:
                changed.append(self._put(replace(known, actions=(*known.actions, *own))))
        return changed

    def _put(self, incident: Incident) -> Incident:
        """Replace the incident of the same id, where it stands."""
        for track, item in self._open.items():
            if item.incident_id == incident.incident_id:
                self._open[track] = incident
        for place, item in enumerate(self._closed):
            if item.incident_id == incident.incident_id:
                self._closed[place] = incident
        return incident

    def _close_quiet(self, verdict: Verdict) -> list[Incident]:
        over = [t for t, item in self._open.items() if verdict.at - item.updated_at >= self._quiet]
        closed = [replace(self._open.pop(track), closed_at=verdict.at) for track in over]
        for incident in closed:
            self._keep(incident)
        return closed

    def _keep(self, incident: Incident) -> None:
        self._closed.append(incident)
        self._fresh.append(incident.incident_id)

    def _drop(self, incident_id: str) -> None:
        self._open = {t: item for t, item in self._open.items() if item.incident_id != incident_id}
        self._closed = deque(
            (item for item in self._closed if item.incident_id != incident_id), maxlen=self._closed.maxlen
        )

    def _again(self, track: str, verdict: Verdict) -> Incident | None:
        """The closed incident that this verdict is more of, if there is one: opened again."""
        for incident in reversed(self._closed):
            recent = verdict.at - (incident.closed_at or 0) <= self._merge
            recent = recent and not incident.resolution and incident.incident_id not in self._final
            if recent and _TRACKS[incident.kind] == track and _same(incident, verdict):
                self._drop(incident.incident_id)
                return replace(incident, closed_at=None)
        return None

    def _extend(self, track: str, verdict: Verdict) -> Incident:
        known = self._open.get(track) or self._again(track, verdict)
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


def _same(incident: Incident, verdict: Verdict) -> bool:
    """Whether the verdict is about the same trouble: a device in common, or the same leading sign."""
    if set(verdict.devices) & set(incident.devices):
        return True
    if incident.kind == verdict.kind == "benign_uptick":
        return True
    return bool(_signs(incident.verdict) & _signs(verdict))


def _signs(verdict: Verdict) -> set[str]:
    return {item.feature for item in verdict.evidence if item.weight == "security"}


def _merged(incident: Incident, verdict: Verdict) -> tuple[str, ...]:
    # only the devices of an attack verdict are accused; what doubt or load names is in the verdict itself
    return tuple(dict.fromkeys((*incident.devices, *verdict.devices)))

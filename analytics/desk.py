"""What people do beside the model: quarantine and release, decide what is held, resolve incidents, announce changes.

Every call is recorded with who and why. Runs on the event loop, between the ticks of the model.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts.clock import Clock
from contracts.errors import ConfigError, NotReady, UnknownName
from contracts.messages import SECOND, ActionTaken, Change, Incident, Nanoseconds, Resolution
from contracts.ports import View

from .action_log import ActionLog
from .announcements import Announcement, Announcements
from .baseline import device_type_of, topic_pattern
from .feedback import Lesson, Lessons, limits_of, until_of
from .incidents import IncidentBook
from .known import ANNOUNCED_RATE
from .memory import evidence_of, find_incident, incident_row, topics_of
from .response import DONE, DRY, Held, Responder
from .rows import RowWriter

RESOLUTIONS: tuple[Resolution, ...] = ("true_positive", "benign_positive", "false_positive")

LEAD_SECONDS = 15
"""What an incident is about began before its first verdict: by a window and the ticks that confirm it, or some more."""

Teach = Callable[[Mapping[str, Collection[str]]], None]
"""Topic patterns by device type that are known from now on."""


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What a person announces: see `Announcement`. `start` defaults to now."""

    what: str
    seconds: float
    devices: tuple[str, ...] = ()
    device_types: tuple[str, ...] = ()
    start: Nanoseconds | None = None
    rate: float = ANNOUNCED_RATE
    topics: tuple[str, ...] = ()


class Desk:
    """The security team's hands. One for each model."""

    def __init__(
        self,
        *,
        view: View,
        clock: Clock,
        responder: Responder,
        book: IncidentBook,
        lessons: Lessons,
        announcements: Announcements,
        log: ActionLog,
        rows: RowWriter,
        teach: Teach,
    ) -> None:
        self._view = view
        self._clock = clock
        self._responder = responder
        self._book = book
        self._lessons = lessons
        self._announcements = announcements
        self._log = log
        self._rows = rows
        self._teach = teach

    @property
    def held(self) -> tuple[Held, ...]:
        """Quarantines that wait for a decision, oldest first."""
        return self._responder.held

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """The decisions about incidents that still hold."""
        return self._lessons.active(self._clock.now())

    @property
    def announcements(self) -> tuple[Announcement, ...]:
        """What holds now (jobs among it) and what is still to come."""
        now = self._clock.now()
        return (*self._announcements.active(now), *self._announcements.coming(now))

    async def quarantine(
        self, device_id: str, *, by: str, reason: str, seconds: float | None = None
    ) -> ActionTaken:
        """Refuse the device from now on, for so long or until it is released. Raises NotReady if it fails."""
        return await self._did(
            await self._responder.quarantine(device_id, by=by, reason=reason, seconds=seconds)
        )

    async def release(self, device_id: str, *, by: str, reason: str) -> ActionTaken:
        """Let the device come back. Raises NotReady if it fails."""
        return await self._did(await self._responder.release(device_id, by=by, reason=reason))

    async def approve(self, device_id: str, *, by: str, reason: str) -> ActionTaken:
        """Shut out a device that is held. Raises UnknownName, NotReady if it fails."""
        return await self._did(await self._responder.approve(device_id, by=by, reason=reason))

    async def dismiss(self, device_id: str, *, by: str, reason: str) -> ActionTaken:
        """Do not shut out a device that is held. Raises UnknownName."""
        action = self._responder.dismiss(device_id, by=by, reason=reason)
        await self._record([action])
        return action

    async def resolve(self, incident_id: str, resolution: str, *, by: str, reason: str = "") -> Incident:
        """Say what an incident was; the model takes the lesson. Raises UnknownName, ConfigError."""
        chosen = next((one for one in RESOLUTIONS if one == resolution), None)
        if chosen is None:
            raise UnknownName("resolution", resolution, RESOLUTIONS)
        incident = self._book.find(incident_id) or await find_incident(self._view, incident_id)
        if incident is None:
            raise UnknownName("incident", incident_id, [one.incident_id for one in self._book.incidents])
        now = self._clock.now()
        lesson = await self._lesson(incident, chosen, by, now)
        self._lessons.add(lesson)
        self._teach(lesson.taught)
        resolved = self._book.resolve(self._book.find(incident_id) or incident, chosen, by=by, at=now)
        done = [ActionTaken("resolve", incident_id, now, DONE, incident_id, reason or chosen, by)]
        if lesson.eases:
            why = f"incident {incident_id} is a {chosen.replace('_', ' ')}"
            inside = self._responder.ward.of_incident(incident_id)
            done += [await self._responder.release(device_id, by=by, reason=why) for device_id in inside]
        row = self._rows.change("feedback", "incident_id", lesson.row())
        await self._record(done, [row, self._incident_row(resolved)])
        return self._book.find(incident_id) or resolved

    async def announce(self, change: PlannedChange, *, by: str) -> Announcement:
        """Tell the model of a change. Raises ConfigError for one that is not acceptable."""
        now = self._clock.now()
        start = now if change.start is None else change.start
        number = f"change-{now // 1_000_000:013d}"
        if not change.what.strip():
            raise ConfigError("the announcement does not say what will change", fix="name the change")
        announcement = Announcement(
            number,
            change.what,
            by,
            now,
            start,
            start + int(change.seconds * SECOND),
            frozenset(change.devices),
            frozenset(change.device_types),
            change.rate,
            change.topics,
        )
        self._announcements.add(announcement)
        await self._announced(announcement, "done", by)
        return announcement

    async def withdraw(self, announcement_id: str, *, by: str) -> Announcement:
        """The change is over, or will not come. Raises UnknownName."""
        ended = self._announcements.withdraw(announcement_id, self._clock.now())
        await self._announced(ended, "withdrawn", by)
        return ended

    async def _announced(self, one: Announcement, outcome: str, by: str) -> None:
        action = ActionTaken(
            "announce", one.announcement_id, self._clock.now(), outcome, "", one.what, by, one.end
        )
        row = self._rows.change("announcements", "announcement_id", one.row())
        await self._record([action], [row])

    async def _lesson(self, incident: Incident, resolution: Resolution, by: str, now: Nanoseconds) -> Lesson:
        start, end = incident.opened_at - LEAD_SECONDS * SECOND, incident.closed_at or now
        evidence = await evidence_of(self._view, start, end)
        named = {item.device_id for item in evidence if item.weight == "security"}
        devices = frozenset(incident.devices or named)
        eases = resolution != "true_positive"
        limits = limits_of(evidence, devices) if eases else {}
        novel = any(feature.startswith("novel") for feature in limits)
        topics = await topics_of(self._view, devices, start, end) if novel else {}
        return Lesson(
            incident.incident_id,
            resolution,
            by,
            now,
            until_of(now),
            start,
            end,
            devices,
            limits,
            patterns_of(topics),
        )

    async def _did(self, action: ActionTaken) -> ActionTaken:
        """Record it; what failed is an error for the one who asked."""
        await self._record([action])
        if action.outcome not in (DONE, DRY):
            raise NotReady(
                f"{action.action} of {action.target}: {action.outcome}",
                fix="see `thingstorm doctor`, try again",
            )
        return action

    async def _record(self, actions: Sequence[ActionTaken], rows: Iterable[Change] = ()) -> None:
        changed = self._book.record(actions)
        written = {one.incident_id: self._incident_row(one) for one in changed}
        await self._rows.write([*rows, *self._log.take(actions), *written.values()])

    def _incident_row(self, incident: Incident) -> Change:
        return self._rows.change("incidents", "incident_id", incident_row(incident))


def patterns_of(topics: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """By device type the patterns of the topics that devices used."""
    found: dict[str, set[str]] = {}
    for device_id, used in topics.items():
        kind = device_type_of(sorted(used))
        found.setdefault(kind, set()).update(topic_pattern(topic, device_id) for topic in used)
    return {kind: tuple(sorted(patterns)) for kind, patterns in found.items()}

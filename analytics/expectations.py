"""What holds at a moment of all that the model was told: announcements, feedback, and the drift it followed."""

from collections.abc import Sequence

from contracts.messages import Nanoseconds

from .announcements import Announcement, Announcements, cohorts_of
from .feedback import Lesson, Lessons
from .known import NOTHING, Known
from .model import Model


class Expectations:
    """Puts together what `Known` says for the next tick."""

    def __init__(self, announcements: Announcements, lessons: Lessons) -> None:
        self._announcements = announcements
        self._lessons = lessons

    def at(self, moment: Nanoseconds, model: Model) -> Known:
        """What is known about the second that ends at `moment`."""
        active = self._announcements.active(moment)
        lessons = self._lessons.active(moment)
        if not active and not lessons and not model.drifted:
            return NOTHING
        ids, types = model.peers
        cohorts = cohorts_of(active, ids, types)
        return Known(
            cohorts=cohorts,
            allowed={one.announcement_id: one.rate for one in active},
            lenient=self._lessons.lenient(moment, cohorts) if lessons else {},
            topics=_topics(active, ids, types) if any(one.topics for one in active) else {},
            drifted=model.drifted,
        )

    def restore(self, announcements: Sequence[Announcement], lessons: Sequence[Lesson]) -> None:
        """Take up what an earlier process was told; what is over is forgotten by itself."""
        for one in announcements:
            self._announcements.restore(one)
        for lesson in lessons:
            self._lessons.add(lesson)


def _topics(
    active: Sequence[Announcement], ids: Sequence[str], types: Sequence[str]
) -> dict[str, frozenset[str]]:
    """The announced topic patterns by device type."""
    found: dict[str, frozenset[str]] = {}
    for one in active:
        for kind in {kind for name, kind in zip(ids, types, strict=True) if one.covers(name, kind)}:
            found[kind] = found.get(kind, frozenset()) | frozenset(one.topics)
    return found

"""What analysts decided about incidents, and what follows from it for the verdicts to come.

- false_positive, benign_positive: for a time the same sign on the same devices (and on those announced with them)
  must be stronger than it was then; topics that were new then are known from now on; the devices are released.
- true_positive: what its devices did in its span is never learnt from; they stay in quarantine until a person
  releases them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.messages import MILLISECOND, SECOND, Evidence, Json, Nanoseconds, Resolution

HOLDS_SECONDS = 7 * 24 * 3600
"""A week: long enough for what happens every weekend to happen again, short enough not to blind the model for good."""

MARGIN = 1.5
"""A sign counts again beyond this many times what it was then: z of counts grows with their square root."""

MAX_LESSONS = 1_000


@dataclass(frozen=True, slots=True)
class Lesson:
    """One decision. `limits` says by feature what z its sign must exceed now; `taught` the topic patterns by type."""

    incident_id: str
    resolution: Resolution
    by: str
    at: Nanoseconds
    until: Nanoseconds
    start: Nanoseconds
    end: Nanoseconds
    devices: frozenset[str]
    limits: Mapping[str, float] = field(default_factory=dict)
    taught: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def eases(self) -> bool:
        return self.resolution in ("false_positive", "benign_positive")

    def row(self) -> dict[str, Json]:
        """The row of `feedback`."""
        return {
            "incident_id": self.incident_id,
            "resolution": self.resolution,
            "who": self.by,
            "given_at": self.at // MILLISECOND,
            "ends_at": self.until // MILLISECOND,
            "span_from": self.start // MILLISECOND,
            "span_until": self.end // MILLISECOND,
            "devices": sorted(self.devices),
            "limits": dict(self.limits),
            "taught": {name: list(patterns) for name, patterns in self.taught.items()},
        }


def limits_of(evidence: Iterable[Evidence], devices: frozenset[str]) -> dict[str, float]:
    """By feature what the strongest security sign of these devices was, with the margin."""
    limits: dict[str, float] = {}
    for item in evidence:
        if item.weight == "security" and item.device_id in devices:
            limits[item.feature] = max(limits.get(item.feature, 0.0), MARGIN * item.z)
    return limits


def until_of(at: Nanoseconds) -> Nanoseconds:
    """How long a decision of now holds."""
    return at + HOLDS_SECONDS * SECOND


class Lessons:
    """The decisions that hold, the newest of each incident."""

    def __init__(self) -> None:
        self._lessons: dict[str, Lesson] = {}

    def add(self, lesson: Lesson) -> None:
        """Take it; a later decision about the same incident replaces the earlier one."""
        self._lessons.pop(lesson.incident_id, None)
        self._lessons[lesson.incident_id] = lesson
        while len(self._lessons) > MAX_LESSONS:
            del self._lessons[next(iter(self._lessons))]

    def active(self, at: Nanoseconds) -> tuple[Lesson, ...]:
        """Those that still hold, oldest first."""
        self._lessons = {name: one for name, one in self._lessons.items() if at < one.until}
        return tuple(self._lessons.values())

    def lenient(self, at: Nanoseconds, cohorts: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """By device and feature what z a sign must exceed: for the lessons' devices and those announced with them."""
        found: dict[str, dict[str, float]] = {}
        for lesson in self.active(at):
            if lesson.eases:
                for device_id in _with_cohort(lesson.devices, cohorts):
                    own = found.setdefault(device_id, {})
                    for feature, limit in lesson.limits.items():
                        own[feature] = max(own.get(feature, 0.0), limit)
        return found

    def hostile(self, moment: Nanoseconds) -> frozenset[str]:
        """The devices that were confirmed attackers at this moment: nothing of theirs is learnt."""
        spans = (one for one in self._lessons.values() if one.resolution == "true_positive")
        return frozenset().union(*(one.devices for one in spans if one.start <= moment <= one.end))


def _with_cohort(devices: frozenset[str], cohorts: Mapping[str, str]) -> frozenset[str]:
    names = {cohorts[device_id] for device_id in devices if device_id in cohorts}
    return devices | {device_id for device_id, name in cohorts.items() if name in names} if names else devices


def of_row(row: Mapping[str, Any]) -> Lesson:
    """Back from its row (times in milliseconds)."""
    return Lesson(
        row["incident_id"],
        row["resolution"],
        row["who"],
        row["given_at"] * MILLISECOND,
        row["ends_at"] * MILLISECOND,
        row["span_from"] * MILLISECOND,
        row["span_until"] * MILLISECOND,
        frozenset(row["devices"] or ()),
        _object(row["limits"]),
        {name: tuple(patterns) for name, patterns in _object(row["taught"]).items()},
    )


def _object(value: Any) -> dict[str, Any]:
    return dict(json.loads(value) if isinstance(value, str) else value or {})


__all__: Sequence[str] = ("HOLDS_SECONDS", "Lesson", "Lessons", "limits_of", "of_row", "until_of")

"""Announced changes: which devices are expected to change together, until when, and by how much.

Two ways lead here: a person (or a pipeline) announces a change, or the platform sends devices a retained job, as
rollouts do. Either makes a *cohort*: its devices are compared among themselves. An announcement moves expectations
of rate, size and named topics of the device's own; it excuses no refused request, no foreign topic, and no device
that stands out among those announced with it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from contracts.errors import ConfigError, UnknownName
from contracts.messages import SECOND, Json, Nanoseconds

from .known import ANNOUNCED_RATE

JOB_SECONDS = 900
"""A job counts this long unless it is taken back before: a wave reboots within seconds and settles in minutes."""

SETTLE_SECONDS = 120
"""A cohort stays together this long after its end, so that what it does now can be learnt as its new normal."""

MAX_RATE = 20.0
MAX_SECONDS = 30 * 24 * 3600
MAX_KEPT = 1_000
ID_LEVEL = "{device}"


@dataclass(frozen=True, slots=True)
class Announcement:
    """A change that was announced: of these devices, or of all of these types, from `start` until `end`.

    `rate` is how many times its usual traffic a device may send. `topics` are patterns that will be new, each with
    `{device}` for the device's own id: nobody can announce a topic of somebody else.
    """

    announcement_id: str
    what: str
    by: str
    at: Nanoseconds
    start: Nanoseconds
    end: Nanoseconds
    devices: frozenset[str] = frozenset()
    device_types: frozenset[str] = frozenset()
    rate: float = ANNOUNCED_RATE
    topics: tuple[str, ...] = ()

    def covers(self, device_id: str, device_type: str) -> bool:
        return device_id in self.devices or device_type in self.device_types

    def row(self) -> dict[str, Json]:
        """The row of `announcements`."""
        millisecond = 1_000_000
        return {
            "announcement_id": self.announcement_id,
            "what": self.what,
            "who": self.by,
            "told_at": self.at // millisecond,
            "starts_at": self.start // millisecond,
            "ends_at": self.end // millisecond,
            "device_types": sorted(self.device_types),
            "devices": sorted(self.devices),
            "rate": self.rate,
            "topics": list(self.topics),
        }


def check(announcement: Announcement) -> None:
    """Raises ConfigError for one that names nobody, lasts for ever, or would excuse what no change does."""
    if not announcement.devices and not announcement.device_types:
        raise ConfigError("the announcement names no device", fix="give devices, or a group (device type)")
    if not 0 < announcement.end - announcement.start <= MAX_SECONDS * SECOND:
        raise ConfigError(
            "the announcement must last for some time, at most 30 days", fix="correct its duration"
        )
    if not 1.0 <= announcement.rate <= MAX_RATE:
        raise ConfigError(
            f"a change of {announcement.rate:g} times the traffic cannot be announced",
            fix=f"give a rate between 1 and {MAX_RATE:g}",
        )
    for topic in announcement.topics:
        if ID_LEVEL not in topic.split("/"):
            raise ConfigError(
                f"the announced topic {topic} is not the devices' own",
                fix=f"write the device's id as the level {ID_LEVEL}, for example dt/meter/{ID_LEVEL}/diagnostics",
            )


@dataclass(slots=True)
class _Job:
    start: Nanoseconds
    end: Nanoseconds
    rate: float
    devices: set[str] = field(default_factory=set)
    seen: Nanoseconds = 0


class Announcements:
    """All that hold now or soon. Jobs come as the devices' rows tell them."""

    def __init__(self) -> None:
        self._announced: dict[str, Announcement] = {}
        self._jobs: dict[str, _Job] = {}
        self._job_of: dict[str, str] = {}

    def add(self, announcement: Announcement) -> None:
        """Raises ConfigError for one that is not acceptable, or too many."""
        check(announcement)
        if len(self._announced) >= MAX_KEPT:
            raise ConfigError(f"{MAX_KEPT} announcements hold already", fix="withdraw some")
        self._announced[announcement.announcement_id] = announcement

    def restore(self, announcement: Announcement) -> None:
        """Take up one that an earlier process accepted."""
        self._announced[announcement.announcement_id] = announcement

    def withdraw(self, announcement_id: str, at: Nanoseconds) -> Announcement:
        """It ends now. Raises UnknownName."""
        if announcement_id not in self._announced:
            raise UnknownName("announcement", announcement_id, self._announced)
        ended = replace(self._announced[announcement_id], end=at)
        self._announced[announcement_id] = ended
        return ended

    def job(self, device_id: str, text: str, at: Nanoseconds) -> None:
        """A device's row tells of a job (its JSON), or, with an empty text, that it was taken back."""
        name, rate = _read_job(text)
        before = self._job_of.get(device_id)
        if not name:
            if before is not None:
                self._jobs[before].end = min(self._jobs[before].end, at)
            return
        end = at + JOB_SECONDS * SECOND
        job = self._jobs.setdefault(name, _Job(at, end, rate))
        if at > job.seen:
            job.start, job.seen, job.end = min(job.start, at), at, max(job.end, end)
        if before is not None and before != name:
            self._jobs[before].devices.discard(device_id)
        job.devices.add(device_id)
        self._job_of[device_id] = name

    def active(self, at: Nanoseconds) -> tuple[Announcement, ...]:
        """Those that hold at this moment, jobs among them, oldest first; forgets what is long over."""
        self._forget(at)
        jobs = [
            Announcement(
                f"job {name}",
                f"job {name}",
                "platform",
                one.start,
                one.start,
                one.end,
                frozenset(one.devices),
                rate=one.rate,
            )
            for name, one in self._jobs.items()
        ]
        everything = [*jobs, *self._announced.values()]
        holding = (one for one in everything if one.start <= at < one.end + SETTLE_SECONDS * SECOND)
        return tuple(sorted(holding, key=lambda one: (one.start, one.announcement_id)))

    def coming(self, at: Nanoseconds) -> tuple[Announcement, ...]:
        """Those whose time is still to come."""
        return tuple(one for one in self._announced.values() if one.start > at)

    def _forget(self, at: Nanoseconds) -> None:
        over = at - SETTLE_SECONDS * SECOND
        self._announced = {name: one for name, one in self._announced.items() if one.end > over}
        gone = {name for name, one in self._jobs.items() if one.end <= over}
        self._jobs = {name: one for name, one in self._jobs.items() if name not in gone}
        self._job_of = {device: name for device, name in self._job_of.items() if name not in gone}


def cohorts_of(active: Iterable[Announcement], ids: Sequence[str], types: Sequence[str]) -> dict[str, str]:
    """The cohort of every announced device: the announcement that was made last and covers it."""
    found: dict[str, str] = {}
    for one in active:
        if one.device_types:
            found.update(
                (i, one.announcement_id) for i, kind in zip(ids, types, strict=True) if one.covers(i, kind)
            )
        else:
            found.update(dict.fromkeys(one.devices, one.announcement_id))
    return found


def of_row(row: Mapping[str, Json]) -> Announcement:
    """Back from its row (times in milliseconds)."""
    millisecond = 1_000_000
    return Announcement(
        row["announcement_id"],
        row["what"],
        row["who"],
        row["told_at"] * millisecond,
        row["starts_at"] * millisecond,
        row["ends_at"] * millisecond,
        frozenset(row["devices"] or ()),
        frozenset(row["device_types"] or ()),
        row["rate"],
        tuple(row["topics"] or ()),
    )


def _read_job(text: str) -> tuple[str, float]:
    """A job's name and the factor of traffic that it announces; the empty name for none."""
    if not text:
        return "", ANNOUNCED_RATE
    try:
        job = json.loads(text)
    except ValueError:
        return "", ANNOUNCED_RATE
    if not isinstance(job, dict):
        return "", ANNOUNCED_RATE
    name = str(job.get("job") or job.get("jobId") or "")
    rate = job.get("rate_factor", ANNOUNCED_RATE)
    if not isinstance(rate, int | float) or isinstance(rate, bool):
        rate = ANNOUNCED_RATE
    return name, min(max(float(rate), ANNOUNCED_RATE), MAX_RATE)

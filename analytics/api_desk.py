"""The part of the HTTP API for those who decide: quarantine, what is held, incidents, announced changes.

Every call says who asks (`by`) and why; both are recorded in the collection `actions`.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Self

from fastapi import FastAPI
from pydantic import BaseModel, Field, model_validator

from contracts.acting import ACTING
from contracts.errors import NotReady
from contracts.messages import MILLISECOND, ActionTaken, Nanoseconds

from .announcements import Announcement
from .desk import Desk, PlannedChange
from .known import ANNOUNCED_RATE

MAX_MS = 4_102_444_800_000
"""Milliseconds since the epoch, of the year 2100."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(max_length=500)]
DeskOf = Callable[[], Desk]


class Because(BaseModel):
    """Who acts and why; it is recorded. Where one logs in by name, that name counts and not `by`."""

    reason: Reason = "by hand"
    by: Name = "operator"

    @model_validator(mode="after")
    def _named(self) -> Self:
        self.by = ACTING.get() or self.by
        return self


class Quarantine(Because):
    """For how many seconds; without them until it is released."""

    seconds: Annotated[float, Field(gt=0, le=30 * 24 * 3600)] | None = None


class Resolve(Because):
    """`as`: true_positive, benign_positive or false_positive."""

    resolution: Annotated[str, Field(alias="as")]


class Announce(BaseModel):
    """A change of these devices, or of all of these types, from `start_ms` (default: now) for `seconds`."""

    what: Annotated[str, Field(min_length=1, max_length=500)]
    by: Name = "operator"
    devices: Annotated[list[str], Field(max_length=100_000)] = []
    device_types: Annotated[list[str], Field(max_length=1_000)] = []
    start_ms: Annotated[int, Field(ge=0, le=MAX_MS)] | None = None
    seconds: Annotated[float, Field(ge=0, le=366 * 24 * 3600, allow_inf_nan=False)]
    rate: Annotated[float, Field(allow_inf_nan=False)] = ANNOUNCED_RATE
    topics: Annotated[list[str], Field(max_length=100)] = []

    @model_validator(mode="after")
    def _named(self) -> Self:
        self.by = ACTING.get() or self.by
        return self


def add_desk(app: FastAPI, desk: Desk | None) -> None:
    """The routes. Where no model runs they say so."""

    def at_desk() -> Desk:
        if desk is None:
            raise NotReady("no model runs here", fix="ask the API of the stack or of the analytics stage")
        return desk

    _add_quarantine(app, at_desk)
    _add_held(app, at_desk)
    _add_changes(app, at_desk)

    @app.post("/incidents/{incident_id}/resolve")
    async def resolve(incident_id: str, how: Resolve) -> dict[str, Any]:
        incident = await at_desk().resolve(incident_id, how.resolution, by=how.by, reason=how.reason)
        lesson = next((one for one in at_desk().lessons if one.incident_id == incident_id), None)
        return {
            "incident_id": incident_id,
            "resolution": incident.resolution,
            "outcome": "done",
            "lesson": lesson.row() if lesson else None,
        }


def _add_quarantine(app: FastAPI, desk: DeskOf) -> None:
    @app.post("/devices/{device_id:path}/quarantine")
    async def quarantine(device_id: str, why: Quarantine) -> dict[str, Any]:
        return _told(await desk().quarantine(device_id, by=why.by, reason=why.reason, seconds=why.seconds))

    @app.post("/devices/{device_id:path}/release")
    async def release(device_id: str, why: Because) -> dict[str, Any]:
        return _told(await desk().release(device_id, by=why.by, reason=why.reason))


def _add_held(app: FastAPI, desk: DeskOf) -> None:
    @app.get("/held")
    async def held() -> dict[str, Any]:
        return {"held": [{**asdict(one), "since": _ms(one.since)} for one in desk().held]}

    @app.post("/held/{device_id:path}/approve")
    async def approve(device_id: str, why: Because) -> dict[str, Any]:
        return _told(await desk().approve(device_id, by=why.by, reason=why.reason))

    @app.post("/held/{device_id:path}/dismiss")
    async def dismiss(device_id: str, why: Because) -> dict[str, Any]:
        return _told(await desk().dismiss(device_id, by=why.by, reason=why.reason))


def _add_changes(app: FastAPI, desk: DeskOf) -> None:
    @app.get("/announcements")
    async def announcements() -> dict[str, Any]:
        return {"announcements": [_change(one) for one in desk().announcements]}

    @app.post("/announcements")
    async def announce(change: Announce) -> dict[str, Any]:
        planned = PlannedChange(
            change.what,
            change.seconds,
            tuple(change.devices),
            tuple(change.device_types),
            None if change.start_ms is None else change.start_ms * MILLISECOND,
            change.rate,
            tuple(change.topics),
        )
        return _change(await desk().announce(planned, by=change.by))

    @app.post("/announcements/{announcement_id}/withdraw")
    async def withdraw(announcement_id: str, why: Because) -> dict[str, Any]:
        return _change(await desk().withdraw(announcement_id, by=why.by))


def _told(action: ActionTaken) -> dict[str, Any]:
    return {
        "device_id": action.target,
        "action": action.action,
        "outcome": action.outcome,
        "reason": action.reason,
        "by": action.by,
        "incident_id": action.incident_id,
        "until_ms": None if action.until is None else _ms(action.until),
    }


def _change(one: Announcement) -> dict[str, Any]:
    return one.row()


def _ms(moment: Nanoseconds) -> int:
    return moment // MILLISECOND

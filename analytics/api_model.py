"""The part of the HTTP API that follows and steers the model: what a scenario needs of a stack in other processes."""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from contracts.messages import Json, Nanoseconds

from .sync import Sync
from .verdict_loop import VerdictLoop

KEPT_EVENTS = 1_000
_PLAIN = (str, int, float, bool, type(None))


class Span(BaseModel):
    """Event time to learn on, in nanoseconds since the epoch; the traffic in it must be clean."""

    start: int = Field(ge=0)
    until: int = Field(ge=0)


class Feed:
    """What the model told, newest last, numbered from 1: an `Emit` that others can read from afar."""

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._number = 0

    def emit(self, event: str, facts: Mapping[str, Json]) -> None:
        """Keep an event, with those of its facts that JSON can carry."""
        self._number += 1
        plain = {name: value for name, value in facts.items() if isinstance(value, _PLAIN)}
        self._events.append({"number": self._number, "event": event, "facts": plain})

    def after(self, number: int) -> list[dict[str, Any]]:
        """The kept events with a higher number."""
        return [event for event in self._events if event["number"] > number]


def add_model_state(app: FastAPI, model: VerdictLoop) -> None:
    """`/model`: how the model does, and what it was told."""

    @app.get("/model")
    async def state() -> dict[str, Any]:
        judged_until = model.verdicts[-1].at if model.verdicts else 0
        return {
            "learning": model.learning,
            "detector": model.detector_in_use,
            "judged_until": judged_until,
            "queries": [asdict(pace) for pace in model.schedule],
            "devices": model.devices_judged,
            "drifted": sorted(model.drifted),
            "held": len(model.desk.held),
            "announcements": [one.announcement_id for one in model.desk.announcements],
            "lessons": [lesson.row() for lesson in model.desk.lessons],
        }


def add_model(app: FastAPI, *, model: VerdictLoop, sync: Sync, feed: Feed) -> None:
    """The routes below `/model`."""
    add_model_state(app, model)

    @app.post("/model/learn")
    async def learn(span: Span) -> dict[str, str]:
        await model.learn(start=span.start, until=span.until)
        return {"outcome": "done"}

    @app.get("/model/events")
    async def events(after: int = 0) -> dict[str, Any]:
        return {"events": feed.after(after)}

    @app.get("/model/record")
    async def record(since: Nanoseconds = 0) -> dict[str, Any]:
        return {
            "verdicts": [asdict(verdict) for verdict in model.verdicts if verdict.at > since],
            "actions": [asdict(action) for action in model.actions if action.at > since],
            "data_p50_ms": sync.latency_ms(0.5, since=since),
            "data_p95_ms": sync.latency_ms(0.95, since=since),
        }

"""The part of the HTTP API for alerts: how the channels do, a test, another try."""

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from contracts.messages import MILLISECOND

from .alerting.service import Alerts


class Channels(BaseModel):
    """Names of channels; none means all."""

    to: Annotated[list[str], Field(max_length=100)] = []


def add_alerts(app: FastAPI, alerts: Alerts) -> None:
    """The routes below `/alerts`."""

    @app.get("/alerts")
    async def state() -> dict[str, Any]:
        channels = [
            {
                "channel": line.name,
                "state": "failing" if line.trouble else "ready",
                "trouble": line.trouble,
                "waiting": line.outbox.gauge().used,
                "undelivered": len(line.outbox.given_up),
                "dropped": line.outbox.dropped,
            }
            for line in alerts.channels
        ]
        undelivered = [
            {
                "channel": name,
                "alert_id": letter.alert_id,
                "incident_id": letter.incident_id,
                "happened": letter.happened,
                "at_ms": letter.at // MILLISECOND,
                "what": letter.summary,
                "why": letter.failed,
            }
            for name, letter in alerts.undelivered
        ]
        return {"channels": channels, "undelivered": undelivered}

    @app.post("/alerts/test")
    async def test(channels: Channels) -> dict[str, Any]:
        outcomes = await alerts.test(channels.to)
        return {"outcomes": [{"channel": name, "outcome": told} for name, told in outcomes.items()]}

    @app.post("/alerts/retry")
    async def retry(channels: Channels) -> dict[str, int]:
        return {"tried_again": alerts.retry(channels.to)}

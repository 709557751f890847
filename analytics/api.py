"""The HTTP API: queries, devices, incidents. OpenAPI at `/docs`.

Errors are JSON: `{"error": ..., "fix": ...}`, with 400 for a wrong request, 404 for something unknown and 503 for
something that is not ready.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from contracts.errors import ConfigError, NotReady, ThingstormError, UnknownName
from contracts.messages import Json
from contracts.ports import Collections, GatewayControl, Rows, View

from .api_collections import add_collections
from .api_desk import add_desk
from .desk import Desk
from .query_catalog import catalog, run_named

MAX_BODY = 1_000_000
"""Bytes of a request: a statement of 100,000 characters, escaped, with parameters."""


_INCIDENT_SQL = """
SELECT i.*, f.limits AS lesson_limits, f.taught AS lesson_topics, f.ends_at AS lesson_until
FROM incidents i LEFT JOIN feedback f USING (incident_id) WHERE incident_id = $id
"""
_ACTIONS_SQL = """
SELECT action_id, acted_at, who, action, target, why, outcome, incident_id, ends_at FROM actions
WHERE ($target = '' OR target = $target) AND ($incident = '' OR incident_id = $incident)
ORDER BY action_id DESC LIMIT $limit
"""


class Ask(BaseModel):
    """A statement and its named parameters (`$name` in the SQL)."""

    sql: str
    parameters: dict[str, Json] = Field(default_factory=dict)


class NewDevice(BaseModel):
    """A device to register; without a policy document the gateway's own holds for it."""

    device_id: str
    policy: dict[str, Json] | None = None


class OwnPolicy(BaseModel):
    """A policy document of the device's own; without one it may use its own topics only."""

    policy: dict[str, Json] | None = None


def create_app(*, view: Collections, devices: GatewayControl | None, desk: Desk | None = None) -> FastAPI:
    """The application over a view; `devices` is None where no gateway can be reached, `desk` where no model runs.

    Who may use it is for the server to say: it asks nobody.
    """
    app = FastAPI(title="thingstorm", description="Ask the view, see incidents, quarantine devices.")
    app.middleware("http")(_bounded)
    app.add_exception_handler(ThingstormError, explain)
    _add_queries(app, view)
    add_collections(app, view)
    _add_records(app, view)
    _add_control(app, devices)
    add_desk(app, desk)
    return app


async def _bounded(request: Request, call_next: Callable[[Request], Any]) -> Any:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY:
        return JSONResponse(
            {"error": "the request is too large", "fix": f"send at most {MAX_BODY} bytes"}, 413
        )
    return await call_next(request)


async def explain(_: Request, error: Exception) -> JSONResponse:
    """Our errors as JSON."""
    status = 400
    if isinstance(error, UnknownName):
        status = 404
    elif not isinstance(error, ConfigError):
        status = 503
    return JSONResponse({"error": str(error), "fix": getattr(error, "fix", "")}, status)


def _add_queries(app: FastAPI, view: View) -> None:
    @app.post("/query")
    async def query(ask: Ask) -> JSONResponse:
        return _answer(await view.ask(ask.sql, ask.parameters))

    @app.get("/queries")
    async def queries() -> dict[str, Any]:
        return {"queries": [{**asdict(q), "sql": q.sql} for q in catalog().values()]}

    @app.get("/queries/{name}")
    async def named(name: str, request: Request) -> JSONResponse:
        return _answer(await run_named(view, name, dict(request.query_params)))


def _add_records(app: FastAPI, view: View) -> None:
    @app.get("/devices")
    async def all_devices() -> JSONResponse:
        return _records("devices", await view.query("SELECT * FROM devices ORDER BY device_id"))

    @app.get("/devices/{device_id}")
    async def one_device(device_id: str) -> JSONResponse:
        rows = await view.query("SELECT * FROM devices WHERE device_id = $id", {"id": device_id})
        return _one("device", device_id, rows)

    @app.get("/incidents")
    async def all_incidents() -> JSONResponse:
        return _records(
            "incidents", await view.query("SELECT * FROM incidents ORDER BY opened_at DESC LIMIT 1000")
        )

    @app.get("/incidents/{incident_id}")
    async def one_incident(incident_id: str) -> JSONResponse:
        rows = await view.query(_INCIDENT_SQL, {"id": incident_id})
        return _one("incident", incident_id, rows)

    @app.get("/actions")
    async def actions(target: str = "", incident_id: str = "", limit: int = 200) -> JSONResponse:
        given = {"target": target, "incident": incident_id, "limit": max(1, min(limit, 5000))}
        return _records("actions", await view.query(_ACTIONS_SQL, given))

    @app.get("/verdicts")
    async def verdicts() -> JSONResponse:
        rows = await view.query("SELECT * FROM verdicts ORDER BY verdict_id DESC LIMIT 1000")
        return _records("verdicts", rows)


def _add_control(app: FastAPI, devices: GatewayControl | None) -> None:
    def control() -> GatewayControl:
        if devices is None:
            raise NotReady(
                "no gateway can be reached from here", fix="ask the API of the stack that runs the broker"
            )
        return devices

    @app.post("/devices")
    async def create(device: NewDevice) -> dict[str, str]:
        await control().create(device.device_id, policy=device.policy)
        return {"device_id": device.device_id, "outcome": "done"}

    @app.post("/devices/{device_id:path}/credentials")
    async def enroll(device_id: str, rules: OwnPolicy) -> dict[str, str]:
        return asdict(await control().enroll(device_id, policy=rules.policy))

    @app.delete("/connections/{client_id:path}")
    async def disconnect(
        client_id: str,
        *,
        clean_session: Annotated[bool, Query(alias="cleanSession")] = False,
        prevent_will: Annotated[bool, Query(alias="preventWillMessage")] = False,
    ) -> dict[str, bool]:
        closed = await control().disconnect(client_id, clean_session=clean_session, prevent_will=prevent_will)
        return {"connected": closed}


def _answer(rows: Rows) -> JSONResponse:
    body = {"columns": rows.columns, "rows": _plain(rows.rows), "milliseconds": round(rows.milliseconds, 3)}
    return JSONResponse(body)


def _records(name: str, rows: Rows) -> JSONResponse:
    return JSONResponse({name: [_plain(row) for row in rows.dicts()]})


def _one(kind: str, name: str, rows: Rows) -> JSONResponse:
    found = rows.dicts()
    if not found:
        raise UnknownName(kind, name, [])
    return JSONResponse(_plain(found[0]))


def _plain(value: Any) -> Any:
    """JSON has no timestamps, no huge integers that all readers agree on, no NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, datetime):
        return _iso(value)
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _iso(moment: datetime) -> str:
    """ISO 8601 with milliseconds and Z; a naive timestamp of the view is UTC."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"

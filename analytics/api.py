"""The HTTP API: queries, devices, incidents. OpenAPI at `/docs`.

Errors are JSON: `{"error": ..., "fix": ...}`, with 400 for a wrong request, 422 for a body of the wrong shape, 404 for
something unknown and 503 for something that is not ready.
"""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import NotReady
from contracts.messages import Json
from contracts.ports import Collections, GatewayControl, Rows, View

from .answers import plain
from .api_bodies import SpeltRoute
from .api_collections import add_collections
from .api_desk import add_desk
from .api_errors import tell_errors
from .api_lambdas import add_lambdas
from .api_queries import add_queries
from .desk import Desk
from .lambdas import QueryBook
from .schedules import Schedules
from .unknown import unknown

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


class NewDevice(BaseModel):
    """A device to register; without a policy document the gateway's own holds for it."""

    device_id: str
    policy: dict[str, Json] | None = None


class OwnPolicy(BaseModel):
    """A policy document of the device's own; without one it may use its own topics only."""

    policy: dict[str, Json] | None = None


def create_app(
    *,
    view: Collections,
    devices: GatewayControl | None,
    desk: Desk | None = None,
    book: QueryBook | None = None,
    schedules: Schedules | None = None,
) -> FastAPI:
    """The application over a view; `devices` is None where no gateway can be reached, `desk` where no model runs.

    `book` holds the named queries, `schedules` runs some of them. Who may use it is for the server to say: it asks nobody.
    """
    app = FastAPI(title="thingstorm", description="Ask the view, see incidents, quarantine devices.")
    app.router.route_class = SpeltRoute
    app.add_middleware(BodyLimit)
    tell_errors(app)
    app.add_exception_handler(TooLarge, _too_large)
    book = book or QueryBook(view)
    add_queries(app, view, book)
    add_lambdas(app, book, schedules)
    add_collections(app, view)
    _add_records(app, view)
    _add_control(app, devices)
    add_desk(app, desk)
    return app


class TooLarge(HTTPException):
    """A body beyond `MAX_BODY`."""

    def __init__(self) -> None:
        super().__init__(413)


class BodyLimit:
    """Counts what a request brings, whatever it says of its length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told) > MAX_BODY:
            await (await _too_large(None, None))(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise TooLarge
            return message

        await self._app(scope, counted, send)


async def _too_large(_: Request | None, __: Exception | None) -> JSONResponse:
    return JSONResponse({"error": "the request is too large", "fix": f"send at most {MAX_BODY} bytes"}, 413)


def _add_records(app: FastAPI, view: View) -> None:
    @app.get("/devices")
    async def all_devices() -> JSONResponse:
        return _records("devices", await view.query("SELECT * FROM devices ORDER BY device_id"))

    @app.get("/devices/{device_id}")
    async def one_device(device_id: str) -> JSONResponse:
        rows = await view.query("SELECT * FROM devices WHERE device_id = $id", {"id": device_id})
        return await _one(view, "device", device_id, rows)

    @app.get("/incidents")
    async def all_incidents() -> JSONResponse:
        return _records(
            "incidents", await view.query("SELECT * FROM incidents ORDER BY opened_at DESC LIMIT 1000")
        )

    @app.get("/incidents/{incident_id}")
    async def one_incident(incident_id: str) -> JSONResponse:
        rows = await view.query(_INCIDENT_SQL, {"id": incident_id})
        return await _one(view, "incident", incident_id, rows)

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


def _records(name: str, rows: Rows) -> JSONResponse:
    return JSONResponse({name: [plain(row) for row in rows.dicts()]})


async def _one(view: View, kind: Literal["device", "incident"], name: str, rows: Rows) -> JSONResponse:
    found = rows.dicts()
    if not found:
        raise await unknown(view, kind, name)
    return JSONResponse(plain(found[0]))

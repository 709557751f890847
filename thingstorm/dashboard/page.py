"""The page as the stack serves it: its files, its websocket, and what it asks besides the HTTP API."""

import json
import logging
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskStatus
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from contracts.errors import ConfigError, ThingstormError
from contracts.ports import Health
from thingstorm.dashboard.devices import Devices
from thingstorm.dashboard.flow import Flow
from thingstorm.dashboard.hub import Hub, Listener, encode
from thingstorm.dashboard.incidents import Incidents
from thingstorm.dashboard.now import Now
from thingstorm.dashboard.scenes import Scenes
from thingstorm.runtime.pages import Backstage

FEED = "/page/feed"

TOO_MANY = 1013
"""The websocket close code "try again later"."""

NOT_UNDERSTOOD = 1008
"""The websocket close code for a message that breaks the rules."""

_log = logging.getLogger(__name__)


class Play(BaseModel):
    """A scenario of the library, with values for its variables."""

    name: str = Field(max_length=200)
    variables: dict[str, str] = Field(default_factory=dict, max_length=100)
    seed: int | None = Field(default=None, ge=0, le=2**31)
    by: str = Field(default="operator", min_length=1, max_length=200)


class DeskPage:
    """The service "page"."""

    name = "page"

    def __init__(self, app: FastAPI, stage: Backstage) -> None:
        now, incidents, devices, flow = Now(stage), Incidents(stage), Devices(stage), Flow(stage)
        scenes = Scenes(stage)
        self._hub = Hub(
            {
                "head": now.head,
                "now": now.now,
                "incidents": incidents.every,
                "incident": incidents.one,
                "devices": devices.every,
                "device": devices.one,
                "flow": flow.flow,
                "scenarios": scenes.now,
            },
            clock=stage.clock,
        )
        _add_files(app)
        _add_questions(app, now, devices)
        _add_scenes(app, scenes)
        app.websocket(FEED)(self._feed)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        await self._hub.run(task_status=task_status)

    async def drain(self) -> None:
        await self._hub.drain()

    def health(self) -> Health:
        return self._hub.health()

    async def _feed(self, socket: WebSocket) -> None:
        """The page sends `{"want": [topic, ...]}`; it gets `{"key": topic, "data": ...}`."""
        await socket.accept()
        try:
            listener = self._hub.open()
        except ThingstormError as error:
            return await socket.close(TOO_MANY, error.what)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_send, socket, listener)
                await self._listen(socket, listener)
                tasks.cancel_scope.cancel()
        finally:
            self._hub.close(listener)

    async def _listen(self, socket: WebSocket, listener: Listener) -> None:
        """Until the page is gone, or is sent away for what it says."""
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            try:
                listener.want(_wanted(message.get("text")))
            except ConfigError as error:
                await _send_away(socket, error)
                break
            self._hub.hurry()


async def _send(socket: WebSocket, listener: Listener) -> None:
    with suppress(WebSocketDisconnect):  # whoever listens to the page is told so too, and ends both
        while True:
            for frame in await listener.take():
                await socket.send_text(frame)


async def _send_away(socket: WebSocket, error: ConfigError) -> None:
    _log.warning("a page is sent away: %s", error.what)
    with suppress(WebSocketDisconnect):
        await socket.close(NOT_UNDERSTOOD, error.what)


def make_page(app: FastAPI, stage: Backstage) -> DeskPage:
    """The page over the running parts; its routes are added to the API's application."""
    return DeskPage(app, stage)


def _wanted(text: str | None) -> list[str]:
    """Raises ConfigError for what is no `{"want": [topic, ...]}`."""
    try:
        told = json.loads(text or "")
    except ValueError:
        told = None
    wanted = told.get("want") if isinstance(told, dict) else None
    if not isinstance(wanted, list) or not all(isinstance(key, str) for key in wanted):
        raise ConfigError("this is no list of topics", fix='send {"want": ["head"]}')
    return wanted


def _add_files(app: FastAPI) -> None:
    folder = Path(str(resources.files("thingstorm.dashboard") / "static"))

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/page/files", StaticFiles(directory=folder), name="page")


def _add_questions(app: FastAPI, now: Now, devices: Devices) -> None:
    @app.get("/page/history", include_in_schema=False)
    async def history() -> Response:
        return Response(encode(await now.history()), media_type="application/json")

    @app.get("/page/shadow/{device_id:path}", include_in_schema=False)
    async def shadow(device_id: str) -> JSONResponse:
        return JSONResponse(await devices.shadow(device_id))


def _add_scenes(app: FastAPI, scenes: Scenes) -> None:
    @app.get("/page/scenarios", include_in_schema=False)
    async def files() -> dict[str, Any]:
        return await scenes.files()

    @app.get("/page/scenarios/{name:path}", include_in_schema=False)
    async def file(name: str) -> dict[str, Any]:
        return await scenes.file(name)

    @app.post("/page/plays", include_in_schema=False)
    async def play(wanted: Play) -> dict[str, str]:
        await scenes.play(wanted.name, variables=wanted.variables, seed=wanted.seed, by=wanted.by)
        return {"outcome": "done"}

    @app.post("/page/plays/stop", include_in_schema=False)
    async def stop() -> dict[str, str]:
        scenes.stop()
        return {"outcome": "done"}

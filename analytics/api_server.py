"""Serves the API inside our own event loop, with our own start and stop."""

import socket

import anyio
import uvicorn
from anyio.abc import TaskStatus
from fastapi import FastAPI

from contracts.errors import BackendError
from contracts.ports import Health, State

STOP_SECONDS = 1
"""How long open requests may take after the stop: a query is interrupted, not waited for."""


class ApiServer:
    """The service "api". Port 0 lets the system choose; `port` is the real one once it is ready."""

    name = "api"

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        self._app = app
        self.host = host
        self.port = port
        self._state: State = "starting"

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        listener = _bind(self.host, self.port)
        self.port = int(listener.getsockname()[1])
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        self._state = "ready"
        task_status.started()
        try:
            # uvicorn's own main loop only ticks its date header and watches signals; the signals are ours
            while True:
                await server.on_tick(10)
                await anyio.sleep(0.1)
        finally:
            with anyio.CancelScope(shield=True):
                await server.shutdown(sockets=[listener])
            self._state = "stopped"

    async def drain(self) -> None:
        self._state = "draining"

    def health(self) -> Health:
        return Health(self.name, self._state, f"http://{self.host}:{self.port}")


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BackendError(
            f"the API cannot listen on {host}:{port}: {error.strerror}",
            fix="stop what uses the port, or set api.port (0 lets the system choose)",
        ) from None
    return listener

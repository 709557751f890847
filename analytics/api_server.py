"""Serves the API inside our own event loop, with our own start and stop."""

import socket

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.types import ASGIApp

from contracts.errors import BackendError
from contracts.ports import Health, State

STOP_SECONDS = 1
"""How long open requests may take after the stop: a query is interrupted, not waited for."""


class ApiServer:
    """The service "api". Port 0 lets the system choose; `port` is the real one once it is ready."""

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, name: str = "api", setting: str = "api.port"
    ) -> None:
        """`setting` is the one that chose the port, for the error if it is taken."""
        self.name = name
        self._setting = setting
        self._app = app
        self.host = host
        self.port = port
        self._state: State = "starting"

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        listener = self._bind()
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

    def _bind(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.host, self.port))
        except OSError as error:
            listener.close()
            raise BackendError(
                f"the {self.name} cannot listen on {self.host}:{self.port}: {error.strerror}",
                fix=f"stop what uses the port, or set {self._setting} (0 lets the system choose)",
            ) from None
        return listener

    async def drain(self) -> None:
        self._state = "draining"

    def health(self) -> Health:
        return Health(self.name, self._state, f"http://{self.host}:{self.port}")

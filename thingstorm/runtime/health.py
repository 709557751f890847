"""`/healthz` and `/metrics`, the same for the whole stack and for every stage as a process of its own."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from contracts.messages import SECOND
from contracts.ports import Health
from thingstorm import __version__
from thingstorm.runtime.metrics import Metrics

AskHealth = Callable[[], Sequence[Health]]


class Depths(Protocol):
    """How deep the queues are: `look` asks, `seen` tells."""

    @property
    def seen(self) -> Mapping[str, int]: ...

    def look(self) -> Awaitable[None]: ...


AskDepths = Callable[[], Depths | None]


def add_health(app: FastAPI, health: AskHealth, *, stage: str, depths: AskDepths = lambda: None) -> None:
    """`/healthz`: 200 if every service is ready, else 503 and why; `/metrics` for Prometheus."""

    def seen() -> Mapping[str, int]:
        asked = depths()
        return asked.seen if asked is not None else {}

    measured = Metrics(health, stage=stage, depths=seen)

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        services = [_service(one) for one in health()]
        ready = bool(services) and all(service["state"] == "ready" for service in services)
        told = {"ready": ready, "stage": stage, "version": __version__, "services": services}
        return JSONResponse(told, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        asked = depths()
        if asked is not None:
            await asked.look()
        body, content_type = measured.render(request.headers.get("accept", ""))
        return Response(body, media_type=content_type)


def _service(one: Health) -> dict[str, Any]:
    told = {name: value for name, value in asdict(one).items() if name not in ("measures", "spreads")}
    told["last_progress"] = _iso(one) if one.last_progress else ""
    return told


def _iso(one: Health) -> str:
    moment = datetime.fromtimestamp(one.last_progress / SECOND, tz=UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"

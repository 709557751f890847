"""`/healthz` and `/metrics`, the same for the whole stack and for every stage as a process of its own."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse

from contracts.messages import SECOND
from contracts.ports import Health
from thingstorm import __version__

AskHealth = Callable[[], Sequence[Health]]


def add_health(app: FastAPI, health: AskHealth, *, stage: str) -> None:
    """`/healthz`: 200 if every service is ready, else 503 and why; `/metrics` for Prometheus."""

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        services = [_service(one) for one in health()]
        ready = bool(services) and all(service["state"] == "ready" for service in services)
        told = {"ready": ready, "stage": stage, "version": __version__, "services": services}
        return JSONResponse(told, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(_prometheus(health()), media_type="text/plain; version=0.0.4")


def _service(one: Health) -> dict[str, Any]:
    told = asdict(one)
    told["last_progress"] = _iso(one) if one.last_progress else ""
    return told


def _prometheus(services: Sequence[Health]) -> str:
    lines = ["# TYPE thingstorm_total counter"]
    for one in services:
        lines += [
            f'thingstorm_total{{service="{one.name}",what="{k}"}} {v}'
            for k, v in sorted(one.counters.items())
        ]
    lines.append("# TYPE thingstorm_buffer_used gauge")
    for one in services:
        lines += [
            f'thingstorm_buffer_used{{service="{one.name}",buffer="{b.name}"}} {b.used}' for b in one.buffers
        ]
    lines.append("# TYPE thingstorm_ready gauge")
    lines += [f'thingstorm_ready{{service="{one.name}"}} {int(one.state == "ready")}' for one in services]
    return "\n".join(lines) + "\n"


def _iso(one: Health) -> str:
    moment = datetime.fromtimestamp(one.last_progress / SECOND, tz=UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"

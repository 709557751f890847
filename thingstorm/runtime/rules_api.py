"""What the rules tell over HTTP: what this backend can do, and the web services that are targets of `http` actions."""

from dataclasses import asdict
from typing import Any, Final

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from pipeline.actions.capabilities import capabilities
from pipeline.actions.destinations import Destinations

CONFIRM: Final = "/confirmdestination"
"""Where a web service confirms that it wants messages; AWS's `enableUrl` ends so, too."""


def add_capabilities(app: FastAPI, *, backend: str) -> None:
    """`/capabilities`: what rules can do with this backend."""

    @app.get("/capabilities")
    async def listed() -> dict[str, Any]:
        return {"backend": backend, "capabilities": [asdict(one) for one in capabilities(backend)]}


def add_rules(app: FastAPI, *, backend: str, destinations: Destinations) -> None:
    """`/capabilities`, `/destinations` and the address to confirm one."""
    add_capabilities(app, backend=backend)

    @app.get("/destinations")
    async def targets() -> dict[str, Any]:
        known = destinations.all().values()
        return {
            "destinations": [
                {"arn": one.arn, "confirmationUrl": one.url, "status": one.status, "statusReason": one.why}
                for one in known
            ]
        }

    @app.get(CONFIRM)
    async def confirm(token: str) -> JSONResponse:
        if destinations.confirm(token):
            return JSONResponse({"status": "ENABLED"})
        told = {"error": "there is no destination with that token", "fix": "use the token that was sent"}
        return JSONResponse(told, 404)

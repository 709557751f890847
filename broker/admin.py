"""The gateway's admin port: quarantine, release and creation of devices, for the platform only (by its token)."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Base64Bytes, BaseModel, Field

from contracts.messages import Json, PublishProperties
from contracts.ports import GatewayControl, Republisher


class Because(BaseModel):
    """Why somebody acts."""

    reason: Annotated[str, Field(max_length=500)] = "by hand"


class NewDevice(BaseModel):
    """A device to register; without a policy the gateway's own holds for it."""

    device_id: Annotated[str, Field(min_length=1, max_length=65_535)]
    policy: dict[str, Json] | None = None


class Command(BaseModel):
    """A message from the platform to devices; the payload as base64."""

    topic: Annotated[str, Field(min_length=1, max_length=65_535)]
    payload: Base64Bytes
    qos: Annotated[int, Field(ge=0, le=1)] = 0
    retain: bool = False


class Republished(BaseModel):
    """What a rule's republish action publishes: payload and correlation data as base64."""

    topic: Annotated[str, Field(min_length=1, max_length=65_535)]
    payload: Base64Bytes
    qos: Annotated[int, Field(ge=0, le=1)] = 0
    payload_format: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: Base64Bytes | None = None
    message_expiry: int | None = None
    user: list[tuple[str, str]] = Field(default_factory=list)

    def properties(self) -> PublishProperties:
        """What MQTT 5 carries beside the payload."""
        return PublishProperties(
            self.payload_format,
            self.content_type,
            self.response_topic,
            self.correlation_data,
            self.message_expiry,
            tuple(self.user),
        )


def require_token(app: FastAPI, token: str) -> None:
    """Everything but `/healthz` needs `Authorization: Bearer TOKEN`."""
    expected = f"Bearer {token}".encode()

    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "").encode()
        if request.url.path == "/healthz" or secrets.compare_digest(given, expected):
            return await call_next(request)
        told = {
            "error": "the token is missing or wrong",
            "fix": "give stages.token the same value in every stage",
        }
        return JSONResponse(told, 401)

    app.middleware("http")(guard)


def add_republish(app: FastAPI, broker: Republisher) -> None:
    """The route of the rules' republish actions."""

    @app.post("/republish")
    async def republish(message: Republished) -> dict[str, str]:
        await broker.republish(
            message.topic, message.payload, qos=message.qos, properties=message.properties()
        )
        return {"outcome": "done"}


def add_control(app: FastAPI, devices: GatewayControl) -> None:
    """The routes that act on devices."""

    @app.get("/quarantined")
    async def quarantined() -> dict[str, Any]:
        return {"device_ids": sorted(devices.quarantined())}

    @app.post("/devices")
    async def create(device: NewDevice) -> dict[str, str]:
        await devices.create(device.device_id, policy=device.policy)
        return {"device_id": device.device_id, "outcome": "done"}

    @app.post("/enroll")
    async def enroll(device: NewDevice) -> dict[str, str]:
        return asdict(await devices.enroll(device.device_id, policy=device.policy))

    @app.post("/publish")
    async def publish(command: Command) -> dict[str, str]:
        await devices.publish(command.topic, command.payload, qos=command.qos, retain=command.retain)
        return {"outcome": "done"}

    @app.delete("/connections/{client_id:path}")
    async def disconnect(
        client_id: str,
        *,
        clean_session: Annotated[bool, Query(alias="cleanSession")] = False,
        prevent_will: Annotated[bool, Query(alias="preventWillMessage")] = False,
    ) -> dict[str, bool]:
        return {
            "connected": await devices.disconnect(
                client_id, clean_session=clean_session, prevent_will=prevent_will
            )
        }

    @app.post("/devices/{device_id:path}/quarantine")
    async def quarantine(device_id: str, why: Because) -> dict[str, str]:
        await devices.quarantine(device_id, reason=why.reason)
        return {"device_id": device_id, "outcome": "done"}

    @app.post("/devices/{device_id:path}/release")
    async def release(device_id: str) -> dict[str, str]:
        await devices.release(device_id)
        return {"device_id": device_id, "outcome": "done"}

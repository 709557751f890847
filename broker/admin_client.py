"""The gateway's admin port, from the other side: its version, and the control over devices."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import anyio
import httpx
from anyio.abc import TaskStatus

from contracts.errors import ConfigError, NotReady, ThingstormError, Transient
from contracts.identity import Credentials
from contracts.messages import Json, PublishProperties
from contracts.ports import Health, State

POLL_SECONDS = 1.0
"""How old the known set of quarantined devices may be; what this process does itself it knows at once."""

TIMEOUT = httpx.Timeout(5.0, connect=2.0)


class GatewayClient:
    """The service "gateway": DeviceControl over HTTP. Ready while the gateway answers and has our version."""

    name = "gateway"

    def __init__(self, *, url: str, token: str, version: str) -> None:
        self._url = url.rstrip("/")
        self._version = version
        self._client = httpx.AsyncClient(timeout=TIMEOUT, headers={"Authorization": f"Bearer {token}"})
        self._quarantined: frozenset[str] = frozenset()
        self._state: State = "starting"
        self._detail = f"asking {self._url}"

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Ready at once: a gateway that is not there yet is asked again, and the health says so."""
        task_status.started()
        try:
            while True:
                await self._poll()
                await anyio.sleep(POLL_SECONDS)
        finally:
            with anyio.CancelScope(shield=True):
                await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; only for one who used the client without `run`, which does it itself."""
        await self._client.aclose()

    async def drain(self) -> None:
        self._state = "draining"

    def health(self) -> Health:
        return Health(self.name, self._state, self._detail)

    async def check_version(self) -> None:
        """Raises NotReady (it does not answer) or ConfigError (it is of another version)."""
        theirs = (await self._call("GET", "/healthz")).get("version")
        if theirs != self._version:
            raise ConfigError(
                f"the broker at {self._url} is version {theirs}, this stage is {self._version}",
                fix="run the same image, or the same installation, for every stage",
            )

    async def quarantine(self, device_id: str, *, reason: str) -> None:
        """Refuse the device from now on, then close its connection. Raises Transient, ConfigError."""
        await self._call("POST", f"/devices/{_path(device_id)}/quarantine", {"reason": reason})
        self._quarantined |= {device_id}

    async def release(self, device_id: str) -> None:
        """Let the device come back. Raises Transient, ConfigError."""
        await self._call("POST", f"/devices/{_path(device_id)}/release", {})
        self._quarantined -= {device_id}

    async def create(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> None:
        """Register the device. Raises Transient, ConfigError."""
        await self._call("POST", "/devices", {"device_id": device_id, "policy": policy})

    async def enroll(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> Credentials:
        """A device in the registry, with its credentials. Raises Transient, ConfigError."""
        return Credentials(**await self._call("POST", "/enroll", {"device_id": device_id, "policy": policy}))

    async def disconnect(
        self, client_id: str, *, clean_session: bool = False, prevent_will: bool = False
    ) -> bool:
        """Close the client's connection; False: it was not connected. Raises Transient, ConfigError."""
        query = f"?cleanSession={clean_session}&preventWillMessage={prevent_will}"
        told = await self._call("DELETE", f"/connections/{_path(client_id)}{query}")
        return bool(told["connected"])

    async def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """From the platform to devices. Raises Transient, ConfigError."""
        body = {"topic": topic, "payload": b64encode(payload).decode(), "qos": qos, "retain": retain}
        await self._call("POST", "/publish", body)

    async def republish(
        self, topic: str, payload: bytes, *, qos: int = 0, properties: PublishProperties | None = None
    ) -> None:
        """A rule's republish action. Raises Transient, ConfigError."""
        told = asdict(properties) if properties is not None else {}
        if told.get("correlation_data") is not None:
            told["correlation_data"] = b64encode(told["correlation_data"]).decode()
        body = {"topic": topic, "payload": b64encode(payload).decode(), "qos": qos, **told}
        await self._call("POST", "/republish", body)

    def quarantined(self) -> frozenset[str]:
        """As known here: at most `POLL_SECONDS` old."""
        return self._quarantined

    async def _poll(self) -> None:
        try:
            await self.check_version()
            self._quarantined = frozenset((await self._call("GET", "/quarantined"))["device_ids"])
            self._state, self._detail = "ready", self._url
        except ThingstormError as error:
            self._state, self._detail = "failed", error.told

    async def _call(self, method: str, path: str, body: Json = None) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, f"{self._url}{path}", json=body)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise NotReady(
                f"the broker's admin port {self._url} does not answer: {str(error) or type(error).__name__}",
                fix="start the broker, or correct stages.broker; it is tried again",
            ) from None
        if answer.is_success or path == "/healthz":
            return told
        kind = ConfigError if answer.is_client_error else None
        what, fix = str(told.get("error", answer.status_code)), str(told.get("fix", "see the broker's log"))
        raise kind(what, fix=fix) if kind else Transient(what, fix=fix)


def _path(device_id: str) -> str:
    """A device id as one part of a path, whatever it is made of."""
    return quote(device_id, safe="")

"""Who may use the API: everybody who reaches loopback, elsewhere those who have the token."""

import base64
import binascii
import ipaddress
import secrets
from collections.abc import Iterable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.errors import ConfigError


class TokenGuard:
    """Every route, mounted applications and websockets too, asks for one of the tokens.

    Programs send `Authorization: Bearer TOKEN`; a browser asks its user (Basic), whose password is the token.
    """

    def __init__(self, app: ASGIApp, *, tokens: Iterable[str]) -> None:
        self._app = app
        self._tokens = tuple(token.encode() for token in tokens if token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._tokens or scope["type"] not in ("http", "websocket") or self._knows(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "the token is missing or wrong"})
        else:
            await _refusal()(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = _given(scope)
        return any(secrets.compare_digest(given, token) for token in self._tokens)


def _given(scope: dict[str, Any] | Scope) -> bytes:
    told = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, value = bytes(told).partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _refusal() -> JSONResponse:
    told = {
        "error": "the token is missing or wrong",
        "fix": "send `Authorization: Bearer TOKEN` with the api.token of the stack",
    }
    return JSONResponse(
        told, 401, {"WWW-Authenticate": 'Basic realm="thingstorm: the token is the password"'}
    )


def check_open(host: str, token: str, *, setting: str) -> None:
    """Raises ConfigError: it would listen beyond this machine, and ask nobody who he is."""
    if token or is_loopback(host):
        return
    raise ConfigError(
        f"the API would listen on {host}, beyond this machine, without a token",
        fix=f"set {setting} to a secret, or api.host to 127.0.0.1",
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

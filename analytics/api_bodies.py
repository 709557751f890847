r"""Bodies of requests as text that UTF-8 can carry.

JSON can have half a surrogate pair (the escape `\ud800`), which no statement, no view and no table takes. As in what devices
send, such a half stays the six characters of its escape.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from contracts.messages import Json
from contracts.text import spelt

_MARKS = (b"\\u", b"\xed", b"\0")
"""One of these is in every body with a half: an escape, the first of its three bytes (json takes them), or UTF-16 and UTF-32."""


class SpeltRoute(APIRoute):
    """A route whose body has no halves any more."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI's guide to custom requests has it."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(_SpeltRequest(request.scope, request.receive))

        return handler


class _SpeltRequest(Request):
    async def json(self) -> Json:
        told: Json = await super().json()
        body = await self.body()
        return _spelt(told) if any(mark in body for mark in _MARKS) else told


def _spelt(value: Json) -> Json:
    if isinstance(value, str):
        return spelt(value)
    if isinstance(value, list):
        return [_spelt(one) for one in value]
    if isinstance(value, dict):
        return {spelt(name): _spelt(one) for name, one in value.items()}
    return value

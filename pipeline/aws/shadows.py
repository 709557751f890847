"""Shadows in the AWS backend, through its `iot-data` API: the same documents that HTTP clients see."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

from contracts.messages import Json
from contracts.shadows import ShadowError

from .session import translated

T = TypeVar("T")

THREADS = 4

_REFUSED = {
    "ResourceNotFoundException": 404,
    "ConflictException": 409,
    "RequestEntityTooLargeException": 413,
    "InvalidRequestException": 400,
    "UnsupportedDocumentEncodingException": 415,
    "ThrottlingException": 429,
}
"""Errors of `iot-data` that are the request's own fault, with the codes that devices are told."""


class IotDataShadows:
    """The port `ShadowStore` over a boto3 client of `iot-data`."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._limiter = CapacityLimiter(THREADS)

    async def get(self, thing: str, name: str) -> Mapping[str, Json] | None:
        try:
            return await self._run(lambda: self._get(thing, name))
        except ShadowError as error:
            if error.code == 404:
                return None
            raise

    async def update(self, thing: str, name: str, request: Mapping[str, Json]) -> Mapping[str, Json]:
        def work() -> Mapping[str, Json]:
            self._data.update_thing_shadow(payload=json.dumps(request).encode(), **_named(thing, name))
            return self._get(thing, name)

        return await self._run(work)

    async def delete(self, thing: str, name: str) -> int:
        def work() -> int:
            answer = self._data.delete_thing_shadow(**_named(thing, name))
            return int(json.loads(answer["payload"].read())["version"])

        return await self._run(work)

    def _get(self, thing: str, name: str) -> Mapping[str, Json]:
        """Without the delta, which is computed where it is told."""
        document = json.loads(self._data.get_thing_shadow(**_named(thing, name))["payload"].read())
        for part in ("state", "metadata"):
            document[part] = {key: value for key, value in document.get(part, {}).items() if key != "delta"}
        return dict(document)

    async def _run(self, work: Callable[[], T]) -> T:
        def refused_or_done() -> T:
            try:
                return work()
            except self._data.exceptions.ClientError as error:
                code = str(error.response["Error"].get("Code", ""))
                if code in _REFUSED:
                    message = str(error.response["Error"].get("Message", code))
                    raise ShadowError(_REFUSED[code], message) from None
                raise

        return await to_thread.run_sync(translated(refused_or_done), limiter=self._limiter)


def _named(thing: str, name: str) -> dict[str, str]:
    return {"thingName": thing, **({"shadowName": name} if name else {})}

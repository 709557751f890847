"""The archive read back: the objects that the delivery stream wrote, as records."""

from collections.abc import Mapping, Sequence
from typing import Any

from anyio import CapacityLimiter, to_thread

from contracts.messages import Json

from ..delivering.objects import read_object
from ..delivering.settings import settings_from
from .session import translated


class ObjectArchive:
    """The port `Archive` over the objects of one bucket. `delivery` are the settings of the stream that writes them."""

    def __init__(self, s3: Any, bucket: str, delivery: Mapping[str, Any]) -> None:
        settings = settings_from(delivery)
        self._s3 = s3
        self._bucket = bucket
        self._prefix = settings.prefix.static
        self._errors = settings.errors.static
        self._limiter = CapacityLimiter(2)

    async def keys(self) -> Sequence[str]:
        """The keys of all objects, in order. Raises Transient, Terminal."""
        return await to_thread.run_sync(self.keys_now, limiter=self._limiter)

    async def read(self, key: str) -> Sequence[Mapping[str, Json]]:
        """The records of one object. Raises Transient, Terminal, ConfigError for what is no such object."""
        return await to_thread.run_sync(self.read_now, key, limiter=self._limiter)

    @translated
    def keys_now(self) -> list[str]:
        """Likewise, blocking. What went to the error prefix is left out."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return [key for key in keys if not (self._errors and key.startswith(self._errors))]

    @translated
    def read_now(self, key: str) -> Sequence[Mapping[str, Json]]:
        """Likewise, blocking."""
        body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return read_object(key, body)

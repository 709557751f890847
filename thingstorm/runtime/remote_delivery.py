"""The delivery stream in a process of its own: records go to it over HTTP, as they go to Amazon Data Firehose.

A request is answered when the records are in the stream's journal, so what the rules were told is taken survives its kill.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from contracts.errors import Transient
from pipeline.delivery import DeliveryStream

TIMEOUT: Final = httpx.Timeout(30.0, connect=2.0)
"""The other side waits while its buffer is full; the rules wait with it."""


class Records(BaseModel):
    """Records as PutRecordBatch has them: base64."""

    records: list[str]


class RemoteDelivery:
    """A `RecordSink` that is the delivery stream of another stage. `url` is that stage's address."""

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url.rstrip('/')}/records"
        self._client = httpx.AsyncClient(timeout=TIMEOUT, headers={"Authorization": f"Bearer {token}"})

    async def put(self, records: Sequence[bytes]) -> None:
        """Return when the other side has kept them. Raises Transient: it did not say so."""
        body = {"records": [b64encode(record).decode() for record in records]}
        try:
            (await self._client.post(self._url, json=body)).raise_for_status()
        except httpx.HTTPError as error:
            raise Transient(
                f"the delivery stream at {self._url} did not take {len(records)} records: {str(error) or type(error).__name__}",
                fix="start that stage, or correct stages.delivery; it is tried again",
            ) from None

    async def aclose(self) -> None:
        await self._client.aclose()


def add_records(app: FastAPI, delivery: DeliveryStream) -> None:
    """`/records` takes records, `/flush` writes what is buffered."""

    @app.post("/records")
    async def put(told: Records) -> dict[str, int]:
        await delivery.put([b64decode(record) for record in told.records])
        return {"taken": len(told.records)}

    @app.post("/flush")
    async def flush() -> dict[str, str]:
        await delivery.flush()
        return {"outcome": "done"}

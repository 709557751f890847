"""The `http` action: bodies posted to a web service that has confirmed that it wants them.

Source: developer guide, "HTTP action" and "Working with HTTP topic rule destinations".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import anyio
import httpx

from contracts.errors import ConfigError

from .base import ActionContext, Item
from .calls import AT_ONCE, TRIES, Outcome
from .destinations import Destinations

MAX_ANSWER: Final = 16_384
"""Bytes of an answer after which nothing is tried again."""


@dataclass(frozen=True, slots=True)
class HttpAction:
    """Posts to one URL. Tried three times at most, again only after status 429 or 500 to 599."""

    url: str
    confirmation: str
    destinations: Destinations
    kind: ClassVar[str] = "http"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset({"headers"})

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "HttpAction":
        """From `{url, confirmationUrl?, headers?}`. Raises ConfigError."""
        if context.destinations is None:
            raise ConfigError("an http action, but nothing confirms", fix="give the actions destinations")
        url = str(settings["url"])
        confirmation = str(settings.get("confirmationUrl") or url)
        context.destinations.want(confirmation)
        return cls(url, confirmation, context.destinations)

    @property
    def name(self) -> str:
        return f"http {self.resource}"

    @property
    def resource(self) -> str:
        return self.url

    async def deliver(self, items: Sequence[Item]) -> None:
        """Raises Undelivered or Refused."""
        outcome = Outcome()
        flaw = await self.destinations.flaw(self.confirmation)
        if flaw:
            outcome.refused = dict.fromkeys(range(len(items)), flaw)
            outcome.close(self.name)
        places = anyio.Semaphore(AT_ONCE)

        async def one(index: int) -> None:
            async with places:
                await self._post(index, items[index], outcome)

        async with anyio.create_task_group() as group:
            for index in range(len(items)):
                group.start_soon(one, index)
        outcome.close(self.name)

    async def _post(self, index: int, item: Item, outcome: Outcome) -> None:
        headers = {str(pair["key"]).lower(): str(pair["value"]) for pair in item.fields.get("headers", ())}
        headers.setdefault("content-type", _content_type(item.body))
        try:
            answer = await self.destinations.client.post(self.url, content=item.body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            outcome.refused[index] = f"{type(error).__name__}: {error}"
            return
        if answer.is_success:
            return
        again = answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.status_code >= 500
        left = outcome.retry if again and len(answer.content) <= MAX_ANSWER else outcome.refused
        left[index] = f"status {answer.status_code}"


def _content_type(body: bytes) -> str:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return "application/octet-stream"
    return "application/json"

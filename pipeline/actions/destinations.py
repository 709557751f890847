"""Web services as targets of rules: asked once whether they want messages, and enabled when they say so.

The confirmation is a POST to the confirmation URL with a token; the service answers by getting `enableUrl`, or by
somebody passing the token to `confirm` (AWS: ConfirmTopicRuleDestination). Source: developer guide, "Working with
HTTP topic rule destinations".
"""

import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import httpx

Status: TypeAlias = Literal["IN_PROGRESS", "ENABLED", "DISABLED", "ERROR"]

MAX_DESTINATIONS: Final = 1_000
"""AWS allows 1,000 in an account and region (AWS IoT Core quotas, "Rules engine")."""

SECONDS: Final = 3.0
"""One request has so long (AWS IoT Core quotas, "HTTP action: request timeout": 3,000 ms)."""


@dataclass(slots=True)
class Destination:
    """One confirmation URL and its state."""

    url: str
    arn: str
    token: str
    status: Status = "IN_PROGRESS"
    asked: bool = False
    why: str = ""


class Destinations:
    """The destinations of all `http` actions.

    Args:
        enable_url: gives the address where `?token=...` can be got to confirm; empty where nothing listens.
        prefix: of the ARNs.
    """

    def __init__(
        self, *, enable_url: Callable[[], str] = str, prefix: str = "arn:aws:iot:us-east-1:000000000000:"
    ) -> None:
        self.enable_url = enable_url
        self._prefix = prefix
        self.client = httpx.AsyncClient(timeout=SECONDS)
        self._by_url: dict[str, Destination] = {}

    def all(self) -> Mapping[str, Destination]:
        """By confirmation URL."""
        return self._by_url

    def want(self, url: str) -> Destination:
        """The destination of a confirmation URL, made if it is new."""
        found = self._by_url.get(url)
        if found is None:
            arn = f"{self._prefix}ruledestination/http/{uuid.uuid4()}"
            found = Destination(url, arn, secrets.token_urlsafe(32))
            if len(self._by_url) < MAX_DESTINATIONS:
                self._by_url[url] = found
        return found

    def confirm(self, token: str) -> bool:
        """Enable the destination that was sent the token; False if there is none."""
        for one in self._by_url.values():
            if secrets.compare_digest(one.token.encode(), token.encode()):
                one.status, one.why = "ENABLED", ""
                return True
        return False

    async def flaw(self, url: str) -> str:
        """Why nothing may be sent there, or an empty text. The first question sends the confirmation request."""
        destination = self.want(url)
        if not destination.asked and destination.status != "ENABLED":
            destination.asked = True
            await self._ask(destination)
        if destination.status == "ENABLED":
            return ""
        why = f": {destination.why}" if destination.why else ""
        return f"destination {url} is not confirmed ({destination.status}{why})"

    async def _ask(self, destination: Destination) -> None:
        enable = self.enable_url()
        body = {
            "arn": destination.arn,
            "confirmationToken": destination.token,
            "enableUrl": f"{enable}?token={destination.token}" if enable else "",
            "messageType": "DestinationConfirmation",
        }
        headers = {
            "x-amz-rules-engine-message-type": "DestinationConfirmation",
            "x-amz-rules-engine-destination-arn": destination.arn,
        }
        address = f"{destination.url.rstrip('/')}/?confirmationToken={destination.token}"
        try:
            answer = await self.client.post(address, json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            destination.status, destination.why = "ERROR", f"{type(error).__name__}: {error}"
            destination.asked = False  # asked again with the next message
            return
        if not answer.is_success and destination.status != "ENABLED":
            destination.status, destination.why = "ERROR", f"status {answer.status_code}"

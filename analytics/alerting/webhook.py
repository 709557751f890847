"""Alerts by HTTP POST, signed."""

import ssl
from collections.abc import Mapping

import httpx
from anyio import to_thread

from contracts.clock import Clock
from contracts.errors import Terminal, Transient
from contracts.messages import SECOND

from .signing import signed_headers
from .templates import Render

TIMEOUT_SECONDS = 10.0
_AGAIN = frozenset({408, 425, 429})
"""Codes of the 4xx that say "later"; every other one says that this request will never do."""

_LONGEST_WAIT = 600.0


class Webhook:
    """One address. Any 2xx answer means that it was taken; a redirect is not followed."""

    def __init__(
        self,
        name: str,
        *,
        url: str,
        render: Render,
        key: bytes,
        clock: Clock,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.render: Render = render
        self._url = url
        self._key = key
        self._clock = clock
        self._headers = {"content-type": "application/json", "user-agent": "thingstorm", **(headers or {})}
        self._tls: ssl.SSLContext | None = None

    async def deliver(self, alert_id: str, body: bytes) -> None:
        """POST it. Raises Transient (no answer, 5xx, 408, 425, 429) or Terminal."""
        at = self._clock.now() // SECOND
        headers = {**self._headers, **signed_headers(body, alert_id=alert_id, at_seconds=at, key=self._key)}
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, verify=await self._verify()) as client:
                answer = await client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise Transient(
                f"{self.name} does not answer ({type(error).__name__})",
                fix="see that its address is right and it runs",
            ) from None
        _check(self.name, answer)

    async def _verify(self) -> ssl.SSLContext | bool:
        """Reading all authorities takes 100 ms: once, in a thread, and only where there is TLS."""
        if not self._url.startswith("https:"):
            return False
        if self._tls is None:
            self._tls = await to_thread.run_sync(httpx.create_ssl_context)
        return self._tls


def _check(name: str, answer: httpx.Response) -> None:
    if answer.is_success:
        return
    what = f"{name} answered {answer.status_code}"
    if answer.status_code >= 500 or answer.status_code in _AGAIN:
        raise Transient(what, fix="see what is wrong there", retry_after=_wait(answer))
    raise Terminal(what, fix="correct its address, key or template, then `thingstorm alerts retry`")


def _wait(answer: httpx.Response) -> float:
    """`Retry-After` in seconds; the form with a date is not worth its code here."""
    told = answer.headers.get("retry-after", "")
    return min(float(told), _LONGEST_WAIT) if told.isascii() and told.isdigit() else 0.0

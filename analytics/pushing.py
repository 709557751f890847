"""Brings an answer to where it is wanted: an SNS topic, a webhook. Bounded, tried again, signed."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import anyio
import httpx

from contracts.errors import ConfigError, Terminal, Transient
from contracts.messages import SECOND, Nanoseconds
from contracts.ports import Rows

from .alerting.signing import key_of, signed_headers
from .answers import plain

MAX_BYTES = 240_000
"""Of a message: SNS takes 256 KiB. What is longer goes without its last rows, and says so."""

TRIES, FIRST_PAUSE, TIMEOUT_SECONDS = 4, 0.5, 5.0
"""The pause doubles, so a receiver that is away is given up after some 3.5 s plus its timeouts; the next answer is newer."""

Publish = Callable[[str, str], Awaitable[None]]
"""Gives a text to the SNS topic of a name. Raises Transient, Terminal."""


def message(name: str, version: int, at: Nanoseconds, rows: Rows) -> str:
    """What is pushed: JSON with query, version, time, columns, rows, and how many rows there were in all."""
    kept = list(plain(rows.rows))
    while True:
        told = {
            "query": name,
            "version": version,
            "ran_at": datetime.fromtimestamp(at / SECOND, tz=UTC).isoformat(timespec="milliseconds"),
            "columns": rows.columns,
            "rows": kept,
            "row_count": len(rows.rows),
            "cut": len(kept) < len(rows.rows),
        }
        text = json.dumps(told)
        if len(text) <= MAX_BYTES or not kept:
            return text
        kept = kept[: len(kept) * MAX_BYTES // (len(text) + MAX_BYTES // 10)]


async def tried(push: Callable[[], Awaitable[None]]) -> int:
    """Push, and again where that may help; how many tries it took. Raises Transient (all failed), Terminal."""
    pause = FIRST_PAUSE
    for number in range(1, TRIES):
        try:
            await push()
        except Transient as error:
            await anyio.sleep(max(pause, min(error.retry_after, 10.0)))
            pause *= 2
        else:
            return number
    await push()
    return TRIES


class Webhooks:
    """Posts to URLs of hosts that the configuration allows, signed with its secret."""

    def __init__(self, *, secret: str, hosts: Collection[str]) -> None:
        """Raises ConfigError: a secret that begins like base64 and is none."""
        self._key = key_of(secret)
        self._hosts = hosts
        self._http: httpx.AsyncClient | None = None

    def check(self, url: str) -> None:
        """Raises ConfigError: no http(s) URL of an allowed host, or no secret to sign with."""
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname in self._hosts and not parts.username
            _ = parts.port
        except ValueError:
            known = False
        if not known:
            raise ConfigError(
                f"{url!r} is no webhook that may be called",
                fix=f"give an http(s) URL of {', '.join(sorted(self._hosts))}, or add its host to api.webhook_hosts",
            )
        if not self._key:
            raise ConfigError("webhooks are signed, and there is no secret", fix="set api.webhook_secret")

    async def push(self, url: str, text: str, *, at: Nanoseconds) -> None:
        """One try. Raises Transient (no answer, 429, 5xx), Terminal (another refusal), ConfigError."""
        self.check(url)
        if self._http is None:
            self._http = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False)
        try:
            async with self._http.stream("POST", url, content=text, headers=self._signed(text, at)) as answer:
                status, after = answer.status_code, answer.headers.get("retry-after", "")
        except httpx.HTTPError as error:
            raise Transient(
                f"{url}: {str(error) or type(error).__name__}", fix="see whether it runs"
            ) from None
        if status == 429 or status >= 500:
            raise Transient(
                f"{url} answered {status}",
                fix="see its log",
                retry_after=float(after) if after.isdigit() else 0.0,
            )
        if not 200 <= status < 300:
            raise Terminal(f"{url} answered {status}", fix="see its log")

    def _signed(self, text: str, at: Nanoseconds) -> Mapping[str, str]:
        """Like an alert; the id is that of the text, so a push that is tried again keeps it."""
        body = text.encode()
        told = f"query-{hashlib.sha256(body).hexdigest()[:32]}"
        return {
            "Content-Type": "application/json",
            **signed_headers(body, alert_id=told, at_seconds=at // SECOND, key=self._key),
        }

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None


def same(before: Rows | None, now: Rows) -> bool:
    """Whether two answers say the same."""
    return before is not None and (before.columns, before.rows) == (now.columns, now.rows)

"""Asks a running stack through its HTTP API."""

from typing import TYPE_CHECKING, Any

from contracts.errors import ConfigError, NotReady, ThingstormError
from thingstorm.config import load_config

if TYPE_CHECKING:  # imported when something is asked: it takes longer than all other commands together
    import httpx

ANSWER_SECONDS, CONNECT_SECONDS = 30.0, 2.0
"""A query may run for 10 s on the other side; a loopback connect takes milliseconds or fails."""


def default_url() -> str:
    """Where the configuration says that the API listens."""
    api = load_config().api
    return f"http://{api.host}:{api.port}"


def credentials() -> dict[str, str]:
    """The token of the configuration, as a header; that of the stages if the API has none of its own."""
    config = load_config()
    token = config.api.token or config.stages.token
    return {"Authorization": f"Bearer {token}"} if token else {}


def call(method: str, path: str, *, url: str | None, body: Any = None, query: Any = None) -> Any:
    """One request; the decoded JSON answer. Raises NotReady (nothing answers) or the error that the API told."""
    import httpx

    base = url or default_url()
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    try:
        answer = httpx.request(
            method, f"{base}{path}", json=body, params=query, timeout=timeout, headers=credentials()
        )
    except httpx.HTTPError as error:
        raise NotReady(
            f"no running stack answers at {base} ({error})",
            fix="start one with `thingstorm up` in another terminal, or give its address with --api",
        ) from None
    if answer.status_code in (200, 503) and "error" not in (told := answer.json()):
        return told
    raise _told(answer)


def _told(answer: "httpx.Response") -> ThingstormError:
    try:
        told = answer.json()
        what, fix = str(told["error"]), str(told["fix"])
    except (ValueError, KeyError, TypeError):
        what, fix = f"the API answered {answer.status_code}", "look at the log of the stack"
    kind = ConfigError if 400 <= answer.status_code < 500 else NotReady
    return kind(what, fix=fix)

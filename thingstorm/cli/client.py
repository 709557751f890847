"""Asks a running stack through its HTTP API."""

from http import HTTPStatus
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

    base = _address(url)
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    try:
        answer = httpx.request(
            method, f"{base}{path}", json=body, params=query, timeout=timeout, headers=credentials()
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ConfigError(f"{base} is no address: {error}", fix="write it as http://127.0.0.1:8080") from None
    except httpx.HTTPError as error:
        raise NotReady(
            f"no running stack answers at {base} ({error})",
            fix="start one with `thingstorm up` in another terminal, or give its address with --api",
        ) from None
    told = _document(answer)
    if answer.status_code in (200, 503) and told is not None and "error" not in told:
        return told
    raise _error(base, answer.status_code, told)


def _address(url: str | None) -> str:
    """With its scheme: `--api 127.0.0.1:8080` is what people write."""
    if url is None:
        return default_url()
    return (url if "://" in url else f"http://{url}").rstrip("/")


def _document(answer: "httpx.Response") -> dict[str, Any] | None:
    """None where something else answers than a stack's API: that speaks JSON objects only."""
    try:
        told = answer.json()
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _error(base: str, status: int, told: dict[str, Any] | None) -> ThingstormError:
    if status == HTTPStatus.UNAUTHORIZED:
        return ConfigError(
            f"the stack at {base} asks for a token: {told.get('error') if told else 'no more is said'}",
            fix="give both, it and this command, the same api.token (THINGSTORM__API__TOKEN)",
        )
    if told is None:
        return NotReady(
            f"what answers at {base} is not a stack's API (status {status})",
            fix="give the API's address with --api: `thingstorm up` prints it",
        )
    what = str(told.get("error", f"the API answered {status}"))
    fix = str(told.get("fix", "look at the log of the stack"))
    kind = ConfigError if 400 <= status < 500 else NotReady
    return kind(what, fix=fix)

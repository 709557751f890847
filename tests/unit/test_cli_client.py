"""Asking a stack's API: whatever stands in `--api` or answers there, there is one line and what to do."""

from collections.abc import Iterator

import pytest
from answering import answering

from contracts.errors import ConfigError, NotReady, ThingstormError
from thingstorm.cli.client import call

ANSWERS = {
    "/healthz": (503, b'{"services": []}'),
    "/page": (200, b"<html>somebody else</html>"),
    "/list": (200, b"[1]"),
    "/wrong": (404, b'{"error": "no such thing", "fix": "look again"}'),
    "/closed": (401, b'{"error": "the token is missing", "fix": "send it"}'),
    "/broken": (500, b'{"error": "it fell over"}'),
    "/nothing": (502, b"{}"),
}


@pytest.fixture
def host() -> Iterator[str]:
    with answering(ANSWERS) as api:
        yield api.url.removeprefix("http://")


@pytest.mark.parametrize("before", ["", "http://"])
@pytest.mark.parametrize("after", ["", "/"])
def test_an_address_is_taken_as_people_write_it(host: str, before: str, after: str) -> None:
    assert call("GET", "/healthz", url=f"{before}{host}{after}") == {"services": []}


@pytest.mark.parametrize(
    ("path", "kind", "what", "fix"),
    [
        ("/page", NotReady, "is not a stack's API (status 200)", "give the API's address"),
        ("/list", NotReady, "is not a stack's API (status 200)", "give the API's address"),
        ("/wrong", ConfigError, "no such thing", "look again"),
        ("/closed", ConfigError, "asks for a token: the token is missing", "THINGSTORM__API__TOKEN"),
        ("/broken", NotReady, "it fell over", "look at the log"),
        ("/nothing", NotReady, "the API answered 502", "look at the log"),
    ],
)
def test_what_answers_is_told(host: str, path: str, kind: type, what: str, fix: str) -> None:
    with pytest.raises(ThingstormError) as failed:
        call("GET", path, url=host)
    assert type(failed.value) is kind
    assert what in failed.value.what
    assert fix in failed.value.fix


@pytest.mark.parametrize(
    ("url", "kind"),
    [("http://a:b", ConfigError), ("ftp://127.0.0.1", ConfigError), ("127.0.0.1:1", NotReady)],
)
def test_an_address_where_nothing_is(url: str, kind: type) -> None:
    with pytest.raises(ThingstormError) as failed:
        call("GET", "/healthz", url=url)
    assert type(failed.value) is kind
    assert "http" in failed.value.what + failed.value.fix

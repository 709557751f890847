"""`thingstorm deploy` as a person runs it: what would change, what it costs, and what is wrong."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import here, thingstorm
from ports import free_port

_REFUSAL = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>"
    b"<Message>The security token included in the request is invalid.</Message></Error></ErrorResponse>"
)
"""What STS and CloudFormation answer to wrong credentials."""


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(403)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(_REFUSAL)))
        self.end_headers()
        self.wfile.write(_REFUSAL)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


def test_a_dry_run_without_an_account_shows_the_change_and_the_cost(tmp_path: Path) -> None:
    done = thingstorm(
        "deploy",
        "--backend",
        "aws",
        "--dry-run",
        "--rate",
        "200",
        "--devices",
        "1000",
        cwd=tmp_path,
        within=40,
    )
    assert done.code == 0, done.err
    assert "TelemetryMapping           AWS::Lambda::EventSourceMapping" in done.out
    assert "525,600,000    messages of 5 KB" in done.out
    assert "200 messages/s of 200 bytes from 1000 devices" in done.out
    told = json.loads(here("deploy", "--backend", "aws", "--dry-run", "--json", cwd=tmp_path).out)
    assert {one["action"] for one in told["changes"]} == {"Add"}
    assert told["cost"]["usd_a_month"] > 100
    assert "no credentials" in told["note"]


def test_wrong_credentials_are_said_with_their_mend(
    tmp_path: Path, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for command in (["deploy", "--backend", "aws", "--dry-run"], ["up", "--no-simulator", "--ports", "auto"]):
        settings = ["--set", f"aws.endpoint={refusing}"]
        if command[0] == "up":
            settings += ["--set", "aws.backend=aws"]
        done = thingstorm(*command, *settings, cwd=tmp_path, within=60)
        assert done.code == 3
        assert done.err.startswith("error: CloudFormation: "), done.err
        assert "InvalidClientTokenId" in done.err
        assert "fix: check the credentials" in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize("backend", ["embedded", "localstack"])
def test_an_endpoint_where_nobody_answers_is_said(tmp_path: Path, backend: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = here("deploy", "--backend", backend, "--set", f"aws.endpoint={url}", cwd=tmp_path)
    assert done.code == 3
    assert f'cannot be reached: Could not connect to the endpoint URL: "{url}' in done.err
    assert "fix: see that the service at that address runs" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--backend", "aws"], "not deployed: nobody agreed"),
        (["--parameter", "BatchSize", "--dry-run", "--backend", "aws"], "no '='"),
        (
            ["--parameter", "Batch=1", "--yes", "--backend", "aws"],
            "unknown parameter of the template 'Batch'",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said_before_anything_is_done(
    tmp_path: Path, refusing: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    done = here("deploy", *arguments, "--set", f"aws.endpoint={refusing}", cwd=tmp_path)
    assert done.code == 2, done.err
    assert told in done.err
    assert "fix:" in done.err

"""The container's health check: 0 for 200, 1 and the reason for everything else."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import thingstorm.healthcheck


@contextmanager
def answering(status: int, body: bytes, *, token: str = "") -> Iterator[str]:
    """With a token, 401 is what everybody gets who does not send it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization", "") == (f"Bearer {token}" if token else "")
            self.send_response(status if known else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/healthz"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_only_200_is_healthy(status: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(status, b'{"detail": "the broker is away"}') as url:
        assert thingstorm.healthcheck.main([url]) == code
    assert ("the broker is away" in capsys.readouterr().out) is (status != 200)


def test_it_sends_the_token_between_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b"{}", token="secret") as url:
        monkeypatch.delenv("THINGSTORM__STAGES__TOKEN", raising=False)
        assert thingstorm.healthcheck.main([url]) == 1
        monkeypatch.setenv("THINGSTORM__STAGES__TOKEN", "secret")
        assert thingstorm.healthcheck.main([url]) == 0


@pytest.mark.parametrize("url", ["", "nonsense", "https://x:1/y", "http://127.0.0.1/no-port"])
def test_a_missing_address_is_said_with_its_fix(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSTORM_HEALTHCHECK", url)
    assert thingstorm.healthcheck.main([]) == 1
    assert "fix: set THINGSTORM_HEALTHCHECK" in capsys.readouterr().out


def test_nobody_there_is_unhealthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert thingstorm.healthcheck.main(["http://127.0.0.1:9/healthz"]) == 1
    assert "does not answer" in capsys.readouterr().out


def test_it_runs_as_one_file_of_the_standard_library() -> None:
    file = thingstorm.healthcheck.__file__
    with answering(200, b"{}") as url:
        done = subprocess.run([sys.executable, "-I", "-S", Path(str(file)), url], check=False, timeout=20)
    assert done.returncode == 0

"""LocalStack without Docker, in an environment of its own, with DynamoDB on ministack beside it."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from emulator import endpoint as ministack
from ports import free_port

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("LOCALSTACK_VENV", ROOT / ".tools/localstack")) / "bin/python"
START_SECONDS = 120
"""Seen: 20 to 35 s."""

SETTINGS = {
    "GATEWAY_SERVER": "hypercorn",  # the default one listens on all addresses
    "SKIP_SSL_CERT_DOWNLOAD": "1",
    "DISABLE_EVENTS": "1",
    "EAGER_SERVICE_LOADING": "0",
}


@pytest.fixture(scope="session")
def localstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    assert PYTHON.is_file(), f"no LocalStack in {PYTHON.parents[1]}; fix: make localstack-test"
    port, folder = free_port(), tmp_path_factory.mktemp("localstack")
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "localstack.runtime.main"],
            env={**os.environ, **SETTINGS, "GATEWAY_LISTEN": f"127.0.0.1:{port}"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + START_SECONDS
            while not _answers(url):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def dynamodb(ministack: str) -> Iterator[str]:
    """The address of DynamoDB, which LocalStack has not without a download; named as AWS's tools name it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack)
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", ministack)
        yield ministack


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/_localstack/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


__all__ = ["ministack"]

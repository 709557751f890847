"""Runs the stages as processes, without containers: starts, kills, starts again."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ports import free_ports

TOKEN = "a-token-of-the-tests"
SCRIPTS = Path(sys.executable).parent
STAGES = ("broker", "pipeline", "analytics")
PARTS = ("router", "worker", "delivery")
"""Of the pipeline, each as a process of its own."""


class StageProcesses:
    """The stages of one stack on ports of its own; their logs lie in `folder`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        mqtt, aws, *own = free_ports(9)
        self.mqtt, self.aws = mqtt, aws
        self.urls = {
            stage: f"http://127.0.0.1:{port}"
            for stage, port in zip((*STAGES, "simulator", *PARTS), own, strict=True)
        }
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "THINGSTORM"))},
            "THINGSTORM__STAGES__TOKEN": TOKEN,
            "THINGSTORM__AWS__ENDPOINT": f"http://127.0.0.1:{aws}",
            "THINGSTORM__BROKER__PORT": str(mqtt),
            "THINGSTORM__BROKER__TLS_PORT": "0",
            "THINGSTORM__BROKER__WEBSOCKET_PORT": "0",
            "THINGSTORM__PIPELINE__ARCHIVE_SECONDS": "2",
            "THINGSTORM__API__POSTGRES_PORT": "0",
            **{f"THINGSTORM__STAGES__{stage.upper()}": self.urls[stage] for stage in (*STAGES, "simulator")},
            **settings,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []

    def start_aws(self) -> None:
        """The emulator, with its own command."""
        own = {"GATEWAY_PORT": str(self.aws), "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}
        self._start("aws", [str(SCRIPTS / "ministack")], own)
        self._wait(lambda: _status(f"http://127.0.0.1:{self.aws}/_ministack/health") == 200, "aws")

    def start(self, stage: str, *arguments: str, **settings: str) -> None:
        """Start one stage, or one part of the pipeline; it may wait for others, so this does not wait for it."""
        data = self.folder / stage
        own = {"THINGSTORM__STAGES__DATA": str(data), **settings}
        if stage in PARTS:
            own["THINGSTORM__PIPELINE__PARTS"] = json.dumps([stage])
            own["THINGSTORM__STAGES__PIPELINE"] = self.urls[stage]
            own["THINGSTORM__STAGES__DELIVERY"] = self.urls["delivery"]
        if stage == "analytics":
            data.mkdir(exist_ok=True)
            own["THINGSTORM__VIEW__PATH"] = str(data / "view.duckdb")
        served = "pipeline" if stage in PARTS else stage
        self._start(stage, [str(SCRIPTS / "thingstorm"), "serve", served, *arguments], own)

    def start_all(self) -> None:
        """Emulator, broker, pipeline, analytics, all ready."""
        self.start_aws()
        for stage in STAGES:
            self.start(stage)
        self.wait_ready(*STAGES)

    def wait_ready(self, *stages: str, within: float = 60) -> None:
        for stage in stages:
            self._wait(lambda stage=stage: self.health(stage).get("ready") is True, stage, within)

    def health(self, stage: str) -> dict[str, Any]:
        """What `/healthz` of the stage says; empty if it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.urls[stage]}/healthz", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except (OSError, ValueError):
            return {}

    def kill(self, stage: str) -> None:
        """SIGKILL, and wait for its end."""
        process = self.processes.pop(stage)
        process.kill()
        process.wait(10)

    def stop(self, stage: str, *, within: float = 20) -> int:
        """SIGTERM; the exit code."""
        process = self.processes.pop(stage)
        process.send_signal(signal.SIGTERM)
        return process.wait(within)

    def log(self, stage: str) -> str:
        return (self.folder / f"{stage}.log").read_text()

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask the view."""
        body = json.dumps({"sql": sql}).encode()
        request = urllib.request.Request(
            f"{self.urls['analytics']}/query", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            told = json.load(answer)
        return [dict(zip(told["columns"], row, strict=True)) for row in told["rows"]]

    def close(self) -> None:
        for stage in ("simulator", "analytics", *PARTS, "pipeline", "broker", "aws"):
            if stage in self.processes:
                self.processes[stage].kill()
                self.processes[stage].wait(10)
        for log in self._logs:
            log.close()

    def _start(self, name: str, command: list[str], own: Mapping[str, str]) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self._logs.append(log)
        self.processes[name] = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _wait(self, condition: Any, what: str, within: float = 60) -> None:
        deadline = time.monotonic() + within
        while not condition():
            process = self.processes[what]
            assert process.poll() is None, f"{what} ended with {process.poll()}: {self.log(what)}"
            assert time.monotonic() < deadline, (
                f"{what} is not ready: {self.health(what) if what != 'aws' else ''}"
            )
            time.sleep(0.1)


@contextmanager
def stages(folder: Path, **settings: str) -> Iterator[StageProcesses]:
    """Stages that are all gone at the end."""
    processes = StageProcesses(folder, **settings)
    try:
        yield processes
    finally:
        processes.close()


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status)
    except OSError:
        return 0

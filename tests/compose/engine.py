"""Docker and Compose from the tests, whichever Compose there is."""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def docker(*arguments: str, within: float = 60, check: bool = True) -> str:
    """Run `docker`; its output."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=within, check=False, cwd=ROOT
    )
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def _command() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    found = shutil.which("docker-compose")
    assert found, "neither `docker compose` nor `docker-compose` is there; fix: install one of them"
    return [found]


class Compose:
    """One project of its own, on ports of its own."""

    def __init__(
        self, project: str, settings: Mapping[str, str], *, files: tuple[str, ...] = ("docker-compose.yml",)
    ) -> None:
        self.project = project
        self._files = files
        self._environment = {**os.environ, **settings}
        self._base = _command()

    def run(
        self, *arguments: str, files: tuple[str, ...] = (), within: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a Compose command to its end."""
        named = [part for file in files or self._files for part in ("-f", file)]
        return subprocess.run(
            [*self._base, "-p", self.project, *named, *arguments],
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
        )

    def do(self, *arguments: str, within: float = 120) -> str:
        """Run a Compose command that must succeed; its output."""
        done = self.run(*arguments, within=within)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def container(self, service: str) -> str:
        return self.do("ps", "-q", service).strip()

    def health(self, service: str) -> str:
        return docker("inspect", "-f", "{{.State.Health.Status}}", self.container(service), check=False)

    def wait_healthy(self, *services: str, within: float = 90) -> None:
        deadline = time.monotonic() + within
        for service in services:
            while (health := self.health(service)) != "healthy":
                assert time.monotonic() < deadline, f"{service}: {health}\n{self.logs(service)}"
                time.sleep(0.5)

    def logs(self, service: str) -> str:
        done = self.run("logs", "--no-color", "--tail", "200", service)
        return done.stdout + done.stderr

    def left_over(self) -> dict[str, str]:
        """What of this project is still there."""
        label = f"label=com.docker.compose.project={self.project}"
        return {
            kind: names
            for kind, arguments in {
                "containers": ("ps", "-aq"),
                "volumes": ("volume", "ls", "-q"),
                "networks": ("network", "ls", "-q"),
            }.items()
            if (names := docker(*arguments, "--filter", label))
        }

"""Runs the command line as a person would: as a process of its own, in an empty folder."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from thingstorm.cli import main

ROOT = Path(__file__).resolve().parents[2]
THINGSTORM = Path(sys.executable).with_name("thingstorm")
READY_SECONDS = 40
"""The stack is up in 3 to 6 s; a loaded machine gets the rest."""


@dataclass
class Finished:
    code: int
    out: str
    err: str


def thingstorm(*arguments: str | Path, cwd: Path, within: float = 170) -> Finished:
    """Run to the end."""
    done = subprocess.run(
        [THINGSTORM, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def here(*arguments: str | Path, cwd: Path) -> Finished:
    """The same without a process of its own: for commands that only ask, whose start is most of what they take."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(cwd)
        patch.setattr(sys, "stdin", io.StringIO())
        patch.setattr(sys, "argv", ["thingstorm", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Finished(code, out.getvalue(), err.getvalue())


@dataclass
class Running:
    """A started `thingstorm up`, with its addresses."""

    process: subprocess.Popen[str]
    addresses: dict[str, Any]

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def emulator(self) -> psutil.Process:
        (child,) = [one for one in self.children() if any("ministack" in part for part in one.cmdline())]
        return child

    def stop(self, number: signal.Signals = signal.SIGINT, *, within: float = 25) -> Finished:
        self.process.send_signal(number)
        return self.wait(within=within)

    def wait(self, *, within: float) -> Finished:
        out, err = self.process.communicate(timeout=within)
        return Finished(self.process.returncode, out, err)


def start_up(cwd: Path, *arguments: str) -> Running:
    """Start `thingstorm up --json --ports auto` and wait for the line that says it is ready."""
    process = subprocess.Popen(
        [THINGSTORM, "up", "--json", "--ports", "auto", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    began = time.monotonic()
    line = process.stdout.readline()
    if not line or time.monotonic() - began > READY_SECONDS:
        process.kill()
        _, err = process.communicate()
        pytest.fail(f"not ready: {line!r} {err}")
    return Running(process, json.loads(line))


@pytest.fixture
def without_pyod(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands get a detector that is not seconds to import, where what is shown is no verdict of the usual one."""
    monkeypatch.setenv("THINGSTORM__MODEL__DETECTOR", "robust")


@pytest.fixture(scope="session")
def shared_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One stack for all tests of a worker that only ask it and use devices of their own."""
    running = start_up(tmp_path_factory.mktemp("shared"), "--no-simulator")
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Running]:
    running = start_up(tmp_path, "--no-simulator")
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.communicate()

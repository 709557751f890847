"""Debian's mosquitto as a child process of the tests."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port


class Mosquitto:
    """One mosquitto in a folder of its own; killed and started again at will."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.port = free_port()
        self.folder = folder
        self._config = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {folder}/",
            "autosave_interval 1", "autosave_on_changes true", "max_inflight_messages 2000",
            "user root", *(more or ("allow_anonymous true",)),
        ]  # fmt: skip
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if found is None:
            told = "mosquitto is not installed; fix: apt-get install mosquitto"
            if os.environ.get("THINGSTORM_NO_SKIP"):
                pytest.fail(told)
            pytest.skip(told)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([found, "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(5)
            self._process = None


@contextmanager
def a_mosquitto(folder: Path, *more: str) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, *more)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()

"""Brokers as child processes of the bench: ours and its peers, each on a port of its own, pinned to one core."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import BackendError

READY_SECONDS = 20.0
SUBJECT_CORE, LOAD_CORE = 0, 1

MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_type error
max_inflight_messages 2000
max_queued_messages 0
"""
"""With a bound on its queue, mosquitto 2.0.11 drops some 980 of 1,000 messages at a run's start."""

MOSQUITTO_TLS = """cafile {client}
certfile {server}
keyfile {server_key}
require_certificate true
"""

AMQTT = """listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


def missing(subject: str) -> bool:
    """Whether a peer is not installed."""
    if subject == "mosquitto":
        return _mosquitto() is None
    if subject == "emqtt-bench":
        return shutil.which("emqtt_bench") is None
    return importlib.util.find_spec(subject) is None


def can_pin() -> bool:
    """Whether there is a core for the subject and another for the load."""
    return {SUBJECT_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


def pin(pid: int, core: int) -> None:
    """Hold a process on a core, if there are enough."""
    if can_pin():
        os.sched_setaffinity(pid, {core})


@contextmanager
def running(subject: str, tls: Mapping[str, str] | None = None) -> Iterator[tuple[int, int]]:
    """The port and the pid of a broker that is ready; it is gone at the end. Raises BackendError.

    With `tls` (settings of TlsFiles) its only listener asks for certificates.
    """
    with tempfile.TemporaryDirectory(prefix="thingstorm-bench-") as folder:
        port = _free_port()
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - the commands are ours
                _command(subject, port, Path(folder), tls),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if subject == "thingstorm" else output,
                stderr=output,
            )
        pin(process.pid, SUBJECT_CORE)
        try:
            yield _ready(subject, process, port, log), process.pid
        finally:
            _end(process)


def _command(subject: str, port: int, folder: Path, tls: Mapping[str, str] | None) -> list[str]:
    if subject == "thingstorm":
        own = [json.dumps(dict(tls))] if tls else []
        return [sys.executable, "-m", "thingstorm.bench.gateway_subject", *own]
    config = folder / "config"
    if subject == "mosquitto":
        config.write_text(MOSQUITTO.format(port=port) + (MOSQUITTO_TLS.format(**tls) if tls else ""))
        return [str(_mosquitto()), "-c", str(config)]
    config = folder / "config.yaml"
    config.write_text(AMQTT.format(port=port))
    return [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(config)]


def _ready(subject: str, process: subprocess.Popen[bytes], port: int, log: Path) -> int:
    if process.stdout is not None:
        line = process.stdout.readline()
        if line.strip():
            return int(line)
        raise _failed(subject, log)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return port
        time.sleep(0.05)
    raise _failed(subject, log)


def _failed(subject: str, log: Path) -> BackendError:
    told = log.read_text(errors="replace").strip().splitlines()
    return BackendError(
        f"{subject} did not come up: {told[-1] if told else 'it said nothing'}",
        fix="run it by hand, or leave the peers out: without --peers only our own gateway is measured",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
    if process.stdout is not None:
        process.stdout.close()


def _mosquitto() -> str | None:
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return str(found) if found else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

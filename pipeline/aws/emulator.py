"""The AWS emulator (ministack) as a child process that lives and dies with us."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import anyio
import httpx
import psutil
from anyio import to_thread
from anyio.abc import TaskStatus

from contracts.errors import BackendError
from contracts.ports import Health, State

START_SECONDS = 20.0
"""It answers after 0.3 to 1 s; a loaded machine gets the rest."""

WATCH_SECONDS = 0.2
SAVE_SECONDS = 20.0
"""To write 100,000 items down takes some 2 s."""

LOG_TAIL = 2_000
PR_SET_PDEATHSIG = 1
"""Linux prctl(2): the signal that a child gets when its parent dies, SIGKILL included."""


class Emulator:
    """The service "aws". Port 0 lets the system choose; `endpoint` is known once it is ready.

    It may be suspended: its process ends, and another one takes up its data when it is resumed. What it does not keep are
    the records of the tables' streams; what a killed one does not keep is everything but the objects of S3.
    """

    name = "aws"

    def __init__(self, *, port: int = 0, host: str = "127.0.0.1") -> None:
        self._host = host
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the child has ended
        self._state: State = "starting"
        self._suspended = False
        self._resumed = anyio.Event()
        self._folder = tempfile.TemporaryDirectory(
            prefix="thingstorm-aws-"
        )  # removed when the child has ended

    @property
    def endpoint(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def pid(self) -> int:
        """Of the child process; 0 before there is one."""
        return self._process.pid if self._process else 0

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        try:
            self._port = _free_port(self._host, self._port)
            await self._up()
            task_status.started()
            while True:
                await self._watch(self._up_process())
                await self._pause()
                await self._up()
        finally:
            self._state = "stopped"
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._stop)

    def suspend(self) -> None:
        """End the process in good order; nothing answers until `resume`."""
        self._suspended, self._resumed = True, anyio.Event()

    def resume(self) -> None:
        """Start it again, with what it had."""
        self._resumed.set()

    async def drain(self) -> None:
        """Nothing is accepted here that others have not asked for."""
        self._state = "draining"

    def health(self) -> Health:
        return Health(self.name, self._state, f"ministack, pid {self.pid}, {self.endpoint}")

    async def _up(self) -> None:
        self._process = self._start()
        await self._wait_until_it_answers(self._process)
        self._state = "ready"

    def _up_process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None  # noqa: S101 - `_up` has made it
        return self._process

    async def _pause(self) -> None:
        """End the process, which writes down what it has, and wait until it is wanted again."""
        self._state = "starting"
        await to_thread.run_sync(self._end, SAVE_SECONDS)
        await self._resumed.wait()
        self._suspended = False

    def _start(self) -> subprocess.Popen[bytes]:
        environment: Mapping[str, str] = {
            **{
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("AWS_", "PERSIST", "S3_PERSIST"))
            },
            "GATEWAY_PORT": str(self._port),
            "BIND_HOST": self._host,
            "IOT_MTLS_ENABLED": "0",  # its listener would bind to all addresses
            "LOG_LEVEL": "WARNING",
            "PERSIST_STATE": "1",
            "STATE_DIR": f"{self._folder.name}/state",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": f"{self._folder.name}/s3",
            "TMPDIR": self._folder.name,  # what it leaves there (its pid file, unpacked functions) goes with the rest
        }
        command = Path(sys.executable).with_name("ministack")
        if not command.is_file():
            raise BackendError(
                f"no ministack beside {sys.executable}", fix="install it with: pip install ministack==1.5.33"
            )
        return subprocess.Popen(  # noqa: S603 - our own dependency
            [str(command)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - runs prctl only, which is safe between fork and exec
            start_new_session=True,  # Ctrl-C is for us: we end it after draining
        )

    async def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        with anyio.move_on_after(START_SECONDS):
            async with httpx.AsyncClient() as client:
                while not await _answers(client, f"{self.endpoint}/_ministack/health"):
                    self._raise_if_dead(process)
                    await anyio.sleep(0.05)
            if not _listens(process.pid, self._port):
                raise BackendError(
                    f"another process answers on {self.endpoint} in place of our ministack (pid {process.pid})",
                    fix="stop that process, or set aws.port (0 lets the system choose)",
                )
            return
        raise BackendError(
            f"ministack does not answer on {self.endpoint}", fix=f"its log ends with: {self._tail()}"
        )

    async def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Return when it is to be suspended."""
        while not self._suspended:
            await anyio.sleep(WATCH_SECONDS)
            self._raise_if_dead(process)

    def _raise_if_dead(self, process: subprocess.Popen[bytes]) -> None:
        code = process.poll()
        if code is None:
            return
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        tail = self._tail()
        raise BackendError(
            f"the AWS emulator ministack (pid {process.pid}) ended with {how}",
            fix="start again" + (f"; its log ends with: {tail}" if tail else ""),
        )

    def _tail(self) -> str:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - LOG_TAIL))
        return self._log.read().decode(errors="replace").strip()

    def _end(self, patience: float) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _stop(self) -> None:
        """Nothing in it is wanted any more: it is spared to write it down."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port(host: str, port: int) -> int:
    """The port itself if nobody has it, or a free one for 0. Raises BackendError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BackendError(
                f"the AWS emulator cannot listen on {host}:{port}: {error.strerror}",
                fix="stop what uses the port, or set aws.port (0 lets the system choose)",
            ) from None
        return int(probe.getsockname()[1])


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url, timeout=2.0)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _listens(pid: int, port: int) -> bool:
    """Whether the process or one of its children has the listening socket of the port."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return any(
        connection.laddr.port == port
        for process in family
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    )

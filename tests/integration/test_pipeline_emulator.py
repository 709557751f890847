"""The emulator as a child process: it starts, dies with a word, and leaves nothing."""

import socket

import anyio
import httpx
import psutil
import pytest

from contracts.errors import BackendError
from pipeline.aws.emulator import Emulator
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


def ministacks() -> set[psutil.Process]:
    """Every emulator below this process: a test session may hold one of its own beside ours."""
    return {one for one in psutil.Process().children() if any("ministack" in part for part in one.cmdline())}


async def killed(beside: set[psutil.Process]) -> None:
    (child,) = ministacks() - beside
    child.kill()
    with anyio.fail_after(2):
        await anyio.sleep_forever()


async def test_it_answers_and_leaves_no_process_and_no_port() -> None:
    emulator, beside = Emulator(), ministacks()
    async with supervise([emulator], drain_seconds=5):
        (process,) = ministacks() - beside
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{emulator.endpoint}/_ministack/health")).status_code == 200
        assert all(
            c.laddr.ip == "127.0.0.1" for c in process.net_connections() if c.status == psutil.CONN_LISTEN
        )
        assert str(process.pid) in emulator.health().detail
    assert not process.is_running()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(emulator.endpoint.rpartition(":")[2]))) != 0


async def test_a_kill_is_reported_by_name_at_once() -> None:
    beside = ministacks()
    with (
        anyio.fail_after(20),
        pytest.raises(BackendError, match=r"ministack \(pid \d+\) ended with signal 9") as caught,
    ):
        async with supervise([Emulator()], drain_seconds=5):
            await killed(beside)
    assert caught.value.exit_code == 3


async def test_an_occupied_port_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BackendError, match=str(port)) as caught:
            async with supervise([Emulator(port=port)], drain_seconds=1):
                pytest.fail("the port is taken")
    assert "aws.port" in caught.value.fix

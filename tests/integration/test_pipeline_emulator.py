"""The emulator as a child process: it starts, dies with a word, and leaves nothing."""

import socket
from pathlib import Path

import anyio
import httpx
import psutil
import pytest
from anyio import to_thread
from botocore.exceptions import EndpointConnectionError

from contracts.errors import BackendError
from pipeline.aws import audit
from pipeline.aws.emulator import Emulator
from pipeline.aws.provision import provision
from pipeline.aws.session import ClientFactory
from pipeline.table_stream import TableStream
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


async def test_it_answers_and_leaves_no_process_no_port_and_no_file() -> None:
    emulator, beside = Emulator(), ministacks()
    async with supervise([emulator], drain_seconds=5):
        (process,) = ministacks() - beside
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{emulator.endpoint}/_ministack/health")).status_code == 200
        assert all(
            c.laddr.ip == "127.0.0.1" for c in process.net_connections() if c.status == psutil.CONN_LISTEN
        )
        assert str(process.pid) in emulator.health().detail
        folder, port = Path(emulator._folder.name), emulator.endpoint.rpartition(":")[2]
        assert (folder / f"ministack-{port}.pid").is_file()
    assert not process.is_running()
    assert not folder.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0


async def test_a_kill_is_reported_by_name_at_once() -> None:
    beside = ministacks()
    with (
        anyio.fail_after(20),
        pytest.raises(BackendError, match=r"ministack \(pid \d+\) ended with signal 9") as caught,
    ):
        async with supervise([Emulator()], drain_seconds=5):
            await killed(beside)
    assert caught.value.exit_code == 3


async def test_one_that_was_suspended_comes_back_with_its_data_and_without_its_streams_records() -> None:
    """What `fault.emulator_restart` rests on, and what the stream reader must find out."""
    emulator = Emulator()
    async with supervise([emulator], drain_seconds=5):
        factory = ClientFactory(backend="embedded", endpoint=emulator.endpoint)
        sqs, dynamodb, s3 = (factory.client(name) for name in ("sqs", "dynamodb", "s3"))
        resources = await to_thread.run_sync(lambda: provision(factory, prefix="p"))
        sqs.send_message(QueueUrl=resources.queues["telemetry"], MessageBody="kept")
        item = {"device_id": {"S": "d"}, "event_id": {"S": "1"}}
        dynamodb.put_item(TableName=resources.tables["telemetry"], Item=item)
        s3.put_object(Bucket=resources.bucket, Key="k", Body=b"kept")
        first = emulator.pid
        emulator.suspend()
        with anyio.fail_after(20):
            while psutil.pid_exists(first):
                await anyio.sleep(0.05)
        assert emulator.health().state == "starting"
        with pytest.raises(EndpointConnectionError):
            await to_thread.run_sync(sqs.list_queues)
        emulator.resume()
        with anyio.fail_after(20):
            while emulator.health().state != "ready":
                await anyio.sleep(0.05)
        assert emulator.pid != first
        (message,) = sqs.receive_message(QueueUrl=resources.queues["telemetry"])["Messages"]
        assert message["Body"] == "kept"
        assert audit.count_items(dynamodb, resources.tables["telemetry"]) == 1
        assert s3.get_object(Bucket=resources.bucket, Key="k")["Body"].read() == b"kept"
        stream = TableStream(
            "telemetry",
            resources.tables["telemetry"],
            dynamodb=dynamodb,
            streams=factory.client("dynamodbstreams"),
            checkpoints={},
        )
        stream.look()
        assert [stream.read(shard) for shard in stream.readable()] == [[]]


async def test_an_occupied_port_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BackendError, match=str(port)) as caught:
            async with supervise([Emulator(port=port)], drain_seconds=1):
                pytest.fail("the port is taken")
    assert "aws.port" in caught.value.fix

"""An external broker, real: Debian's mosquitto on a port of its own."""

import gc
import json
import subprocess
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import paho.mqtt.client as mqtt
import pytest
from anyio import to_thread
from mosquitto import a_mosquitto
from ports import free_port
from test_broker_embedded import until

from broker.external import CANNOT, ExternalBroker, ExternalSettings
from broker.pki import server_identity
from contracts.clock import SystemClock
from contracts.errors import BackendError, ConfigError
from contracts.messages import Message
from contracts.streams import BatchStream
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


class Outside:
    """An external broker's side of the stack, its streams collected."""

    def __init__(self, url: str, *, capacity: int = 10_000, **settings: Any) -> None:
        self.messages: BatchStream[Message] = BatchStream("messages", capacity=capacity)
        self.events: BatchStream[Message] = BatchStream("events", capacity=10_000)
        self.broker = ExternalBroker(
            settings=ExternalSettings(url=url, **settings),
            clock=SystemClock(),
            messages=self.messages,
            events=self.events,
        )
        self.seen: list[Message] = []
        self.told: list[Message] = []
        self.gate = anyio.Event()
        self.gate.set()

    async def collect(self, stream: BatchStream[Message], into: list[Message]) -> None:
        while True:
            await self.gate.wait()
            batch = await stream.get()
            into.extend(batch)
            stream.done(batch)


@asynccontextmanager
async def an_outside(url: str, **options: Any) -> AsyncIterator[Outside]:
    outside = Outside(url, **options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outside.collect, outside.messages, outside.seen)
        tasks.start_soon(outside.collect, outside.events, outside.told)
        async with supervise([outside.broker], drain_seconds=5):
            yield outside
        tasks.cancel_scope.cancel()


async def fails(url: str, why: str) -> None:
    with pytest.raises(BackendError, match=why):
        async with supervise([Outside(url).broker], drain_seconds=1):
            pytest.fail("it must not come up")


def device(port: int, client_id: str) -> mqtt.Client:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def close(client: mqtt.Client) -> None:
    client.disconnect()
    client.loop_stop()


async def publish(port: int, client_id: str, numbers: range, topic: str = "") -> None:
    def work() -> None:
        client = device(port, client_id)
        for number in numbers:
            name = topic or f"dt/meter/{client_id}/telemetry"
            client.publish(name, b"%d" % number, qos=1).wait_for_publish(5)
        close(client)

    await to_thread.run_sync(work)


async def test_messages_arrive_once_in_order_with_their_device_and_are_counted(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as mosquitto:
        async with an_outside(f"mqtt://127.0.0.1:{mosquitto.port}") as outside:
            assert outside.broker.health().state == "ready"
            assert CANNOT in outside.broker.health().detail
            await publish(mosquitto.port, "m1", range(200))
            await until(lambda: len(outside.seen) == 200)
            assert [int(one.payload) for one in outside.seen] == list(range(200))
            assert {(one.client_id, one.topic) for one in outside.seen} == {("m1", "dt/meter/m1/telemetry")}
            await until(lambda: outside.broker.health().counters["acknowledged"] == 200)
            await anyio.sleep(1.2)
            rows = [row for one in outside.told for row in json.loads(one.payload)["devices"]]
            assert sum(row.get("num_messages_received", 0) for row in rows if row["device_id"] == "m1") == 200


async def test_nothing_is_lost_while_our_side_is_away(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as mosquitto:
        url = f"mqtt://127.0.0.1:{mosquitto.port}"
        async with an_outside(url) as first:
            await publish(mosquitto.port, "m1", range(10))
            await until(lambda: len(first.seen) == 10)
        await publish(mosquitto.port, "m1", range(10, 30))
        async with an_outside(url) as second:
            await until(lambda: len(second.seen) == 20)
            assert [int(one.payload) for one in second.seen] == list(range(10, 30))


async def test_a_broker_that_goes_is_told_and_taken_up_again(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as mosquitto:
        async with an_outside(f"mqtt://127.0.0.1:{mosquitto.port}") as outside:
            await publish(mosquitto.port, "m1", range(5))
            await until(lambda: len(outside.seen) == 5)
            mosquitto.stop()
            await until(lambda: outside.broker.health().state == "failed")
            assert (
                "ended" in outside.broker.health().detail
                or "cannot be used" in outside.broker.health().detail
            )
            mosquitto.start()
            await until(lambda: outside.broker.health().state == "ready", within=10)
            await publish(mosquitto.port, "m1", range(5, 10))
            await until(lambda: len({one.payload for one in outside.seen}) == 10)


async def test_rules_that_are_full_hold_the_acknowledgements_back(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as mosquitto:
        async with an_outside(f"mqtt://127.0.0.1:{mosquitto.port}", capacity=10) as outside:
            outside.gate = anyio.Event()
            await publish(mosquitto.port, "m1", range(100))
            await until(lambda: outside.broker.health().counters["acknowledged"] >= 10)
            await anyio.sleep(0.2)
            assert outside.broker.health().counters["acknowledged"] < 60
            outside.gate.set()
            await until(lambda: len(outside.seen) == 100)
            assert [int(one.payload) for one in outside.seen] == list(range(100))


async def test_a_quarantined_device_is_kept_out_of_what_the_rules_see(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as mosquitto:
        async with an_outside(f"mqtt://127.0.0.1:{mosquitto.port}") as outside:
            await outside.broker.quarantine("bad", reason="odd")
            await publish(mosquitto.port, "bad", range(5))
            await publish(mosquitto.port, "good", range(5))
            await until(lambda: len(outside.seen) == 5)
            assert {one.client_id for one in outside.seen} == {"good"}
            assert outside.broker.health().counters["refused"] == 5
            await outside.broker.release("bad")
            await publish(mosquitto.port, "bad", range(5))
            await until(lambda: len(outside.seen) == 10)
            for refused in (
                outside.broker.enroll("x"),
                outside.broker.disconnect("x"),
                outside.broker.create("x", policy={}),
            ):
                with pytest.raises(ConfigError, match="external broker"):
                    await refused
            await outside.broker.create("x")


async def test_commands_reach_devices_and_what_mqtt_5_says_of_a_payload_reaches_the_rules(
    tmp_path: Path,
) -> None:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    with a_mosquitto(tmp_path) as mosquitto:
        async with an_outside(f"mqtt://127.0.0.1:{mosquitto.port}") as outside:
            client = await to_thread.run_sync(device, mosquitto.port, "m1")
            got: list[bytes] = []
            client.on_message = lambda _c, _u, message: got.append(message.payload)
            client.subscribe("cmd/m1/#", 1)
            await anyio.sleep(0.3)
            await outside.broker.publish("cmd/m1/do", b"update", qos=1)
            await until(lambda: got == [b"update"])
            assert not [one for one in outside.seen if one.topic.startswith("cmd/")], "no device said this"
            told: Any = Properties(PacketTypes.PUBLISH)
            told.ContentType, told.UserProperty = "text", ("k", "v")
            client.publish("dt/meter/m1/t", b"x", qos=1, properties=told)
            await until(lambda: any(one.topic == "dt/meter/m1/t" for one in outside.seen))
            properties = next(one.properties for one in outside.seen if one.topic == "dt/meter/m1/t")
            assert properties is not None
            assert (properties.content_type, properties.user) == ("text", (("k", "v"),))
            await to_thread.run_sync(close, client)


async def test_a_broker_that_is_away_or_refuses_us_is_told_at_the_start(tmp_path: Path) -> None:
    await fails(f"mqtt://127.0.0.1:{free_port()}", "cannot be used")
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-c", "-b", str(passwords), "user", "right"], check=True, capture_output=True
    )
    with a_mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as mosquitto:
        await fails(f"mqtt://user:wrong@127.0.0.1:{mosquitto.port}", "refused the connection: Not authorized")
        async with an_outside(f"mqtt://user:right@127.0.0.1:{mosquitto.port}") as outside:
            assert outside.broker.health().state == "ready"


async def test_over_tls(tmp_path: Path) -> None:
    pki = server_identity(tmp_path / "pki")
    for file in (tmp_path / "pki").iterdir():
        file.chmod(0o644)
    secure = (
        "allow_anonymous true",
        f"cafile {tmp_path}/pki/root-ca.pem",
        f"certfile {pki.certificate}",
        f"keyfile {pki.key}",
    )
    with a_mosquitto(tmp_path, *secure) as mosquitto:
        url = f"mqtts://localhost:{mosquitto.port}"
        async with an_outside(url, cafile=tmp_path / "pki" / "root-ca.pem") as outside:
            assert outside.broker.health().state == "ready"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # paho forgets a socket whose handshake fails
            await fails(url, "certificate")
            gc.collect()

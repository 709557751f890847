"""The embedded gateway with real paho clients and bare sockets."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import paho.mqtt.client as mqtt
import pytest
from anyio import to_thread

from broker.embedded import BrokerSettings, EmbeddedBroker
from contracts.clock import SystemClock
from contracts.errors import BackendError
from contracts.messages import Message
from contracts.shadows import ShadowStore
from contracts.streams import BatchStream
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

CONNECT = bytes.fromhex("101000044d5154540402003c0004") + b"raw1"


class House:
    """A gateway whose streams are collected."""

    def __init__(
        self, *, capacity: int = 10_000, shadows: ShadowStore | None = None, **settings: Any
    ) -> None:
        self.messages: BatchStream[Message] = BatchStream("messages", capacity=capacity)
        self.events: BatchStream[Message] = BatchStream("events", capacity=10_000)
        self.broker = EmbeddedBroker(
            settings=BrokerSettings(port=0, **settings),
            clock=SystemClock(),
            messages=self.messages,
            events=self.events,
            shadows=shadows,
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

    def reasons(self, client_id: str) -> list[str]:
        bodies = [json.loads(m.payload) for m in self.told if m.topic.endswith(f"disconnected/{client_id}")]
        return [body["disconnectReason"] for body in bodies]


@asynccontextmanager
async def a_house(*, capacity: int = 10_000, **settings: Any) -> AsyncIterator[House]:
    house = House(capacity=capacity, **settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.collect, house.messages, house.seen)
        tasks.start_soon(house.collect, house.events, house.told)
        async with supervise([house.broker], drain_seconds=5):
            yield house
        tasks.cancel_scope.cancel()


async def until(true: Callable[[], bool], within: float = 5.0) -> None:
    with anyio.fail_after(within):
        while not true():
            await anyio.sleep(0.01)


class Client:
    """A paho client on its own thread, and what happened to it."""

    def __init__(self, house: House, client_id: str, *, will: str = "") -> None:
        self.codes: list[int] = []
        self.lost = 0
        self.got: list[mqtt.MQTTMessage] = []
        self.granted: list[int] = []
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False
        )
        if will:
            self.mqtt.will_set(will, b"gone", qos=1)
        self.mqtt.on_connect = lambda _c, _u, _f, code, _p: self.codes.append(code.value)
        self.mqtt.on_disconnect = lambda *_: setattr(self, "lost", self.lost + 1)
        self.mqtt.on_message = lambda _c, _u, message: self.got.append(message)
        self.mqtt.on_subscribe = lambda _c, _u, _m, codes, _p: self.granted.extend(
            code.value for code in codes
        )
        self.mqtt.connect("127.0.0.1", house.broker.port)
        self.mqtt.loop_start()

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


@asynccontextmanager
async def a_client(
    house: House, client_id: str = "d1", *, will: str = "", expect: int = 0
) -> AsyncIterator[Client]:
    client = await to_thread.run_sync(lambda: Client(house, client_id, will=will))
    await until(lambda: bool(client.codes))
    assert client.codes == [expect]
    yield client
    await to_thread.run_sync(client.close)


async def test_publishes_arrive_in_order_with_who_sent_them() -> None:
    async with a_house() as house, a_client(house) as client:
        for number in range(90):  # below the throttle
            client.mqtt.publish("dt/x/d1/t", str(number), qos=number // 45)
        await until(lambda: len(house.seen) == 90)
        assert [int(message.payload) for message in house.seen] == list(range(90))
        assert {(m.client_id, m.principal, m.source_ip) for m in house.seen} == {("d1", "local", "127.0.0.1")}
        assert len({message.message_id for message in house.seen}) == 90


async def test_subscribers_receive_at_the_lower_qos_and_their_own_topics_only() -> None:
    async with a_house() as house, a_client(house, "d1") as one, a_client(house, "d2") as two:
        one.mqtt.subscribe([("cmd/d1/#", 1), ("secret/#", 1)])
        two.mqtt.subscribe("dt/#", 0)
        await until(lambda: one.granted == [1, 128] and two.granted == [0])
        await house.broker.publish("cmd/d1/go", b"1", qos=1)
        await house.broker.publish("cmd/d2/go", b"2", qos=1)
        one.mqtt.publish("dt/x/d1/t", b"3", qos=1)
        await until(lambda: len(one.got) == 1 and len(two.got) == 1)
        assert [(m.topic, m.payload, m.qos) for m in one.got] == [("cmd/d1/go", b"1", 1)]
        assert [(m.topic, m.qos) for m in two.got] == [("dt/x/d1/t", 0)]


async def test_retained_messages_go_to_exact_filters_only_and_to_nobody_else() -> None:
    async with a_house() as house:
        await house.broker.publish("cmd/all", b"kept", qos=1, retain=True)
        async with (
            a_client(house, "d1") as exact,
            a_client(house, "d2") as wild,
            a_client(house, "d3") as stranger,
        ):
            exact.mqtt.subscribe("cmd/all", 1)
            wild.mqtt.subscribe("cmd/#", 1)
            await until(lambda: len(exact.got) == 1 and bool(wild.granted))
            await house.broker.publish("cmd/other", b"x", qos=0)
            await until(lambda: len(wild.got) == 1)
            assert exact.got[0].retain
            assert [message.topic for message in wild.got] == ["cmd/other"]
            assert stranger.got == []


async def test_quarantine_closes_at_once_and_refuses_until_release() -> None:
    async with a_house() as house:
        async with a_client(house) as client:
            began = time.monotonic()
            await house.broker.quarantine("d1", reason="odd")
            await until(lambda: client.lost == 1, within=1)
            assert time.monotonic() - began < 1
        async with a_client(house, expect=135):
            assert house.broker.quarantined() == {"d1"}
        await house.broker.release("d1")
        async with a_client(house):
            await until(lambda: any("released" in message.topic for message in house.told))
        assert house.reasons("d1")[0] == "API_INITIATED_DISCONNECT"


async def test_the_same_client_id_takes_over_and_the_older_connection_is_closed_once() -> None:
    async with a_house() as house, a_client(house) as older:
        async with a_client(house) as newer:
            await until(lambda: older.lost == 1)
            newer.mqtt.publish("dt/x/d1/t", b"x", qos=1)
            await until(lambda: len(house.seen) == 1)
        await until(lambda: len(house.reasons("d1")) == 2)
        assert house.reasons("d1") == ["DUPLICATE_CLIENTID", "CLIENT_INITIATED_DISCONNECT"]


async def test_a_forbidden_publish_closes_the_connection() -> None:
    async with a_house() as house, a_client(house) as client:
        client.mqtt.publish("secret/x", b"x", qos=1)
        await until(lambda: client.lost == 1)
        await until(lambda: house.reasons("d1") == ["FORBIDDEN_ACCESS"])
        assert house.seen == []


async def test_refused_connects_leave_nothing_behind() -> None:
    async with a_house() as house:
        await house.broker.quarantine("raw1", reason="test")
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", house.broker.port)
            writer.write(CONNECT)
            assert await reader.read(4) == b"\x20\x02\x00\x05"
            assert await reader.read(1) == b""
            writer.close()
        await until(lambda: ", 0 connections" in house.broker.health().detail)
        assert house.broker.health().counters["connect_refused"] == 50


async def test_garbage_and_half_a_connect_disturb_nobody() -> None:
    async with a_house() as house, a_client(house) as client:
        sockets = []
        for data in (
            b"\x00" * 50,
            b"GET / HTTP/1.1\r\n\r\n",
            CONNECT[:7],
            b"\x10\xff\xff\xff\xff\xff",
            CONNECT * 2,
        ):
            bare = socket.create_connection(("127.0.0.1", house.broker.port))
            bare.sendall(data)
            sockets.append(bare)
        client.mqtt.publish("dt/x/d1/t", b"still here", qos=1)
        await until(lambda: len(house.seen) == 1)
        assert client.lost == 0
        for bare in sockets:
            bare.close()
        await until(lambda: house.reasons("raw1") == ["CLIENT_ERROR"])  # a second CONNECT on one connection


async def test_the_will_is_published_when_the_socket_breaks_and_not_after_a_disconnect() -> None:
    async with a_house() as house:
        async with a_client(house, "d1", will="dt/x/d1/will"):
            pass
        async with a_client(house, "d2", will="dt/x/d2/will") as client:
            raw = client.mqtt.socket()
            assert raw is not None
            raw.shutdown(socket.SHUT_RDWR)
            await until(lambda: bool(house.seen))
        assert [(message.topic, message.payload) for message in house.seen] == [("dt/x/d2/will", b"gone")]


async def test_a_full_stream_pauses_reading_and_loses_nothing() -> None:
    async with a_house(capacity=5) as house:
        house.gate = anyio.Event()
        async with a_client(house) as client:
            for number in range(300):
                client.mqtt.publish("dt/x/d1/t", str(number), qos=1)
            await until(lambda: house.broker.health().counters["pauses"] >= 1)
            assert house.messages.gauge().used == 5
            house.gate.set()
            await until(lambda: len(house.seen) >= 100)
            accepted = house.broker.health().counters["accepted"]
            await until(lambda: len(house.seen) == house.broker.health().counters["accepted"] >= accepted)
            assert [int(m.payload) for m in house.seen] == sorted(int(m.payload) for m in house.seen)


async def test_every_second_is_counted_also_when_nothing_happens() -> None:
    async with a_house() as house:
        await until(lambda: sum(m.topic == "$thingstorm/metrics" for m in house.told) >= 2)
        bodies = [json.loads(m.payload) for m in house.told if m.topic == "$thingstorm/metrics"]
        assert all(body["end"] % 1000 == 0 for body in bodies)
        assert bodies[1]["start"] == bodies[0]["end"]


async def test_an_occupied_port_is_said() -> None:
    async with a_house() as house:
        other = House()
        other.broker = EmbeddedBroker(
            settings=BrokerSettings(port=house.broker.port),
            clock=SystemClock(),
            messages=other.messages,
            events=other.events,
        )
        with pytest.raises(BackendError, match=str(house.broker.port)) as caught:
            async with supervise([other.broker], drain_seconds=1):
                pytest.fail("the port is taken")
        assert "broker.port" in caught.value.fix


async def test_after_the_stop_the_port_is_closed_and_no_task_is_left() -> None:
    before = asyncio.all_tasks()
    async with a_house() as house:
        client = await to_thread.run_sync(lambda: Client(house, "d1"))
        await until(lambda: client.codes == [0])
        client.mqtt.publish("dt/x/d1/t", b"last", qos=1)
        await until(lambda: len(house.seen) == 1)
        port = house.broker.port
    await to_thread.run_sync(client.close)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()
    counted = [json.loads(m.payload)["devices"] for m in house.told if m.topic == "$thingstorm/metrics"]
    assert (
        sum(
            row.get("num_messages_received", 0)
            for rows in counted
            for row in rows
            if row["device_id"] == "d1"
        )
        == 1
    )

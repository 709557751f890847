"""The nine defects that stock amqtt 0.12.1 shows, each probed with a bare socket: ours has none of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from gateway_clients import Got, connect_bytes, packet, publish_bytes, read
from test_broker_embedded import House, a_house, until

from broker import packets
from broker.wire import text

pytestmark = pytest.mark.anyio


class Raw:
    """A bare socket that speaks MQTT 3.1.1 packet by packet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def next(self, within: float = 3.0) -> Got | None:
        """The next packet; None at the end of the connection."""
        async with asyncio.timeout(within):
            try:
                header = (await self.reader.readexactly(1))[0]
                length, shift = 0, 0
                while True:
                    byte = (await self.reader.readexactly(1))[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                return read(header, await self.reader.readexactly(length), packets.V3)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def nothing_comes(self, seconds: float = 0.3) -> bool:
        try:
            found = await self.next(seconds)
        except TimeoutError:
            return True
        raise AssertionError(f"{found} came")

    async def subscribe(self, topic_filter: str, qos: int = 1) -> Got | None:
        await self.send(packet(packets.SUBSCRIBE, b"\x00\x01" + text(topic_filter) + bytes((qos,)), 2))
        return await self.next()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def a_socket(house: House) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.broker.port)
    raw = Raw(reader, writer)
    try:
        yield raw
    finally:
        await raw.close()


@asynccontextmanager
async def connected(
    house: House, client_id: str, *, clean: bool = True, keep_alive: int = 60
) -> AsyncIterator[Raw]:
    async with a_socket(house) as raw:
        await raw.send(connect_bytes(client_id, clean=clean, keep_alive=keep_alive))
        answer = await raw.next()
        assert answer is not None
        assert answer.code == 0
        yield raw


async def test_1_a_publish_to_a_reserved_topic_is_taken_and_so_are_the_later_ones() -> None:
    async with a_house() as house, connected(house, "a") as raw:
        for topic in ("$aws/things/a/shadow/update", "dt/x"):
            await raw.send(publish_bytes(topic, qos=1))
            answer = await raw.next()
            assert answer is not None
            assert answer.kind == "PUBACK"
        await until(lambda: {"$aws/things/a/shadow/update", "dt/x"} <= {one.topic for one in house.seen})


async def test_2_a_retained_message_goes_to_nobody_who_did_not_subscribe() -> None:
    async with a_house() as house, connected(house, "keeper") as keeper:
        await keeper.subscribe("cmd/#")
        await keeper.send(publish_bytes("cmd/secret", b"kept", qos=1, retain=True))
        async with connected(house, "stranger") as stranger:
            assert await stranger.nothing_comes()


async def test_3_a_silent_client_is_disconnected_and_its_will_is_published() -> None:
    async with a_house(overrides={"keep_alive_least": 1}) as house, a_socket(house) as raw:
        await raw.send(connect_bytes("a", keep_alive=1, will=("dt/will", b"gone", 1, False)))
        assert await raw.next() is not None
        assert await raw.next(within=5) is None
        await until(lambda: house.reasons("a") == ["MQTT_KEEP_ALIVE_TIMEOUT"])
        await until(lambda: [one.payload for one in house.seen] == [b"gone"])


@pytest.mark.parametrize("clean", [True, False])
async def test_4_a_second_connect_of_the_same_id_closes_the_first(clean: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async with (
        a_house() as house,
        connected(house, "a", clean=clean) as older,
        connected(house, "a", clean=clean) as newer,
    ):
        assert await older.next() is None
        await newer.send(publish_bytes("dt/x", qos=1))
        assert await newer.next() is not None
        await until(lambda: house.reasons("a") == ["DUPLICATE_CLIENTID"])


async def test_5_a_refused_connect_does_not_disturb_the_live_client_of_that_id() -> None:
    async with a_house() as house, connected(house, "a", clean=False) as live:
        await house.broker.create(
            "b", policy={"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
        )
        await house.broker.create(
            "a", policy={"Statement": [{"Effect": "Deny", "Action": "iot:Connect", "Resource": "*"}]}
        )
        async with a_socket(house) as stranger:
            await stranger.send(connect_bytes("a", clean=False))
            answer = await stranger.next()
            assert answer is not None
            assert answer.code == 5
        await live.send(b"\xc0\x00")
        answer = await live.next()
        assert answer is not None
        assert answer.kind == "PINGRESP"


async def test_6_refused_connects_leave_nothing_behind() -> None:
    async with a_house() as house:
        deny = {"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
        for number in range(200):
            await house.broker.create(f"d{number}", policy=deny)
        for number in range(200):
            async with a_socket(house) as raw:
                await raw.send(connect_bytes(f"d{number}", clean=False))
                answer = await raw.next()
                assert answer is not None
                assert answer.code == 5
        gateway = house.broker._gateway
        assert (gateway.connections, len(gateway._sessions._sessions)) == (0, 0)
        await until(lambda: not house.broker._lines)


async def test_7_what_was_not_acknowledged_is_sent_again() -> None:
    async with a_house() as house, connected(house, "s") as sender:
        async with connected(house, "l", clean=False) as listener:
            await listener.subscribe("cmd/x")
            await sender.send(publish_bytes("cmd/x", b"once more", qos=1))
            found = await listener.next()
            assert found is not None
            assert found.payload == b"once more"
        async with a_socket(house) as again:
            await again.send(connect_bytes("l", clean=False))
            greeting, found = await again.next(), await again.next()
            assert greeting is not None
            assert found is not None
            assert (greeting.session_present, found.payload, found.qos) == (True, b"once more", 1)


async def test_8_300_messages_of_one_publisher_keep_their_order() -> None:
    async with (
        a_house(overrides={"publishes_per_second": float("inf")}) as house,
        connected(house, "s") as sender,
        connected(house, "l") as listener,
    ):
        await listener.subscribe("dt/#")
        await sender.send(
            b"".join(publish_bytes("dt/x", b"%d" % n, qos=1, packet_id=n) for n in range(1, 301))
        )
        got = []
        while len(got) < 300:
            found = await listener.next()
            assert found is not None
            got.append(int(found.payload))
            await listener.send(packets.acknowledgement(packets.PUBACK, found.packet_id))
        assert got == list(range(1, 301))


@pytest.mark.parametrize("what", ["depth", "payload"])
async def test_9_too_deep_a_filter_and_too_large_a_payload_are_refused(what: str) -> None:
    async with a_house() as house, connected(house, "a") as raw:
        if what == "depth":
            answer = await raw.subscribe("/".join("abcdefghijkl"))
            assert answer is not None
            assert answer.codes == (0x80,)
            return
        await raw.send(publish_bytes("dt/x", b"x" * 2_000_000, qos=1)[:200_000])
        assert await raw.next() is None
        assert house.seen == []
        await until(lambda: house.reasons("a") == ["CLIENT_ERROR"])


async def test_a_flood_of_halves_and_garbage_leaves_good_clients_alone() -> None:
    async with a_house() as house, connected(house, "good") as good:
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(_bad, house, number)
            for number in range(1, 60):
                await good.send(publish_bytes("dt/good", b"%d" % number, qos=1, packet_id=number))
                answer = await good.next()
                assert answer is not None
                assert answer.packet_id == number
        assert [json.loads(one.payload) for one in house.seen if one.topic == "dt/good"] == list(range(1, 60))


async def _bad(house: House, number: int) -> None:
    hostile = [
        b"\x10\xff\xff\xff\x7f",
        connect_bytes(f"bad{number}")[:-3],
        connect_bytes(f"bad{number}") + b"\x30\x05\x00\x09abc",
        bytes(range(256)),
        b"\xff" * 5_000,
    ]
    async with a_socket(house) as raw:
        try:
            await raw.send(hostile[number % len(hostile)])
            await asyncio.sleep(0.05)
        except ConnectionError:
            return

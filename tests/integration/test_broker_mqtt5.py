"""MQTT 5 and websockets with real paho clients."""

import asyncio
from typing import Any

import anyio
import paho.mqtt.client as mqtt
import pytest
from anyio import to_thread
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from test_broker_embedded import House, a_house, until

pytestmark = pytest.mark.anyio


class Client5:
    """A paho client of MQTT 5, over TCP or a websocket."""

    def __init__(self, house: House, client_id: str, *, transport: Any = "tcp", path: str = "/mqtt") -> None:
        self.greeting: list[tuple[int, Any]] = []
        self.farewell: list[int] = []
        self.got: list[mqtt.MQTTMessage] = []
        self.acknowledged: list[int] = []
        self.granted: list[int] = []
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5,
            transport=transport,
            reconnect_on_failure=False,
        )
        self.mqtt.on_connect = lambda _c, _u, _f, code, told: self.greeting.append((code.value, told))
        self.mqtt.on_disconnect = lambda _c, _u, _f, code, _p: self.farewell.append(code.value)
        self.mqtt.on_message = lambda _c, _u, message: self.got.append(message)
        self.mqtt.on_publish = lambda _c, _u, _m, code, _p: self.acknowledged.append(code.value)
        self.mqtt.on_subscribe = lambda _c, _u, _m, codes, _p: self.granted.extend(c.value for c in codes)
        if transport == "websockets":
            self.mqtt.ws_set_options(path=path)
        port = house.broker.port if transport == "tcp" else house.broker.websocket_port
        assert port is not None
        self.mqtt.connect("127.0.0.1", port)
        self.mqtt.loop_start()

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


async def client5(house: House, client_id: str, **options: Any) -> Client5:
    client = await to_thread.run_sync(lambda: Client5(house, client_id, **options))
    await until(lambda: bool(client.greeting))
    return client


def told(**values: Any) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


async def test_request_and_response_with_everything_that_a_publish_can_say() -> None:
    async with a_house() as house:
        asker, answerer = await client5(house, "asker"), await client5(house, "answerer")
        asker.mqtt.subscribe("cmd/answers", 1)
        answerer.mqtt.subscribe("cmd/questions", 1)
        await until(lambda: bool(asker.granted and answerer.granted))
        asker.mqtt.publish(
            "cmd/questions",
            b"what?",
            qos=1,
            properties=told(
                ResponseTopic="cmd/answers",
                CorrelationData=b"42",
                ContentType="text/plain",
                PayloadFormatIndicator=1,
                MessageExpiryInterval=60,
                UserProperty=("site", "north"),
            ),
        )
        await until(lambda: bool(answerer.got))
        asked: Any = answerer.got[0].properties
        assert (asked.ContentType, asked.PayloadFormatIndicator) == ("text/plain", 1)
        assert (asked.UserProperty, asked.MessageExpiryInterval) == ([("site", "north")], 60)
        answerer.mqtt.publish(
            asked.ResponseTopic, b"that", qos=1, properties=told(CorrelationData=asked.CorrelationData)
        )
        await until(lambda: bool(asker.got))
        answered: Any = asker.got[0].properties
        assert (asker.got[0].payload, answered.CorrelationData) == (b"that", b"42")
        for client in (asker, answerer):
            await to_thread.run_sync(client.close)


async def test_the_greeting_tells_what_the_gateway_allows() -> None:
    async with a_house() as house:
        client = await client5(house, "")
        (code, greeting) = client.greeting[0]
        assert code == 0
        assert (greeting.MaximumQoS, greeting.ReceiveMaximum, greeting.TopicAliasMaximum) == (1, 100, 8)
        assert greeting.AssignedClientIdentifier.startswith("assigned-")
        assert greeting.SubscriptionIdentifierAvailable == 0
        await to_thread.run_sync(client.close)


async def test_the_server_says_why_it_disconnects() -> None:
    async with a_house() as house:
        client = await client5(house, "a")
        await house.broker.quarantine("a", reason="test")
        await until(lambda: bool(client.farewell))
        assert client.farewell == [0x98]
        await to_thread.run_sync(client.close)
        refused = await client5(house, "a")
        assert refused.greeting[0][0] == 0x87
        await to_thread.run_sync(refused.close)


async def test_subscription_options() -> None:
    async with a_house() as house:
        client = await client5(house, "a")
        client.mqtt.subscribe(
            [("cmd/own", SubscribeOptions(qos=1, noLocal=True)), ("cmd/any", SubscribeOptions(qos=0))]
        )
        await until(lambda: client.granted == [1, 0])
        for topic in ("cmd/own", "cmd/any"):
            client.mqtt.publish(topic, b"x", qos=1)
        await until(lambda: bool(client.got))
        assert [(one.topic, one.qos) for one in client.got] == [("cmd/any", 0)]
        assert client.acknowledged[0] == 0x10, "nobody else is subscribed"
        await to_thread.run_sync(client.close)


async def test_mqtt_over_websockets_at_its_path_only() -> None:
    async with a_house(websocket_port=0) as house:
        first, second = await client5(house, "w", transport="websockets"), await client5(house, "t")
        first.mqtt.subscribe("cmd/#", 1)
        await until(lambda: bool(first.granted))
        for number in range(20):
            second.mqtt.publish("cmd/x", b"%d" % number, qos=1)
            first.mqtt.publish("dt/x", b"x" * 10_000, qos=1)
        await until(lambda: len(first.got) == 20)
        assert [int(one.payload) for one in first.got] == list(range(20))
        await until(lambda: len([one for one in house.seen if one.topic == "dt/x"]) == 20)
        await house.broker.quarantine("w", reason="test")
        await until(lambda: bool(first.farewell))
        assert first.farewell == [0x98]
        for client in (first, second):
            await to_thread.run_sync(client.close)
        reader, writer = await asyncio.open_connection("127.0.0.1", house.broker.websocket_port)
        writer.write(b"GET /other HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        writer.close()
        with anyio.fail_after(3):
            while house.broker._lines:
                await anyio.sleep(0.01)

"""Shadows and Device Defender reports over real MQTT, with the document shared with the emulator's HTTP API."""

import json
from typing import Any

import anyio
import pytest
from anyio import to_thread
from test_broker_embedded import Client, a_client, a_house, until

from broker.device_services import DeviceServices
from contracts.clock import SystemClock
from contracts.errors import Transient
from contracts.messages import Message
from pipeline.aws.session import ClientFactory
from pipeline.aws.shadows import IotDataShadows

pytestmark = pytest.mark.anyio


def told(client: Client, topic: str) -> list[Any]:
    return [json.loads(one.payload) for one in client.got if one.topic == topic]


async def shadow(client: Client, operation: str, body: dict[str, Any] | None = None, name: str = "") -> None:
    named = f"/name/{name}" if name else ""
    topic = f"$aws/things/d1/shadow{named}/{operation}"
    client.mqtt.publish(topic, json.dumps(body).encode() if body is not None else b"", qos=1)


async def test_a_shadow_is_updated_read_and_deleted_by_its_device_and_others_see_it() -> None:
    async with a_house() as house, a_client(house) as client:
        client.mqtt.subscribe([("$aws/things/d1/shadow/#", 1), ("$aws/things/d1/shadow/name/n/#", 1)])
        await until(lambda: len(client.granted) == 2)
        prefix = "$aws/things/d1/shadow"
        await shadow(client, "get", {"clientToken": "t0"})
        await until(lambda: bool(told(client, f"{prefix}/get/rejected")))
        (refused,) = told(client, f"{prefix}/get/rejected")
        assert (refused["code"], refused["clientToken"]) == (404, "t0")
        assert refused["message"] == "No shadow exists with name: 'd1'"
        await shadow(client, "update", {"state": {"desired": {"a": 1}, "reported": {"a": 0}}})
        await until(lambda: bool(told(client, f"{prefix}/update/documents")))
        assert told(client, f"{prefix}/update/delta")[0]["state"] == {"a": 1}
        assert told(client, f"{prefix}/update/accepted")[0]["version"] == 1
        await shadow(client, "get")
        await until(lambda: bool(told(client, f"{prefix}/get/accepted")))
        assert told(client, f"{prefix}/get/accepted")[0]["state"]["delta"] == {"a": 1}
        await shadow(client, "update", {"state": {"desired": {"a": "x" * 9_000}}})
        await until(lambda: bool(told(client, f"{prefix}/update/rejected")))
        assert told(client, f"{prefix}/update/rejected")[0]["code"] == 413
        await shadow(client, "update", {"state": {"reported": {"n": 1}}}, "n")
        await until(lambda: bool(told(client, f"{prefix}/name/n/update/accepted")))
        await shadow(client, "delete")
        await until(lambda: told(client, f"{prefix}/delete/accepted") != [])
        topics = {one.topic for one in house.seen}
        assert f"{prefix}/update" in topics
        assert f"{prefix}/update/accepted" in topics, "rules see the answers too"


async def test_a_thing_may_ask_20_times_a_second() -> None:
    async with a_house() as house, a_client(house) as client:
        client.mqtt.subscribe("$aws/things/d1/shadow/get/#", 1)
        await until(lambda: bool(client.granted))
        for _ in range(30):
            await shadow(client, "get")
        await until(lambda: len(client.got) == 30)
        codes = [one["code"] for one in told(client, "$aws/things/d1/shadow/get/rejected")]
        assert 5 <= codes.count(429) <= 10
        assert codes.count(429) + codes.count(404) == 30


async def test_a_device_defender_report_is_answered() -> None:
    async with a_house() as house, a_client(house) as client:
        client.mqtt.subscribe("$aws/things/d1/defender/metrics/json/+", 1)
        await until(lambda: bool(client.granted))
        report = {"header": {"report_id": 7, "version": "1.0"}, "metrics": {}}
        client.mqtt.publish("$aws/things/d1/defender/metrics/json", json.dumps(report).encode(), qos=1)
        client.mqtt.publish("$aws/things/d1/defender/metrics/json", b"{", qos=1)
        await until(lambda: len(client.got) == 2)
        assert [one.topic.rpartition("/")[2] for one in client.got] == ["accepted", "rejected"]
        assert json.loads(client.got[0].payload)["reportId"] == 7


async def test_the_document_is_the_one_of_the_http_api_and_its_changes_are_told(
    endpoint: str, unique: str
) -> None:
    factory = ClientFactory(backend="embedded", endpoint=endpoint)
    await to_thread.run_sync(lambda: factory.client("iot").create_thing(thingName=unique))
    http = factory.client("iot-data")
    async with a_house(shadows=IotDataShadows(http), policy=OPEN) as house, a_client(house) as client:
        prefix = f"$aws/things/{unique}/shadow"
        client.mqtt.subscribe(f"{prefix}/#", 1)
        await until(lambda: bool(client.granted))
        client.mqtt.publish(f"{prefix}/update", b'{"state": {"reported": {"a": 1}}}', qos=1)
        await until(lambda: bool(told(client, f"{prefix}/update/accepted")))
        read = await to_thread.run_sync(
            lambda: json.loads(http.get_thing_shadow(thingName=unique)["payload"].read())
        )
        assert read["state"] == {"reported": {"a": 1}}
        await anyio.sleep(1.5)
        body = b'{"state": {"desired": {"a": 2}}}'
        await to_thread.run_sync(lambda: http.update_thing_shadow(thingName=unique, payload=body))
        await until(lambda: bool(told(client, f"{prefix}/update/delta")))
        assert told(client, f"{prefix}/update/delta")[0]["state"] == {"a": 2}
        assert told(client, f"{prefix}/update/documents")[-1]["previous"]["state"] == {"reported": {"a": 1}}


OPEN = {"Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}


class AwayShadows:
    """A store whose service is down."""

    async def get(self, thing: str, name: str) -> None:
        raise Transient(f"cannot read {thing}/{name}", fix="start it")

    async def update(self, thing: str, name: str, request: object) -> dict[str, Any]:
        raise NotImplementedError

    async def delete(self, thing: str, name: str) -> int:
        raise NotImplementedError


async def test_a_store_that_is_away_is_told_to_the_device_and_in_the_health() -> None:
    published: list[tuple[str, Any]] = []
    services = DeviceServices(
        store=AwayShadows(),
        clock=SystemClock(),
        publish=lambda topic, body: published.append((topic, json.loads(body))),
    )
    asked = Message("m", "d", "p", "$aws/things/d/shadow/get", b"{}", 1, retain=False, received_at=1)
    await services.serve(asked)
    assert published[0][0].endswith("/rejected")
    assert published[0][1]["code"] == 500
    assert "cannot be kept" in services.fault
    await services.look([("d", "")])
    assert "cannot be read" in services.fault

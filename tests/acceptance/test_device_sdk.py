"""The AWS IoT Device SDK for Python v2 against the whole stack: mTLS, publish, subscribe, shadow, quarantine."""

import json
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from awscrt import mqtt, mqtt5
from awsiot import iotshadow, mqtt5_client_builder, mqtt_connection_builder
from conftest import Running, here

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

WITHIN = 15


@pytest.fixture
def stack(shared_up: Running) -> Running:
    return shared_up


def create(stack: Running, device_id: str, folder: Path, *more: str) -> dict[str, str]:
    """A device by the command line; the SDK's arguments for it."""
    done = here(
        "devices",
        "create",
        device_id,
        "--out",
        folder,
        "--api",
        stack.addresses["api"],
        *more,
        cwd=folder.parent,
    )
    assert done.code == 0, done.err
    assert (folder / "private.pem.key").stat().st_mode & 0o777 == 0o600
    return {
        "endpoint": "localhost",
        "cert_filepath": str(folder / "certificate.pem.crt"),
        "pri_key_filepath": str(folder / "private.pem.key"),
        "ca_filepath": str(folder / "root-ca.pem"),
        "client_id": device_id,
    }


def port(stack: Running) -> int:
    return int(stack.addresses["mqtts"].rpartition(":")[2])


def ask(stack: Running, sql: str) -> list[dict[str, Any]]:
    done = here("sql", sql, "--format", "json", "--api", stack.addresses["api"], cwd=Path())
    assert done.code == 0, done.err
    return list(json.loads(done.out))


def act(stack: Running, what: str, device_id: str) -> None:
    done = here("devices", what, device_id, "--api", stack.addresses["api"], cwd=Path())
    assert done.code == 0, done.err


def wait(event: threading.Event) -> None:
    assert event.wait(WITHIN)


def test_the_sdk_s_client_of_mqtt_3(stack: Running, tmp_path: Path) -> None:
    arguments = create(stack, "sdk3", tmp_path / "sdk3")
    lost, came, got = threading.Event(), threading.Event(), threading.Event()
    connection = mqtt_connection_builder.mtls_from_path(
        **arguments, port=port(stack), clean_session=True, keep_alive_secs=30,
        on_connection_interrupted=lambda **_: lost.set(), on_connection_resumed=lambda **_: came.set(),
        reconnect_min_timeout_secs=1, reconnect_max_timeout_secs=1,
    )  # fmt: skip
    connection.connect().result(WITHIN)
    subscribed, _ = connection.subscribe("cmd/sdk3/do", mqtt.QoS.AT_LEAST_ONCE, lambda **_: got.set())
    assert subscribed.result(WITHIN)["qos"] == mqtt.QoS.AT_LEAST_ONCE
    for number in range(5):
        sent, _ = connection.publish("dt/sdk3/telemetry", json.dumps({"n": number}), mqtt.QoS.AT_LEAST_ONCE)
        sent.result(WITHIN)
    sent, _ = connection.publish("cmd/sdk3/do", "{}", mqtt.QoS.AT_LEAST_ONCE)
    wait(got)
    act(stack, "quarantine", "sdk3")
    wait(lost)
    time.sleep(2)
    assert not came.is_set(), "it tries again and is refused"
    act(stack, "release", "sdk3")
    wait(came)
    connection.disconnect().result(WITHIN)
    deadline = time.monotonic() + WITHIN
    while ask(stack, "SELECT count(*) AS n FROM telemetry WHERE device_id = 'sdk3'") != [{"n": 5}]:
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_the_sdk_s_client_of_mqtt_5_with_a_shadow(stack: Running, tmp_path: Path) -> None:
    arguments = create(stack, "sdk5", tmp_path / "sdk5")
    connected: Future[Any] = Future()
    gone: Future[Any] = Future()
    got: list[Any] = []
    client = mqtt5_client_builder.mtls_from_path(
        **arguments, port=port(stack),
        on_lifecycle_connection_success=lambda data: connected.done() or connected.set_result(data),
        on_lifecycle_disconnection=lambda data: gone.done() or gone.set_result(data),
        on_publish_received=lambda data: got.append(data.publish_packet),
    )  # fmt: skip
    client.start()
    negotiated = connected.result(WITHIN).negotiated_settings
    assert negotiated.maximum_qos == mqtt5.QoS.AT_LEAST_ONCE
    suback = client.subscribe(
        mqtt5.SubscribePacket([mqtt5.Subscription("cmd/sdk5/do", mqtt5.QoS.AT_LEAST_ONCE)])
    ).result(WITHIN)
    assert suback.reason_codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]
    packet = mqtt5.PublishPacket(
        topic="cmd/sdk5/do", payload=b"{}", qos=mqtt5.QoS.AT_LEAST_ONCE,
        user_properties=[mqtt5.UserProperty("site", "north")], content_type="application/json",
    )  # fmt: skip
    assert client.publish(packet).result(WITHIN).puback.reason_code == mqtt5.PubackReasonCode.SUCCESS
    deadline = time.monotonic() + WITHIN
    while not got:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (got[0].content_type, got[0].user_properties[0].value) == ("application/json", "north")
    _use_a_shadow(iotshadow.IotShadowClient(client), "sdk5")
    act(stack, "quarantine", "sdk5")
    farewell = gone.result(WITHIN)
    assert farewell.disconnect_packet.reason_code == mqtt5.DisconnectReasonCode.ADMINISTRATIVE_ACTION
    client.stop()


def _use_a_shadow(shadow: iotshadow.IotShadowClient, thing: str) -> None:
    accepted: Future[Any] = Future()
    delta: Future[Any] = Future()
    for subscribed, _ in (
        shadow.subscribe_to_update_shadow_accepted(
            iotshadow.UpdateShadowSubscriptionRequest(thing_name=thing),
            mqtt.QoS.AT_LEAST_ONCE,
            lambda answer: accepted.done() or accepted.set_result(answer),
        ),
        shadow.subscribe_to_shadow_delta_updated_events(
            iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=thing),
            mqtt.QoS.AT_LEAST_ONCE,
            lambda event: delta.done() or delta.set_result(event),
        ),
    ):
        subscribed.result(WITHIN)
    state = iotshadow.ShadowState(reported={"color": "red"}, desired={"color": "green"})
    shadow.publish_update_shadow(
        iotshadow.UpdateShadowRequest(thing_name=thing, state=state, client_token="token"),
        mqtt.QoS.AT_LEAST_ONCE,
    ).result(WITHIN)
    answer = accepted.result(WITHIN)
    assert (answer.state.reported, answer.client_token, answer.version) == ({"color": "red"}, "token", 1)
    assert delta.result(WITHIN).state == {"color": "green"}


def test_what_devices_create_refuses_is_told(stack: Running, tmp_path: Path) -> None:
    api = ("--api", stack.addresses["api"])
    wrong = here("devices", "create", "no/slash", "--out", tmp_path / "x", *api, cwd=tmp_path)
    assert (wrong.code, "no thing name" in wrong.err) == (2, True)
    (tmp_path / "policy.json").write_text("{")
    broken = here(
        "devices",
        "create",
        "ok",
        "--out",
        tmp_path / "x",
        "--policy",
        tmp_path / "policy.json",
        *api,
        cwd=tmp_path,
    )
    assert (broken.code, "no policy document" in broken.err) == (2, True)
    assert not (tmp_path / "x").exists()
    away = here("devices", "disconnect", "nobody", *api, cwd=tmp_path)
    assert (away.code, "was not connected" in away.out) == (0, True)

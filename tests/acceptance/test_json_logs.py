"""`--log-format json`: every line is JSON, and a message is found on each hop by its trace id."""

import json
import signal
import time
from pathlib import Path

import httpx
import paho.mqtt.client as mqtt
import pytest
from conftest import start_up, thingstorm

HOPS = {"accepted", "routed", "handed on", "received", "handled", "changed", "viewed", "archived"}


@pytest.mark.usefixtures("without_pyod")
def test_each_hop_logs_a_message_by_its_trace_id(tmp_path: Path) -> None:
    running = start_up(
        tmp_path, "--no-simulator", "--log-format", "json", "--set", "logs.level=debug",
        "--set", "pipeline.archive_seconds=1",
    )  # fmt: skip
    host, port = running.addresses["mqtt"].split(":")
    _publish(host, int(port))
    found = _wait_for_row(running.addresses["api"])
    ended = running.stop(signal.SIGTERM)
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in ended.err.splitlines()]
    assert {"time", "level", "stage", "logger", "message", "event"} <= set(lines[0])
    assert {line["stage"] for line in lines} == {"stack"}
    hops = [line["hop"] for line in lines if line.get("trace_id") == found]
    assert set(hops) == HOPS
    assert [line["event"] for line in lines if line["event"] in ("starting", "addresses", "stopping")] == [
        "starting", "addresses", "stopping"
    ]  # fmt: skip


def test_a_failure_is_a_line_too_and_the_exit_code_stays(tmp_path: Path) -> None:
    done = thingstorm("serve", "broker", "--log-format", "json", cwd=tmp_path, within=30)
    (line,) = [json.loads(line) for line in done.err.splitlines()]
    assert done.code == 2
    assert (line["level"], line["stage"]) == ("error", "broker")
    assert "no token" in line["message"]
    assert "THINGSTORM__STAGES__TOKEN" in line["fix"]


def _publish(host: str, port: int) -> None:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="lamp-1")
    client.connect(host, port)
    client.loop_start()
    client.publish("dt/lamp/lamp-1/telemetry", b'{"temp_c": 21}', qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def _wait_for_row(api: str) -> str:
    """The id of the one message, once it is in the view."""
    for _ in range(100):
        answer = httpx.post(
            f"{api}/query", json={"sql": "SELECT message_id FROM telemetry"}, timeout=10
        ).json()
        if answer.get("rows"):
            return str(answer["rows"][0][0])
        time.sleep(0.1)
    raise AssertionError("the message did not come to the view")

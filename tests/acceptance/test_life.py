"""Start, stop, and the death of a part."""

import json
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlparse

import paho.mqtt.client as mqtt
import paho.mqtt.enums
import psutil
import pytest
from conftest import Running, here, start_up, thingstorm

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


def ports_of(up: Running) -> list[int]:
    told = up.addresses
    return [int(told["mqtt"].rpartition(":")[2]), *(urlparse(told[key]).port or 0 for key in ("aws", "api"))]


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def publish(port: int, count: int, device_id: str = "meter-1") -> None:
    client = mqtt.Client(paho.mqtt.enums.CallbackAPIVersion.VERSION2, client_id=device_id)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for number in range(count):
        client.publish(f"dt/meter/{device_id}/telemetry", json.dumps({"n": number}), qos=1).wait_for_publish(
            5
        )
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    up = start_up(tmp_path, "--no-simulator")
    children, ports = up.children(), ports_of(up)
    assert all(is_listening(port) for port in ports)
    publish(ports[0], 50)
    finished = up.stop(number)
    assert finished.code == 0, finished.err
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    assert [port for port in ports if is_listening(port)] == []


def test_a_killed_emulator_is_reported_by_name_within_five_seconds(up: Running) -> None:
    up.emulator().kill()
    began = time.monotonic()
    finished = up.wait(within=20)
    took = time.monotonic() - began
    assert finished.code == 3
    assert "ministack" in finished.err
    assert "fix:" in finished.err
    assert took < 5


def test_no_child_survives_a_killed_stack(up: Running) -> None:
    deadline = time.monotonic() + 10
    while len(up.children()) < 2 and time.monotonic() < deadline:  # the emulator, and the model's process
        time.sleep(0.1)
    children = up.children()
    assert len(children) == 2
    up.process.kill()
    up.process.communicate()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []


def test_people_ask_the_running_stack(shared_up: Running, unique: str, tmp_path: Path) -> None:
    publish(ports_of(shared_up)[0], 20, unique)
    api = shared_up.addresses["api"]
    deadline = time.monotonic() + 10
    statement = f"SELECT device_id, count(*) AS n FROM telemetry WHERE device_id = '{unique}' GROUP BY 1"
    answer = thingstorm("sql", statement, "--format", "json", "--api", api, cwd=tmp_path)
    while json.loads(answer.out) != [{"device_id": unique, "n": 20}] and time.monotonic() < deadline:
        answer = here("sql", statement, "--format", "json", "--api", api, cwd=tmp_path)
    assert json.loads(answer.out) == [{"device_id": unique, "n": 20}]

    doctor = thingstorm("doctor", "--api", api, cwd=tmp_path)
    assert doctor.code == 0, doctor.err
    assert all(name in doctor.out for name in ("aws", "broker", "view", "model"))

    refused = thingstorm("sql", "DROP TABLE telemetry", "--api", api, cwd=tmp_path)
    assert refused.code == 2
    assert "fix:" in refused.err


def test_quarantine_and_release_by_hand(shared_up: Running, unique: str, tmp_path: Path) -> None:
    api, port = shared_up.addresses["api"], ports_of(shared_up)[0]
    publish(port, 1, unique)
    assert here("devices", "quarantine", unique, "--api", api, cwd=tmp_path).code == 0
    with pytest.raises(AssertionError):
        connect_or_fail(port, unique)
    assert here("devices", "release", unique, "--api", api, cwd=tmp_path).code == 0
    connect_or_fail(port, unique)


def connect_or_fail(port: int, device_id: str) -> None:
    codes: list[bool] = []
    client = mqtt.Client(paho.mqtt.enums.CallbackAPIVersion.VERSION2, client_id=device_id)
    client.on_connect = lambda _c, _u, _f, reason, _p: codes.append(not reason.is_failure)
    client.connect("127.0.0.1", port)
    deadline = time.monotonic() + 5
    while not codes and time.monotonic() < deadline:
        client.loop(0.1)
    client.disconnect()
    assert codes == [True]


def test_occupied_ports_are_one_clear_line_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        finished = here(
            "up", "--ports", "auto", "--no-simulator", "--set", f"broker.port={port}", cwd=tmp_path
        )
    assert finished.code == 3
    assert f"127.0.0.1:{port} (broker.port)" in finished.err
    assert "fix:" in finished.err
    assert "Traceback" not in finished.err


def test_nothing_answers_is_one_clear_line(tmp_path: Path) -> None:
    finished = thingstorm("sql", "SELECT 1", "--api", "http://127.0.0.1:9", cwd=tmp_path)
    assert finished.code == 3
    assert "thingstorm up" in finished.err


def test_no_process_is_left_over() -> None:
    """The last test of the file: whatever the others started is gone, but the one stack that tests share."""
    left = [" ".join(one.cmdline()) for one in psutil.Process().children(recursive=True)]
    assert len([command for command in left if "thingstorm up" in command]) <= 1

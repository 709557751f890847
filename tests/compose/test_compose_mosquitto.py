"""The demo over mosquitto in the place of our gateway, in containers."""

import os
from collections.abc import Iterator

import pytest
from engine import Compose, docker
from ports import free_ports

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

FILES = ("docker-compose.yml", "docker-compose.mosquitto.yml")


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    mqtt, mqtts, mosquitto, api = map(str, free_ports(4))
    project = Compose(
        f"thingstorm-mosquitto-{os.getpid()}",
        {
            "THINGSTORM_MQTT_PORT": mqtt,
            "THINGSTORM_MQTTS_PORT": mqtts,
            "THINGSTORM_MOSQUITTO_PORT": mosquitto,
            "THINGSTORM_API_PORT": api,
            "THINGSTORM_VERSION": "under-test",
        },
        files=FILES,
    )
    project.do("build", within=420)
    try:
        project.do("up", "-d", "mosquitto", "broker", "pipeline", "analytics", within=180)
        project.wait_healthy("mosquitto", "broker", "pipeline", "analytics")
        yield project
    finally:
        project.run("down", "-v", "--remove-orphans", "-t", "5", within=60)


def test_the_demo_passes_on_mosquitto(compose: Compose) -> None:
    done = compose.run("run", "--rm", "demo", within=200)
    assert done.returncode == 0, done.stdout + done.stderr + compose.logs("broker")
    assert "8 of 8 hostile devices named, 0 innocent" in done.stdout
    assert "lost 0, duplicates 0, dead letters 0" in done.stdout


def test_what_mosquitto_cannot_do_is_said_at_the_start(compose: Compose) -> None:
    assert "note: external broker: no policies" in compose.logs("broker")


def test_mosquitto_is_not_root_and_cannot_write(compose: Compose) -> None:
    container = compose.container("mosquitto")
    assert docker("exec", container, "id", "-u") == "10001"
    assert "Read-only" in docker("exec", container, "sh", "-c", "touch /etc/x 2>&1; true")

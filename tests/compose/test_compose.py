"""`docker compose up`, for real: images, health, the demo, kills under load, restart, and nothing left behind.

The tests are one story, in this order, on one running project.
"""

import json
import os
import random
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from acknowledged_load import AcknowledgedLoad
from engine import Compose, docker
from ports import free_ports

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

SERVICES = ("aws", "broker", "pipeline", "analytics", "simulator")
KILLS = 20
TIMES: dict[str, float] = {}


TOKEN = "between-the-stages-of-this-machine"
"""The default of docker-compose.yml: in the containers analytics listens beyond loopback."""

HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}


class Running:
    """The project, its published ports, and its view."""

    def __init__(self, compose: Compose, *, mqtt: int, api: int) -> None:
        self.compose = compose
        self.mqtt = mqtt
        self.api = f"http://127.0.0.1:{api}"

    def query(self, sql: str) -> list[dict[str, Any]]:
        request = urllib.request.Request(f"{self.api}/query", json.dumps({"sql": sql}).encode(), HEADERS)
        with urllib.request.urlopen(request, timeout=30) as answer:
            told = json.load(answer)
        return [dict(zip(told["columns"], row, strict=True)) for row in told["rows"]]

    def arrived(self, prefix: str, expected: int, *, within: float = 200) -> dict[str, int]:
        """Rows, messages and traces of a load in the view, once all are there."""
        deadline = time.monotonic() + within
        row: dict[str, int] = {}
        while time.monotonic() < deadline:
            try:
                (row,) = self.query(
                    "SELECT count(*) AS n, count(DISTINCT message_id) AS messages, "
                    "count(DISTINCT payload->>'trace') AS traces FROM telemetry "
                    f"WHERE device_id LIKE '{prefix}-%'"
                )
            except OSError:
                row = {}
            if row.get("traces", 0) >= expected:
                break
            time.sleep(0.5)
        return row

    def learn(self) -> None:
        """Let the model take the next hour for clean traffic: the loads of these tests are no attacks."""
        span = {"start": time.time_ns(), "until": time.time_ns() + 3600 * 10**9}
        request = urllib.request.Request(f"{self.api}/model/learn", json.dumps(span).encode(), HEADERS)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200

    def crash(self, service: str) -> None:
        """SIGKILL to everything in the container, from within: a crash, which the restart policy mends."""
        container = self.compose.container(service)
        docker("exec", container, "python3", "-c", "import os; os.kill(-1, 9)", check=False)

    def kill(self, service: str) -> None:
        """SIGKILL, and a start at once: the restart policy would wait longer and longer between kills."""
        container = self.compose.container(service)
        docker("kill", "--signal", "KILL", container)
        docker("start", container)

    def detail(self, service: str, name: str) -> str:
        """What the health of a part of a service says."""
        url = f"http://127.0.0.1:{PORTS[service]}/healthz"
        script = f"import urllib.request as u; print(u.urlopen('{url}').read().decode())"
        told = docker("exec", self.compose.container(service), "python3", "-c", script, check=False)
        services = json.loads(told)["services"] if told.startswith("{") else []
        return next((str(one["detail"]) for one in services if one["name"] == name), "")


PORTS = {"broker": 8081, "pipeline": 8082, "analytics": 8080, "simulator": 8083}


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    mqtt, mqtts, api = free_ports(3)
    compose = Compose(
        f"thingstorm-test-{os.getpid()}",
        {
            "THINGSTORM_MQTT_PORT": str(mqtt),
            "THINGSTORM_MQTTS_PORT": str(mqtts),
            "THINGSTORM_API_PORT": str(api),
            "THINGSTORM_VERSION": "under-test",
        },
    )
    began = time.monotonic()
    compose.do("build", within=420)
    TIMES["build"] = time.monotonic() - began
    try:
        began = time.monotonic()
        compose.do("up", "-d", within=180)
        compose.wait_healthy(*SERVICES)
        TIMES["up until healthy"] = time.monotonic() - began
        yield Running(compose, mqtt=mqtt, api=api)
    finally:
        compose.run("down", "-v", "--remove-orphans", "-t", "5", within=60)


def test_all_files_are_valid_and_say_what_they_publish() -> None:
    compose = Compose("config", {"THINGSTORM_MQTT_PORT": "1883", "THINGSTORM_API_PORT": "8080"})
    base = "docker-compose.yml"
    for *more, ports in ((3,), ("docker-compose.localstack.yml", 3), ("docker-compose.mosquitto.yml", 4)):
        done = compose.run("config", files=(base, *map(str, more)))
        assert done.returncode == 0, done.stderr
        published = re.findall(r"(?:host_ip: |- )\"?(\d+\.\d+\.\d+\.\d+)[:\n]", done.stdout)
        assert len(published) == ports
        assert set(published) == {"127.0.0.1"}


def test_the_demo_that_came_up_with_it_passed(running: Running) -> None:
    deadline = time.monotonic() + 120
    while "demo passed" not in (detail := running.detail("simulator", "simulator")):
        assert "failed" not in detail, running.compose.logs("simulator")
        assert time.monotonic() < deadline, f"{detail}\n{running.compose.logs('simulator')}"
        time.sleep(1)
    verdicts = {row["kind"] for row in running.query("SELECT DISTINCT kind FROM verdicts")}
    assert {"benign_uptick", "attack"} <= verdicts
    (shut_out,) = running.query("SELECT count(*) AS n FROM devices WHERE quarantined")
    assert shut_out["n"] == 8


def test_the_demo_on_demand_tells_its_story_and_exits_0(running: Running) -> None:
    began = time.monotonic()
    done = running.compose.run("run", "--rm", "demo", within=200)
    TIMES["demo"] = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rollout (benign.firmware_rollout): benign_uptick" in done.stdout
    assert "8 of 8 hostile devices named, 0 innocent" in done.stdout
    assert "lost 0, duplicates 0, dead letters 0" in done.stdout
    counts = dict(
        re.findall(r"^(accepted|routed|stored|viewed|archived)\s+([\d,]+)", done.stdout, re.MULTILINE)
    )
    assert len(counts) == 5
    assert len(set(counts.values())) == 1, counts


@pytest.mark.parametrize("service", SERVICES)
def test_no_container_is_root_nor_can_write_nor_has_capabilities(running: Running, service: str) -> None:
    container = running.compose.container(service)
    assert docker("exec", container, "id", "-u") == "10001"
    status = docker("exec", container, "cat", "/proc/1/status")
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert "Read-only file system" in _stderr("exec", container, "touch", "/opt/thingstorm/x")
    ports = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", container)) or {}
    bound = [one["HostIp"] for places in ports.values() for one in places or []]
    count = {"broker": 2, "analytics": 1}.get(service, 0)
    assert bound == ["127.0.0.1"] * count


def test_a_crash_is_mended_by_the_restart_policy(running: Running) -> None:
    running.learn()
    running.crash("pipeline")
    deadline = time.monotonic() + 30
    container = running.compose.container("pipeline")
    while docker("inspect", "-f", "{{.RestartCount}} {{.State.Running}}", container) != "1 true":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    running.compose.wait_healthy("pipeline")


def test_twenty_kills_lose_and_double_nothing(running: Running) -> None:
    dice = random.Random(7)
    began = time.monotonic()
    with AcknowledgedLoad(port=running.mqtt, rate=100, prefix="kills") as load:
        for _ in range(KILLS):
            victim = dice.choice(("pipeline", "analytics"))
            if dice.random() < 0.7:
                running.compose.wait_healthy(victim)
            time.sleep(dice.uniform(0, 1.5))
            running.kill(victim)  # most die at work, some while they start
        acknowledged = load.finish()
    TIMES["twenty kills"] = time.monotonic() - began
    running.compose.wait_healthy("pipeline", "analytics")
    row = running.arrived("kills", load.sent)
    assert len(acknowledged) == load.sent > 1_000
    assert row == {"n": load.sent, "messages": load.sent, "traces": load.sent}


def test_a_restart_of_everything_resumes_the_view(running: Running) -> None:
    with AcknowledgedLoad(port=running.mqtt, rate=100, prefix="before") as load:
        time.sleep(3)
        before = load.finish()
    (rows,) = running.query("SELECT count(*) AS n FROM telemetry")
    began = time.monotonic()
    running.compose.do("restart", within=120)
    running.compose.wait_healthy(*SERVICES)
    TIMES["restart until healthy"] = time.monotonic() - began
    assert running.arrived("before", len(before))["n"] == len(before)
    (after,) = running.query("SELECT count(*) AS n FROM telemetry")
    assert after["n"] >= rows["n"]
    with AcknowledgedLoad(port=running.mqtt, rate=100, prefix="after") as load:
        time.sleep(3)
        acknowledged = load.finish()
    assert running.arrived("after", len(acknowledged))["n"] == len(acknowledged) == load.sent


def test_down_is_quick_and_leaves_nothing(running: Running) -> None:
    began = time.monotonic()
    running.compose.do("down", "-v", within=60)
    TIMES["down"] = time.monotonic() - began
    assert running.compose.left_over() == {}
    assert TIMES["down"] <= 15
    sizes = docker("image", "inspect", "-f", "{{.Size}}", "thingstorm:under-test")
    docker("image", "rm", "thingstorm:under-test")
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in TIMES.items())
    print(f"\ncompose: {told}; image {int(sizes) / 1e6:.0f} MB")  # noqa: T201 - the figures of the README


def _stderr(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    return done.stderr

"""The acceptance scenario over stages as processes of their own, and the simulator as one of them."""

import json
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, THINGSTORM
from stage_processes import TOKEN, StageProcesses, stages
from websockets.sync.client import connect

pytestmark = pytest.mark.stages

SHORT = """
scenario: v1
name: short
duration: 8s
fleet:
  - {group: meter, count: 12, topic: "dt/meter/{device}/telemetry", qos: 1, every: {dist: constant, mean: 500ms},
     payload: {power_w: {const: 400}}}
train: {until: 6s}
"""


def attached(running: StageProcesses, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [THINGSTORM, "run", *arguments, "--attach"],
        cwd=running.folder,
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def metric(running: StageProcesses, stage: str, name: str) -> float:
    with urllib.request.urlopen(f"{running.urls[stage]}/metrics", timeout=5) as answer:
        (value,) = [line.split()[-1] for line in answer.read().decode().splitlines() if line.startswith(name)]
    return float(value)


def pause(running: StageProcesses, seconds: float) -> None:
    request = urllib.request.Request(
        f"{running.urls['simulator']}/pause?seconds={seconds}",
        method="POST",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


def until(running: StageProcesses, detail: str, *, within: float = 40) -> None:
    deadline = time.monotonic() + within
    seen = ""
    while time.monotonic() < deadline:
        services = running.health("simulator").get("services", [])
        seen = services[0]["detail"] if services else ""
        if detail in seen:
            return
        time.sleep(0.1)
    pytest.fail(f"'{detail}' did not come: '{seen}'; {running.log('simulator')}")


@pytest.mark.timeout(300)
def test_the_demo_tells_the_truth_over_processes(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        running.start_all()
        finished = attached(running, str(ROOT / "scenarios/demo.yaml"), "--json", "out.json")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        (result,) = json.loads((tmp_path / "out.json").read_text())
        ledger = result["ledger"]
        assert ledger["accepted"] == ledger["routed"] == ledger["stored"] == ledger["viewed"] > 2_000
        assert ledger["archived"] == ledger["routed"]
        assert result["overall"] == {
            "false_positives": 0, "undecided": 0, "lost": 0, "duplicates": 0, "dead_letters": 0,
        }  # fmt: skip
        assert {phase["id"]: phase["verdict"] for phase in result["phases"]} == {
            "rollout": "benign_uptick",
            "botnet": "attack",
        }
        # quarantine is the broker's, and outlives it
        shut_out = set(result["phases"][1]["quarantined"])
        running.kill("broker")
        running.start("broker")
        running.wait_ready("broker")
        assert len(shut_out) == 8
        assert metric(running, "broker", "thingstorm_quarantined_devices") == len(shut_out)
        # the stage `analytics` serves the page, on loopback to anybody, with what the other stages tell
        with urllib.request.urlopen(running.urls["analytics"] + "/", timeout=5) as answer:
            assert b'<div id="app">' in answer.read()
        feed_address = running.urls["analytics"].replace("http", "ws", 1) + "/page/feed"
        with connect(feed_address) as feed:
            feed.send(json.dumps({"want": ["flow"]}))
            flow = json.loads(feed.recv(timeout=10))["data"]
        assert flow["quarantined"] == len(shut_out)
        assert flow["counts"]["viewed"] >= flow["counts"]["routed"] == ledger["routed"]
        for stage in ("analytics", "pipeline", "broker"):
            assert running.stop(stage) == 0, running.log(stage)


@pytest.mark.timeout(240)
def test_the_simulator_plays_then_idles_and_stands_aside_for_others(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(SHORT)
    with stages(tmp_path) as running:
        running.start("simulator", "--scenario", "short.yaml")  # before the others: it waits for them
        running.start_all()
        until(running, "plays short")
        until(running, "short passed; the fleet idles; 12 of 12 devices online")
        assert "lost 0, duplicates 0, dead letters 0" in running.log("simulator")
        pause(running, 60)
        until(running, "stands aside")
        pause(running, 0)
        until(running, "12 of 12 devices online")
        finished = attached(running, "short.yaml")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        until(running, "12 of 12 devices online")
        assert running.stop("simulator") == 0


@pytest.mark.timeout(120)
def test_a_restarted_analytics_knows_what_it_had_learnt(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(SHORT)
    with stages(tmp_path) as running:
        running.start_all()
        assert attached(running, "short.yaml").returncode == 0
        before = running.query("SELECT count(*) AS n FROM telemetry")
        running.kill("analytics")
        running.start("analytics")
        running.wait_ready("analytics")
        assert running.query("SELECT count(*) AS n FROM telemetry") == before
        deadline = time.monotonic() + 20
        while "judging" not in (detail := model(running)):
            assert time.monotonic() < deadline, detail
            time.sleep(0.2)


def model(running: StageProcesses) -> str:
    (row,) = [one for one in running.health("analytics")["services"] if one["name"] == "model"]
    return str(row["detail"])


def test_an_attached_run_waits_for_stages_that_start_and_not_for_ever(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        began = time.monotonic()
        finished = attached(running, str(ROOT / "scenarios/demo.yaml"))
        assert finished.returncode == 3
        assert "waiting up to 30 s" in finished.stdout
        assert "does not answer" in finished.stderr
        assert "fix: start that stage" in finished.stderr
        assert 30 <= time.monotonic() - began < 45

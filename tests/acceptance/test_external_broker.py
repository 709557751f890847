"""A scenario over somebody else's broker, and the stages around one."""

import json
import subprocess
from pathlib import Path

import pytest
from conftest import THINGSTORM, thingstorm
from mosquitto import a_mosquitto
from stage_processes import stages
from test_stages_demo import SHORT

pytestmark = pytest.mark.timeout(180)


@pytest.mark.long
@pytest.mark.usefixtures("without_pyod")
def test_a_scenario_passes_over_mosquitto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_mosquitto(tmp_path) as mosquitto:
        monkeypatch.setenv("THINGSTORM__BROKER__BACKEND", "external")
        monkeypatch.setenv("THINGSTORM__BROKER__URL", f"mqtt://127.0.0.1:{mosquitto.port}")
        (tmp_path / "short.yaml").write_text(SHORT)
        done = thingstorm("run", "short.yaml", "--json", "out.json", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert "note: external broker: no policies" in done.out
    (result,) = json.loads((tmp_path / "out.json").read_text())
    ledger = result["ledger"]
    assert ledger["published"] == ledger["accepted"] == ledger["viewed"] == ledger["archived"] > 100
    assert result["overall"]["lost"] == result["overall"]["duplicates"] == 0


@pytest.mark.stages
def test_the_stages_read_from_mosquitto_and_only_the_rules_may_use_the_door(tmp_path: Path) -> None:
    with a_mosquitto(tmp_path) as mosquitto:
        url = f"mqtt://127.0.0.1:{mosquitto.port}"
        with stages(tmp_path, THINGSTORM__BROKER__BACKEND="external", THINGSTORM__BROKER__URL=url) as running:
            running.start_all()
            (tmp_path / "short.yaml").write_text(SHORT)
            devices = {"THINGSTORM__BROKER__PORT": str(mosquitto.port)}
            done = subprocess.run(
                [THINGSTORM, "run", "short.yaml", "--attach", "--json", "out.json"],
                cwd=tmp_path, env={**running.environment, **devices},
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr + running.log("broker")
            (result,) = json.loads((tmp_path / "out.json").read_text())
            assert result["ledger"]["viewed"] == result["ledger"]["published"] > 100
            assert "note: external broker: no policies" in running.log("broker")
            refused = subprocess.run(
                [THINGSTORM, "run", "short.yaml", "--attach"],
                cwd=tmp_path, env=running.environment, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert refused.returncode == 3, "the rules' door takes no devices"


def test_aws_as_the_broker_asks_for_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "thingstorm.toml").write_text(
        '[broker]\nbackend = "aws"\nurl = "mqtts://x-ats.iot.us-east-1.amazonaws.com:8883"\n'
    )
    done = thingstorm("up", "--no-simulator", "--ports", "auto", cwd=tmp_path, within=30)
    assert done.code == 2
    assert "AWS IoT Core asks for a certificate" in done.err
    assert "broker.certfile" in done.err

"""Stages that cannot work say why in one line with a fix, wait with backoff, and their health says so."""

import time
from pathlib import Path

import pytest
from conftest import thingstorm
from stage_processes import StageProcesses, stages

pytestmark = pytest.mark.stages


def unhealthy(running: StageProcesses, stage: str, *words: str, within: float = 20) -> None:
    """Wait until the stage's health is 503 and says all these words."""
    deadline = time.monotonic() + within
    seen = ""
    while time.monotonic() < deadline:
        told = running.health(stage)
        seen = " ".join(one["detail"] for one in told.get("services", []) if one["state"] != "ready")
        if told.get("ready") is False and all(word in seen for word in words):
            return
        time.sleep(0.1)
    pytest.fail(f"{words} not in: {seen}; log: {running.log(stage)}")


def told(running: StageProcesses, stage: str, line: str, *, within: float = 5) -> None:
    """Wait until the stage's log has this line."""
    deadline = time.monotonic() + within
    while line not in running.log(stage):
        assert time.monotonic() < deadline, running.log(stage)
        time.sleep(0.1)


def test_a_missing_token_is_told_and_nothing_starts(tmp_path: Path) -> None:
    finished = thingstorm("serve", "broker", cwd=tmp_path, within=30)
    assert finished.code == 2
    assert "the broker has no token" in finished.err
    assert "fix: set THINGSTORM__STAGES__TOKEN" in finished.err


def test_a_missing_aws_endpoint_is_told(tmp_path: Path) -> None:
    finished = thingstorm("serve", "analytics", "--set", "stages.token=x", cwd=tmp_path, within=30)
    assert (finished.code, len(finished.err.strip().splitlines())) == (2, 2)
    assert "fix: set THINGSTORM__AWS__ENDPOINT" in finished.err


def test_an_unknown_stage_and_a_wrong_setting_are_told(tmp_path: Path) -> None:
    assert "broker" in thingstorm("serve", "brokr", cwd=tmp_path, within=30).err
    wrong = thingstorm("serve", "broker", "--set", "stages.tokn=x", cwd=tmp_path, within=30)
    assert (wrong.code, "stages.tokn" in wrong.err) == (2, True)


def test_an_occupied_port_of_a_stage_is_told(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        running.start("broker")
        running.wait_ready("broker")
        finished = thingstorm(
            "serve", "broker", "--set", "stages.token=x", "--set", f"stages.broker={running.urls['broker']}",
            cwd=tmp_path, within=30,
        )  # fmt: skip
        assert (finished.code, "stages.broker" in finished.err) == (3, True)


def test_an_aws_endpoint_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        running.start("pipeline")
        unhealthy(running, "pipeline", "AWS cannot be reached", "fix:")
        time.sleep(3)
        attempts = running.log("pipeline").count("trying again in")
        assert 2 <= attempts <= 5, "with backoff"
        running.start_aws()
        running.start("broker")
        running.wait_ready("pipeline", "broker")


def test_a_broker_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        running.start_aws()
        running.start("pipeline")
        running.start("analytics")
        unhealthy(running, "pipeline", "broker", "does not answer", "fix:")
        unhealthy(running, "analytics", "broker", "does not answer", "fix:")
        time.sleep(3)
        assert running.log("pipeline").count("does not answer") == 1, "told once, not at every attempt"
        running.start("broker")
        running.wait_ready("pipeline", "analytics", "broker")
        told(running, "pipeline", "broker-link: ready again")


def test_a_stage_of_another_version_is_told(tmp_path: Path) -> None:
    """The other version is made by an installation's metadata: the same code under another number."""
    other = tmp_path / "other"
    (other / "thingstorm-9.9.9.dist-info").mkdir(parents=True)
    (other / "thingstorm-9.9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: thingstorm\nVersion: 9.9.9\n"
    )
    with stages(tmp_path) as running:
        running.start_aws()
        running.start("broker", PYTHONPATH=str(other))
        running.start("pipeline")
        running.start("analytics")
        for stage in ("pipeline", "analytics"):
            unhealthy(running, stage, "is version 9.9.9, this stage is 0.1.0", "fix: run the same image")


def test_a_wrong_token_is_told_by_both_doors(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        running.start_aws()
        running.start("broker", THINGSTORM__STAGES__TOKEN="another")
        running.start("pipeline")
        running.start("analytics")
        unhealthy(running, "pipeline", "refused the rules' session", "stages.token")
        unhealthy(running, "analytics", "token is missing or wrong", "stages.token")

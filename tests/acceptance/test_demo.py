"""The demo scenario through every hop, told as JSON, JUnit and HTML."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from conftest import ROOT, Finished, thingstorm

pytestmark = [pytest.mark.timeout(200), pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def finished(folder: Path) -> Finished:
    scenario = ROOT / "scenarios/demo.yaml"
    return thingstorm(
        "run",
        scenario,
        "--json",
        "out.json",
        "--junit",
        "out.xml",
        "--html",
        "out.html",
        cwd=folder,
        within=180,
    )


@pytest.fixture(scope="module")
def result(finished: Finished, folder: Path) -> dict[str, Any]:
    (told,) = json.loads((folder / "out.json").read_text())
    assert isinstance(told, dict)
    return told


def test_it_passes(finished: Finished, result: dict[str, Any]) -> None:
    failed = [expectation for expectation in result["expectations"] if not expectation["passed"]]
    assert (finished.code, result["passed"], failed) == (0, True, []), finished.out + finished.err


def test_the_rollout_is_benign_and_the_botnet_an_attack(result: dict[str, Any]) -> None:
    phases = {phase["id"]: phase for phase in result["phases"]}
    assert phases["rollout"]["verdict"] == "benign_uptick"
    assert phases["botnet"]["verdict"] == "attack"
    assert phases["botnet"]["recall"] >= 0.95
    assert len(phases["botnet"]["expected_devices"]) == 8
    assert set(phases["botnet"]["quarantined"]) == set(phases["botnet"]["flagged"])
    assert result["overall"]["false_positives"] == 0


def test_no_message_is_lost_or_doubled_on_any_hop(result: dict[str, Any]) -> None:
    ledger = result["ledger"]
    assert ledger["accepted"] > 3000
    assert ledger["accepted"] == ledger["routed"] == ledger["queued"] == ledger["stored"] == ledger["viewed"]
    assert ledger["archived"] == ledger["routed"]
    assert ledger["published"] >= ledger["accepted"]
    assert (
        result["overall"]["lost"] == result["overall"]["duplicates"] == result["overall"]["dead_letters"] == 0
    )


def test_latencies_are_measured(result: dict[str, Any]) -> None:
    latency = result["latency"]
    assert 0 < latency["data_p50_ms"] <= latency["data_p95_ms"]
    assert latency["verdict_p95_ms"] > 0


def test_the_reports_are_written(folder: Path, result: dict[str, Any]) -> None:
    suite = ET.fromstring((folder / "out.xml").read_text()).find("testsuite")
    assert suite is not None
    assert suite.get("tests") == str(len(result["expectations"]))
    assert "<svg" in (folder / "out.html").read_text()


def test_without_a_terminal_the_story_is_plain_lines(finished: Finished) -> None:
    assert "verdict: attack" in finished.out
    assert "the security team's queue received 1 alert(s)" in finished.out
    assert "\x1b[" not in finished.out

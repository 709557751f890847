"""The GitHub Action and the workflow that uses it: what can be known of them without GitHub."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from thingstorm.cli import app
from thingstorm.report.summary import render_summary

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "action.yml").read_text()
ACTION: dict[str, Any] = yaml.safe_load(TEXT)
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / "examples/workflow.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
RESULT = {
    "scenario": "flood",
    "seed": 7,
    "passed": False,
    "wall_seconds": 71.2,
    "phases": [{"id": "flood", "verdict": "attack"}],
    "overall": {"false_positives": 1, "lost": 0},
    "expectations": [
        {"name": "flood.detect_within.max", "passed": False, "expected": "<= 60s", "seen": "a|b"},
        {"name": "overall.lost", "passed": True, "expected": "0", "seen": "0"},
    ],
}


def script(name: str) -> str:
    return next(str(step["run"]) for step in STEPS if step["name"] == name)


def play(tmp_path: Path, **inputs: str) -> tuple[int, list[str]]:
    """Run the step that plays with a double of the command; its exit code and the double's arguments."""
    double = tmp_path / "thingstorm/bin/thingstorm"
    double.parent.mkdir(parents=True)
    double.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/told"\nexit 1\n')
    double.chmod(0o755)
    environment = {
        **os.environ,
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "SCENARIOS": "",
        "PLAY_PATH": "",
        "ARGS": "",
        **inputs,
    }
    command = ["bash", "-e", "-o", "pipefail", "-c", script("Play the scenarios")]
    code = subprocess.run(command, env=environment, check=False).returncode
    return code, (tmp_path / "told").read_text().splitlines()


def test_every_input_that_is_used_is_declared_and_the_other_way_round() -> None:
    assert set(re.findall(r"inputs\.([a-z-]+)", TEXT)) == set(ACTION["inputs"])
    assert all(one["description"] for one in ACTION["inputs"].values())


def test_no_script_holds_an_expression_that_somebody_else_could_write() -> None:
    assert not [step["name"] for step in STEPS if "${{" in step.get("run", "")]


def test_every_step_with_a_script_names_its_shell() -> None:
    assert all(step["shell"] == "bash" for step in STEPS if "run" in step)


def test_the_play_step_calls_a_command_of_ours_with_options_that_it_has(tmp_path: Path) -> None:
    _, told = play(tmp_path, SCENARIOS="a.yaml b", PLAY_PATH="aws", ARGS="--seed 11 --set meters=9")
    results = tmp_path / "thingstorm-results"
    assert told[:3] == ["run", "a.yaml", "b"]
    assert told[3:9] == ["--seed", "11", "--set", "meters=9", "--path", "aws"]
    assert told[9:] == [
        *("--json", f"{results}/results.json"),
        *("--junit", f"{results}/junit.xml"),
        *("--html", f"{results}/report.html"),
    ]
    command = typer.main.get_group(app).commands["run"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in told if word.startswith("--")} <= known


def test_the_exit_code_of_the_command_is_that_of_the_step_and_its_results_are_found(tmp_path: Path) -> None:
    code, told = play(tmp_path, SCENARIOS="a.yaml")
    assert code == 1
    assert "--path" not in told
    assert (tmp_path / "output").read_text() == f"results={tmp_path}/thingstorm-results\n"


@pytest.mark.parametrize("evil", ["$(touch evil)", "; touch evil", "`touch evil`"])
def test_an_input_is_never_run_as_a_script(
    tmp_path: Path, evil: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    play(tmp_path, SCENARIOS=evil, ARGS=evil, PLAY_PATH=evil)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("version", "installed"),
    [("", "/the/action"), ("0.1.0", "thingstorm==0.1.0"), ("./dist/own.whl", "./dist/own.whl")],
)
def test_the_version_is_what_pip_installs(tmp_path: Path, version: str, installed: str) -> None:
    double = tmp_path / "thingstorm/bin/python"
    double.parent.mkdir(parents=True)
    double.write_text('#!/bin/sh\necho "$@" > "$RUNNER_TEMP/told"\n')
    double.chmod(0o755)
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "VERSION": version,
        "ACTION_FOLDER": "/the/action",
    }
    subprocess.run(["bash", "-e", "-c", script("Install thingstorm")], env=environment, check=True)
    assert (tmp_path / "told").read_text().split()[-1] == installed


def test_the_summary_step_runs_a_module_of_ours(tmp_path: Path) -> None:
    assert "-m thingstorm.report.summary" in script("Write the summary")
    (tmp_path / "results.json").write_text(json.dumps([RESULT]))
    command = [sys.executable, "-m", "thingstorm.report.summary"]
    for name, told in (("results.json", "0 of 1 scenarios passed"), ("none.json", "No scenario was played")):
        done = subprocess.run(
            [*command, tmp_path / name], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert told in done.stdout


def test_the_summary_names_what_failed_and_nothing_leaves_its_cell() -> None:
    text = render_summary([RESULT, {**RESULT, "passed": True, "phases": [], "expectations": []}])
    assert "1 of 2 scenarios passed." in text
    assert "| flood | 7 | **failed** | flood: attack | 1 | 0 | 71 |" in text
    assert "| flood.detect_within.max | &lt;= 60s | a\\|b |" in text
    assert "overall.lost" not in text
    assert text.count("### flood") == 1


def test_the_results_are_kept_and_summed_up_also_when_a_scenario_failed() -> None:
    after = [step for step in STEPS if step["name"] in ("Write the summary", "Keep the results")]
    assert len(after) == 2
    assert all(step["if"].startswith("always()") for step in after)


def test_the_example_workflow_gives_the_action_inputs_that_it_has() -> None:
    ours = [
        step["with"]
        for job in WORKFLOW["jobs"].values()
        for step in job["steps"]
        if "/thingstorm@" in step.get("uses", "")
    ]
    required = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert ours
    assert all(required <= set(given) <= set(ACTION["inputs"]) for given in ours)


def test_the_scenario_of_the_example_workflow_is_that_of_the_example_project() -> None:
    given = WORKFLOW["jobs"]["scenarios"]["steps"][1]["with"]["scenarios"]
    assert (ROOT / "examples/own-rules" / given).is_file()


def test_what_the_example_workflow_runs_itself_is_there() -> None:
    said = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    source = WORKFLOW["jobs"]["scenarios"]["steps"][1]["uses"]
    assert said == [
        f'pip install pytest "thingstorm @ git+https://github.com/{source}"',
        "pytest --junitxml junit.xml",
    ]

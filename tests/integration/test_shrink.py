"""`shrink` on the direct path: a scenario that really fails becomes small and still fails."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import ConfigError
from simulator.scenario import load
from thingstorm.cli import app

TEXT = """\
scenario: v1
name: failing
clock: {mode: virtual}
path: direct
duration: 45s
fleet:
  - {group: meter, count: 4, topic: "dt/meter/{device}/t", every: 1s, payload: {a: {const: 1}}}
train: {until: 20s}
timeline:
  - {id: storm, at: 22s, for: 5s, kind: benign.reconnect_storm, targets: {group: meter, count: 2}}
  - {id: flood, at: 30s, for: 6s, kind: attack.publish_flood, targets: {group: meter, count: 2}, with: {rate_factor: 60}}
expect:
  phases:
    flood: {verdict: VERDICT}
"""


def write(folder: Path, verdict: str) -> Path:
    (folder / "failing.yaml").write_text(TEXT.replace("VERDICT", verdict))
    return folder / "failing.yaml"


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_failing_scenario_becomes_small_and_fails_the_same_way(tmp_path: Path) -> None:
    small = tmp_path / "small.yaml"
    done = CliRunner().invoke(
        app, ["shrink", str(write(tmp_path, "normal")), "--out", str(small), "--tries", "4"]
    )
    assert done.exit_code == 0, done.output
    assert "4 devices, 2 phases, 45s" in done.output
    assert "smaller  without phase storm" in done.output
    assert "flood.verdict still fails" in done.output
    scenario = load(small)
    assert [phase.id for phase in scenario.timeline] == ["flood"]
    assert scenario.device_count <= 2
    again = CliRunner().invoke(app, ["run", str(small), "--json", str(tmp_path / "out.json")])
    assert again.exit_code == 1
    (result,) = json.loads((tmp_path / "out.json").read_text())
    assert [one["name"] for one in result["expectations"] if not one["passed"]] == ["flood.verdict"]


def test_a_scenario_that_passes_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["shrink", str(write(tmp_path, "attack")), "--out", str(tmp_path / "no.yaml")]
    )
    assert isinstance(done.exception, ConfigError)
    assert "fails nothing" in done.exception.what
    assert not (tmp_path / "no.yaml").exists()

"""Bad input: one clear line with a fix, the right exit code, nothing started."""

from pathlib import Path

import pytest
from conftest import ROOT, here, thingstorm

DEMO = (ROOT / "scenarios/demo.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("count: 40", "count: -1", "bad.yaml:12"),
        ("count: 40", "cuont: 40", "bad.yaml:12"),
        ("group: pump\n", "group: meter\n", "meter"),
        ("train: {until: 20s}", "train: {until: 50s}", "train"),
        ("at: 45s", "at: 75s", "botnet"),
        ("kind: attack.coordinated_botnet", "kind: attack.cordinated_botnet", "attack.coordinated_botnet"),
        ("every: {dist", "every: {dits", "dist"),
        ("scenario: v1", "scenario: v9", "v1"),
        ("duration: 60s", "duration: [", "bad.yaml"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_position(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in DEMO
    (tmp_path / "bad.yaml").write_text(DEMO.replace(old, new, 1))
    finished = here("run", "bad.yaml", cwd=tmp_path)
    assert finished.code == 2
    assert "bad.yaml:" in finished.err
    assert told in finished.err
    assert "fix:" in finished.err
    assert "Traceback" not in finished.err


def test_the_virtual_clock_and_real_services_are_refused_together(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(DEMO.replace("clock: {mode: wall}", "clock: {mode: virtual}", 1))
    finished = here("run", "s.yaml", cwd=tmp_path)
    assert (finished.code, "do not go together" in finished.err) == (2, True)


def test_a_missing_scenario_is_refused(tmp_path: Path) -> None:
    finished = thingstorm("run", "none.yaml", cwd=tmp_path, within=30)
    assert finished.code == 2
    assert "none.yaml" in finished.err


def test_a_rule_with_a_syntax_error_shows_its_position(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "rules:\n  broken:\n    sql: SELECT * FORM 'dt/#'\n    actions: [{sns: {targetArn: telemetry}}]\n"
    )
    finished = thingstorm(
        "up", "--ports", "auto", "--set", "pipeline.rules=rules.yaml", cwd=tmp_path, within=60
    )
    assert finished.code == 2
    assert "column 10" in finished.err
    assert "broken" in finished.err
    assert "fix:" in finished.err


def test_an_unknown_setting_and_an_unknown_backend_are_refused(tmp_path: Path) -> None:
    unknown = here("up", "--set", "brokr.port=1", cwd=tmp_path)
    assert (unknown.code, "brokr" in unknown.err) == (2, True)
    backend = thingstorm("up", "--ports", "auto", "--set", "model.detector=ferret", cwd=tmp_path, within=60)
    assert (backend.code, "knn" in backend.err) == (2, True)


def test_help_shows_an_example(tmp_path: Path) -> None:
    finished = here("run", "--help", cwd=tmp_path)
    assert finished.code == 0
    assert "thingstorm run scenarios/" in finished.out

"""The plugin as its users see it: pytest is run on their files. What is played is a double, except for what needs none."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from contracts.errors import NotReady
from simulator.scenario import Scenario
from thingstorm import pytest_plugin
from thingstorm.report.record import ExpectationResult, Latency, Ledger, Overall, Result
from thingstorm.testing import Stack

SLOW = ("xdist", "hypothesispytest", "unraisableexception")
"""Plugins that take a second each when pytest runs inside of a large process."""

SMALL = """\
scenario: v1
name: small
tags: [smoke]
seed: 3
path: aws
duration: 6s
fleet:
  - {group: meter, count: 5, topic: "dt/meter/{device}/telemetry", every: 1s}
"""

PASSED = Result(
    scenario="small",
    seed=3,
    path="aws",
    clock="wall",
    passed=True,
    wall_seconds=7.0,
    phases=(),
    overall=Overall(),
    ledger=Ledger(),
    latency=Latency(),
    expectations=(ExpectationResult("overall.lost", passed=True, expected="0", seen="0"),),
)
FAILED = replace(
    PASSED,
    passed=False,
    expectations=(
        *PASSED.expectations,
        ExpectationResult("flood.verdict", passed=False, expected="attack", seen="normal"),
    ),
)

Playing = Callable[[Callable[[Scenario], Result]], list[Scenario]]


@pytest.fixture
def playing(monkeypatch: pytest.MonkeyPatch) -> Playing:
    """Replaces what plays a scenario; gives the list of those that were played."""

    def replace_it(answer: Callable[[Scenario], Result]) -> list[Scenario]:
        played: list[Scenario] = []

        def play(scenario: Scenario, file: Path, stack: Callable[[], Stack], config: pytest.Config) -> Result:
            _ = file, stack, config
            played.append(scenario)
            return answer(scenario)

        monkeypatch.setattr(pytest_plugin, "_play", play)
        return played

    return replace_it


def write(pytester: pytest.Pytester, text: str = SMALL, *, name: str = "small") -> None:
    (pytester.path / f"{name}.scenario.yaml").write_text(text)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    plugins = (argument for name in SLOW for argument in ("-p", f"no:{name}"))
    return pytester.runpytest(*plugins, "-W", "error", "-rs", *arguments)


def test_a_scenario_file_is_a_test_with_the_name_of_its_scenario(
    pytester: pytest.Pytester, playing: Playing
) -> None:
    played = playing(lambda _: PASSED)
    write(pytester, name="any")
    result = run(pytester, "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["any.scenario.yaml::small PASSED*"])
    assert [(scenario.name, scenario.seed) for scenario in played] == [("small", 3)]


def test_other_yaml_files_are_left_alone(pytester: pytest.Pytester) -> None:
    (pytester.path / "rules.yaml").write_text(SMALL)
    (pytester.path / "scenario.yaml").write_text(SMALL)
    assert run(pytester).ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_failure_says_what_was_expected_and_what_was_seen_and_shows_no_traceback(
    pytester: pytest.Pytester, playing: Playing
) -> None:
    playing(lambda _: FAILED)
    write(pytester)
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "1 of 2 expectations failed (seed 3):",
            "  flood.verdict: expected attack, seen normal",
            "draw the run: thingstorm run small.scenario.yaml --seed 3 --html report.html",
        ]
    )
    result.stdout.no_fnmatch_line("*overall.lost*")
    result.stdout.no_fnmatch_line("*ScenarioFailed*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_a_failure_in_junit_xml_says_the_same(pytester: pytest.Pytester, playing: Playing) -> None:
    playing(lambda _: FAILED)
    write(pytester)
    run(pytester, "--junitxml", "out.xml")
    case = ET.parse(pytester.path / "out.xml").find(".//testcase")
    assert case is not None
    assert case.get("name") == "small"
    failure = case.find("failure")
    assert failure is not None
    assert "flood.verdict: expected attack, seen normal" in str(failure.text)


def test_an_error_of_ours_is_told_with_its_fix(pytester: pytest.Pytester, playing: Playing) -> None:
    def fail(_: Scenario) -> Result:
        raise NotReady("the path did not become quiet", fix="send less")

    playing(fail)
    write(pytester)
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the path did not become quiet", "fix: send less"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_any_other_error_keeps_its_traceback(pytester: pytest.Pytester, playing: Playing) -> None:
    def fail(_: Scenario) -> Result:
        raise ZeroDivisionError("a defect")

    playing(fail)
    write(pytester)
    run(pytester).stdout.fnmatch_lines(["*test_pytest_plugin.py:*: ZeroDivisionError"])


def test_a_mistake_in_a_file_is_told_with_its_line_and_its_fix(pytester: pytest.Pytester) -> None:
    write(pytester, SMALL.replace("duration:", "duratoin:"))
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["small.scenario.yaml:6: unknown key 'duratoin'", "fix: did you mean 'duration'? *"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_one_bad_file_does_not_hide_the_others(pytester: pytest.Pytester, playing: Playing) -> None:
    playing(lambda _: PASSED)
    write(pytester)
    write(pytester, "- no scenario", name="bad")
    run(pytester, "--continue-on-collection-errors").assert_outcomes(passed=1, errors=1)


def test_tags_can_be_asked_for(pytester: pytest.Pytester, playing: Playing) -> None:
    played = playing(lambda _: PASSED)
    write(pytester)
    write(pytester, SMALL.replace("small", "large").replace("smoke", "slow"), name="large")
    run(pytester, "-k", "slow").assert_outcomes(passed=1, deselected=1)
    assert [scenario.name for scenario in played] == ["large"]


def test_a_file_that_makes_several_scenarios_makes_a_test_of_each(
    pytester: pytest.Pytester, playing: Playing, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simulator.scenario import load

    monkeypatch.setattr(pytest_plugin, "_scenarios", lambda path: [load(path, seed=n) for n in (1, 2)])
    playing(lambda scenario: PASSED if scenario.seed == 1 else FAILED)
    write(pytester)
    result = run(pytester, "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*::small-seed1 PASSED*", "*::small-seed2 FAILED*"])


def test_fixtures_apply_to_scenarios_as_to_other_tests(pytester: pytest.Pytester) -> None:
    """A project may put a stack of its own in the place of ours, and look at every test."""
    pytester.makeconftest(
        """
        import pytest
        from test_doubles import Double

        @pytest.fixture(scope="session")
        def thingstorm_stack():
            return Double()

        @pytest.fixture(autouse=True)
        def note(request):
            print("about to run", request.node.name)
        """
    )
    pytester.makepyfile(
        test_doubles="""
        class Double:
            def play(self, scenario):
                raise RuntimeError(f"asked to play {scenario.name}")
        """
    )
    write(pytester)
    result = run(pytester)
    result.stdout.fnmatch_lines(["*RuntimeError: asked to play small", "about to run small"])


def test_the_direct_path_is_played_without_a_stack_and_says_what_failed(pytester: pytest.Pytester) -> None:
    direct = SMALL.replace("path: aws", "path: direct\nclock: {mode: virtual}")
    wanted = "expect: {sql: [{name: rows, query: select count(*) > 20 as many from telemetry, rows: [{many: %s}]}]}\n"
    write(pytester, direct + wanted % "true")
    run(pytester).assert_outcomes(passed=1)
    write(pytester, direct + wanted % "false")
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  sql.rows: expected *False*, seen *True*"])


def test_a_file_that_makes_several_scenarios_is_several_tests(
    pytester: pytest.Pytester, playing: Playing
) -> None:
    played = playing(lambda _: PASSED)
    write(pytester, SMALL.replace("seed: 3", "seeds: [3, 4]"))
    run(pytester).assert_outcomes(passed=2)
    assert [one.seed for one in played] == [3, 4]


@pytest.mark.parametrize(
    ("ini", "told"),
    [
        ("thingstorm_settings = pipeline.rule=x", ["*unknown setting 'pipeline.rule'*", "fix: *"]),
        ("thingstorm_settings = pipeline.rules=none.yaml", ["*none.yaml: cannot be read*", "fix: *"]),
        ("thingstorm_config = none.toml", ["*no configuration file none.toml*", "fix: *"]),
        ("thingstorm_settings = aws.backend=azure", ["*unknown aws backend 'azure'*", "fix: *"]),
    ],
)
def test_a_wrong_setting_is_told_in_two_lines(pytester: pytest.Pytester, ini: str, told: list[str]) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile("def test_it(fresh_stack): pass")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(told)
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_run_that_has_no_use_for_the_plugin_imports_none_of_our_stages(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            ours = {"contracts", "simulator", "broker", "pipeline", "analytics", "thingstorm.testing"}
            heavy = {"anyio", "boto3", "duckdb", "numpy", "paho", "pydantic", "yaml"}
            assert not (ours | heavy) & set(sys.modules)
        """
    )
    plugins = ["-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:xdist", "-p", "no:schemathesis"]
    pytester.runpytest_subprocess(*plugins).assert_outcomes(passed=1)


def test_the_stack_is_exported_and_imported_late() -> None:
    code = (
        "import sys, thingstorm;"
        "assert 'thingstorm.testing' not in sys.modules;"
        "assert 'Stack' in thingstorm.__all__;"
        "print(thingstorm.Stack.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "thingstorm.testing.stack\n"


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    import thingstorm

    module: Any = thingstorm
    with pytest.raises(AttributeError, match="Stak"):
        _ = module.Stak

"""pytest with the stack: `*.scenario.yaml` files are tests, `thingstorm_stack` and `fresh_stack` are fixtures.

Everybody whose environment has thingstorm loads this file with every run of pytest, so it imports nothing of ours at
the top: measured, it adds 4 ms to such a run, and the import of the stack, 0.9 s, comes with the first use.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from contracts.errors import ThingstormError
    from simulator.scenario import Scenario
    from thingstorm.report.record import Result
    from thingstorm.testing import Stack

SUFFIX = ".scenario.yaml"


class ScenarioFailed(Exception):
    """A scenario was played, and not everything it expects happened."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"{result.scenario}: an expectation failed")
        self.result = result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Settings of the stacks that the fixtures and the scenario files use."""
    parser.addini("thingstorm_config", "settings file of the stack, from the root folder", default="")
    parser.addini("thingstorm_settings", "section.key=value of the stack, one a line", type="linelist")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Every `*.scenario.yaml` is a file of tests."""
    if not file_path.name.endswith(SUFFIX):
        return None
    collected: ScenarioFile = ScenarioFile.from_parent(parent, path=file_path)
    return collected


@pytest.fixture(scope="session")
def thingstorm_stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    """One running stack for all tests that ask for it, and for the scenario files."""
    with _stack(pytestconfig) as stack:
        yield stack


@pytest.fixture
def fresh_stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    """A running stack of the test's own, with nothing in it; some 5 s to start and stop."""
    with _stack(pytestconfig) as stack:
        yield stack


class ScenarioFile(pytest.File):
    """A scenario file: one test for each scenario that it makes."""

    def collect(self) -> Iterator[pytest.Item]:
        """Read the file. A mistake in it is told with its line and how to mend it."""
        from contracts.errors import ThingstormError  # noqa: PLC0415 - see the top

        try:
            scenarios = _scenarios(_from_here(self.path))
        except ThingstormError as error:
            raise self.CollectError(_told(error)) from None
        for scenario in scenarios:
            name = scenario.name if len(scenarios) == 1 else f"{scenario.name}-seed{scenario.seed}"
            item: ScenarioItem = ScenarioItem.from_parent(self, name=name, callobj=_test_of(scenario))
            item.extra_keyword_matches.update(scenario.tags)
            yield item


class ScenarioItem(pytest.Function):
    """A scenario as a test. A function to pytest, so that fixtures and marks apply as they do elsewhere."""

    def reportinfo(self) -> tuple[Path, int, str]:
        """The scenario file rather than the function that plays it."""
        return self.path, 0, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]  # as pytest.Function
        """What was expected and what was seen; a traceback only for what is no error of ours."""
        from contracts.errors import ThingstormError  # noqa: PLC0415 - see the top

        if isinstance(excinfo.value, ScenarioFailed):
            return "\n".join(_failures(excinfo.value.result, _from_here(self.path)))
        if isinstance(excinfo.value, ThingstormError):
            return _told(excinfo.value)
        return super().repr_failure(excinfo)


def _test_of(scenario: Scenario) -> Callable[[pytest.FixtureRequest], None]:
    def play(request: pytest.FixtureRequest) -> None:
        stack = partial(request.getfixturevalue, "thingstorm_stack")
        result = _play(scenario, request.path, stack, request.config)
        if not result.passed:
            raise ScenarioFailed(result)

    return play


def _scenarios(path: Path) -> list[Scenario]:
    """The scenarios that a file makes. Raises BadScenario."""
    from simulator.scenario import load_all  # noqa: PLC0415 - see the top

    return load_all(path)


def _play(scenario: Scenario, file: Path, stack: Callable[[], Stack], config: pytest.Config) -> Result:
    """Play it on its path, known gaps beside the file allowed for. The stack starts only if that path is `aws`."""
    from thingstorm.cli.settings import config_of  # noqa: PLC0415 - see the top
    from thingstorm.report.gaps import gaps_for, with_gaps  # noqa: PLC0415 - likewise
    from thingstorm.runtime.batch import plan, play_alone  # noqa: PLC0415 - likewise

    gaps = gaps_for(file)
    if scenario.path == "aws":
        return with_gaps(stack().play(scenario), gaps)
    with contextlib.chdir(config.rootpath):
        told = config.getini("thingstorm_config")
        settings = config_of(Path(told) if told else None, settings=config.getini("thingstorm_settings"))
        job = plan(file, scenario, path=None, clock=None, speed=None, gaps=gaps)
        return play_alone(job, settings).result


@contextlib.contextmanager
def _stack(config: pytest.Config) -> Iterator[Stack]:
    """A stack with the settings of pytest's configuration file, in whose folder relative paths begin."""
    from contracts.errors import ThingstormError  # noqa: PLC0415 - see the top
    from thingstorm.testing import Stack  # noqa: PLC0415 - likewise

    stack = Stack(
        config=config.getini("thingstorm_config") or None, settings=config.getini("thingstorm_settings")
    )
    try:
        with contextlib.chdir(config.rootpath):
            stack.open()
    except ThingstormError as error:
        pytest.fail(_told(error), pytrace=False)
    with stack:
        yield stack


def _failures(result: Result, path: Path) -> Iterable[str]:
    failed = [one for one in result.expectations if not one.passed]
    yield f"{len(failed)} of {len(result.expectations)} expectations failed (seed {result.seed}):"
    for one in failed:
        yield f"  {one.name}: expected {one.expected}, seen {one.seen}"
    yield f"draw the run: thingstorm run {path} --seed {result.seed} --html report.html"


def _told(error: ThingstormError) -> str:
    return f"{error.what}\nfix: {error.fix}"


def _from_here(path: Path) -> Path:
    """As a person would type it."""
    return Path(os.path.relpath(path))

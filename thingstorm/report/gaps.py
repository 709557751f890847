"""Known gaps: expectations that today's model does not meet, each with the reason. Reported in every run, failing none.

`known-gaps.yaml` beside the scenarios: a list of {scenario, expectations: [names], reason}. A gap that is met again is
told, so that the list only holds what is true.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from contracts.errors import ConfigError
from thingstorm.report.record import ExpectationResult, Result

FILE = "known-gaps.yaml"

Gaps = Mapping[str, Mapping[str, str]]
"""Reasons by scenario and expectation."""


def gaps_for(scenario_file: Path) -> Gaps:
    """Those of the nearest `known-gaps.yaml`, in the scenario's folder or one above it. Raises ConfigError."""
    for folder in list(scenario_file.resolve().parents)[:3]:
        if (file := folder / FILE).is_file():
            return read_gaps(file)
    return {}


def read_gaps(file: Path) -> Gaps:
    """Raises ConfigError for a file that is no list of gaps."""
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8")) or []
        return {entry["scenario"]: _reasons(entry) for entry in entries}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} is no list of known gaps: {error}",
            fix="write - {scenario: NAME, expectations: [NAME, ...], reason: WHY} for each",
        ) from None


def with_gaps(result: Result, gaps: Gaps) -> Result:
    """The result with its known gaps marked: what fails and is known does not fail the scenario."""
    known = gaps.get(result.scenario.partition("[")[0], {})
    expectations = tuple(_marked(one, known) for one in result.expectations)
    passed = all(one.passed or one.gap for one in expectations)
    return replace(result, expectations=expectations, passed=passed)


def open_gaps(result: Result) -> Sequence[ExpectationResult]:
    """Expectations that fail and are known to."""
    return [one for one in result.expectations if one.gap and not one.passed]


def closed_gaps(result: Result) -> Sequence[ExpectationResult]:
    """Expectations that are met although the list says that they are not: take them out of it."""
    return [one for one in result.expectations if one.gap and one.passed]


def _marked(one: ExpectationResult, known: Mapping[str, str]) -> ExpectationResult:
    reason = known.get(one.name, "")
    return replace(one, gap=reason) if reason else one


def _reasons(entry: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(name): str(entry["reason"]) for name in entry["expectations"]}

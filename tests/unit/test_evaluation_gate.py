"""The recorded result and the gate: what is worse is told, what is not is let through."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.errors import ConfigError
from thingstorm.evaluation.evaluated import Evaluated
from thingstorm.evaluation.events import Event, Run
from thingstorm.evaluation.gate import Comparison, compare, load, save

HIT = Event(
    "attack.x", "attack", strength="obvious", hostile=4, found=4, verdict_seconds=3.0, flag_seconds=0.0
)
CALM = Event("benign.y", "normal")
RUNS = [Run(name, seed, "c", (CALM, HIT)) for name in ("s", "t") for seed in (201, 202)]


def _file(path: Path, runs: list[Run]) -> Path:
    file = path / "benchmarks" / "base.json"
    save(file, Evaluated("knn", (201, 202), (), {"model": runs, "static": runs}, []))
    return file


def _with(**changes: object) -> Comparison:
    first = replace(RUNS[0], events=(CALM, replace(HIT, **changes)))  # type: ignore[arg-type] - as the fields are
    return compare([first, *RUNS[1:]], RUNS)


def test_what_was_saved_is_read_back_whole(tmp_path: Path) -> None:
    file = _file(tmp_path, RUNS)
    assert load(file, "knn") == RUNS
    assert load(file, "robust") == []
    told = json.loads(file.read_text())
    assert told["overall"]["verdict_recall"] == 1.0
    assert told["seeds"] == [201, 202]
    assert set(told["baselines"]) == {"static"}


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version": 0, "runs": []}', '{"version": 1, "model": "knn", "runs": [{}]}']
)
def test_a_file_that_is_no_baseline_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "b.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match="no recorded baseline"):
        load(file, "knn")


def test_equal_runs_pass_and_one_that_is_new_or_changed_has_none_beside_it() -> None:
    assert compare(RUNS, RUNS) == Comparison(4, 0, ())
    other = [Run("u", 201, "c", (CALM,)), replace(RUNS[0], content="d")]
    assert compare([*RUNS[1:], *other], RUNS) == Comparison(3, 2, ())


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"verdict_seconds": None, "verdict": "normal"}, "verdict_recall"),
        ({"found": 3}, "device_recall"),
        ({"wrong": 1}, "device_precision"),
        ({"false_verdicts": 1}, "false_verdicts"),
        ({"innocents_quarantined": 1}, "innocents_quarantined"),
        ({"verdict": "undecided"}, "undecided"),
        ({"verdict_seconds": 9.0}, "detect_p95_s"),
    ],
)
def test_one_miss_where_there_was_none_is_a_regression_of_kind_and_overall(
    changes: dict[str, object], figure: str
) -> None:
    found = _with(**changes).regressions
    assert {(one.kind, one.figure) for one in found} >= {("attack.x", figure), ("overall", figure)}
    assert f"attack.x {figure}" in str(found[0]) or len(found) > 2


def test_a_second_later_is_no_regression_and_better_never_is() -> None:
    assert _with(verdict_seconds=4.0).regressions == ()
    worse = [replace(run, events=(CALM, replace(HIT, found=2, false_verdicts=3))) for run in RUNS]
    assert compare(RUNS, worse).regressions == ()


def test_within_the_interval_of_a_mixed_record_nothing_is_told() -> None:
    miss = replace(HIT, verdict="undecided", verdict_seconds=None, found=0)
    recorded = [*RUNS, *(Run(name, 203, "c", (CALM, miss)) for name in ("s", "t"))]
    now = [replace(run, events=(CALM, miss)) if run == RUNS[0] else run for run in recorded]
    assert compare(now, recorded).regressions == ()
    assert compare([replace(run, events=(CALM, miss)) for run in recorded], recorded).regressions != ()

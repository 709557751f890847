"""Events out of records, figures out of events, reliability, seeds: what `thingstorm evaluate` counts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import START, action, labels, phase, record, verdict

from contracts.errors import ConfigError
from contracts.messages import SECOND
from thingstorm.evaluation.evaluated import Evaluated
from thingstorm.evaluation.events import Event, Run, events_of, false_spans, strength_of
from thingstorm.evaluation.figures import KEYS, chosen, figures, intervals, kinds_of
from thingstorm.evaluation.reliability import bins_of, error_of, samples_of
from thingstorm.evaluation.seeds import (
    DEFAULT,
    REPORT,
    TUNING,
    check_report,
    check_tuning,
    parse_seeds,
    tuned_on,
)
from thingstorm.evaluation.table import COLUMNS, reliability_rows, rows
from thingstorm.runtime.scenarios import library

ROLLOUT = phase("up", "benign.firmware_rollout", 10, 20)
FLOOD = phase("flood", "attack.publish_flood", 30, 40)


def _events(
    *verdicts: object, actions: object = (), hostile: tuple[str, ...] = ("a", "b")
) -> tuple[Event, ...]:
    told = record([ROLLOUT, FLOOD], labels(FLOOD, *hostile), verdicts, actions)  # type: ignore[arg-type] - tuples
    return events_of(told, flags=[(START + 32 * SECOND, frozenset({"a", "x"}))], strength="subtle")


def test_a_phase_is_one_event_however_often_it_was_told() -> None:
    rollout, flood = _events(*(verdict(at, "attack", "a") for at in range(33, 40)))
    assert (rollout.kind, rollout.strength, rollout.false_verdicts) == ("benign.firmware_rollout", "", 0)
    assert (flood.hostile, flood.found, flood.wrong, flood.verdict) == (2, 1, 0, "attack")
    assert (flood.flag_seconds, flood.verdict_seconds, flood.strength) == (2.0, 3.0, "subtle")
    assert flood.mixed


def test_false_verdicts_are_stretches_and_belong_to_the_nearest_phase() -> None:
    told = [verdict(at, "attack", "c") for at in (12, 13, 14, 22, 55, 56)]
    rollout, flood = _events(*told, actions=[action("quarantine", "c", 13), action("quarantine", "a", 33)])
    assert (rollout.false_verdicts, rollout.innocents_quarantined) == (2, 1)
    assert (flood.false_verdicts, flood.innocents_quarantined, flood.verdict_seconds) == (1, 0, None)


def test_an_attack_of_nobody_that_can_be_named_is_right_while_it_lasts() -> None:
    told = record([FLOOD], labels(FLOOD, "*"), [verdict(35, "attack"), verdict(55, "attack")])
    assert false_spans(told) == [START + 55 * SECOND]


def test_a_run_without_a_phase_is_one_steady_event() -> None:
    (steady,) = events_of(record([], [], [verdict(5, "attack", "a")]), flags=(), strength="")
    assert (steady.kind, steady.false_verdicts, steady.mixed) == ("benign.steady", 1, False)


@pytest.mark.parametrize(
    ("name", "tags", "strength"),
    [("flood", ("obvious",), "obvious"), ("flood-subtle", (), "subtle"), ("flood", ("hostile",), "")],
)
def test_the_strength_comes_from_the_tags_or_the_name(
    name: str, tags: tuple[str, ...], strength: str
) -> None:
    assert strength_of(name, tags) == strength


def _run(scenario: str, *events: Event, seed: int = 201) -> Run:
    return Run(scenario, seed, "c", events)


HIT = Event("attack.x", "attack", hostile=4, found=4, verdict_seconds=3.0, flag_seconds=1.0)
MISS = Event("attack.x", "undecided", hostile=4, found=1)
CALM = Event("benign.y", "normal")
ALARM = Event("benign.y", "attack", wrong=2, false_verdicts=1, innocents_quarantined=2)


def test_figures_count_events_and_leave_out_what_does_not_apply() -> None:
    runs = [_run("s", CALM, HIT), _run("t", ALARM, MISS)]
    overall = figures(chosen(runs, lambda _event: True))
    assert overall["runs"] == 2
    assert overall["verdict_recall"] == 0.5
    assert overall["device_precision"] == pytest.approx(5 / 7)
    assert overall["device_recall"] == pytest.approx(5 / 8)
    assert (overall["false_verdicts"], overall["undecided"], overall["innocents_quarantined"]) == (1, 1, 2)
    assert (overall["detect_p50_s"], overall["detect_p95_s"], overall["flag_p50_s"]) == (3.0, 3.0, 1.0)
    benign = figures(chosen([_run("s", CALM)], lambda _event: True))
    assert [key for key in KEYS if benign[key] is None] == [
        "verdict_recall", "device_precision", "device_recall", "detect_p50_s", "detect_p95_s",
    ]  # fmt: skip
    assert kinds_of(runs) == ["benign.y", "attack.x"]


def test_intervals_hold_the_figure_and_are_the_same_every_time() -> None:
    runs = [
        _run(name, event, seed=seed)
        for name, event in (("s", HIT), ("t", MISS), ("u", HIT))
        for seed in (1, 2)
    ]
    picked = chosen(runs, lambda _event: True)
    low, high = intervals(picked)["verdict_recall"] or (1.0, 0.0)
    assert 0.0 <= low < figures(picked)["verdict_recall"] < high <= 1.0  # type: ignore[operator] - not None
    assert intervals(picked) == intervals(picked)
    assert intervals(chosen([_run("s", HIT)], lambda _event: True))["verdict_recall"] == (1.0, 1.0)
    assert intervals(chosen([_run("s", CALM)], lambda _event: True))["verdict_recall"] is None


@given(st.lists(st.sampled_from([HIT, MISS, CALM, ALARM]), min_size=1, max_size=6))
def test_rates_are_rates_and_a_miss_never_helps(events: list[Event]) -> None:
    found, more = (figures([("s", some)]) for some in (events, [*events, MISS]))
    for key in ("verdict_recall", "device_precision", "device_recall"):
        value = found[key]
        assert value is None or 0.0 <= value <= 1.0
    assert found["verdict_recall"] is None or more["verdict_recall"] <= found["verdict_recall"]  # type: ignore[operator]


def test_reliability_counts_a_stretch_once_and_asks_whether_it_was_right() -> None:
    told = [replace(verdict(at, "normal"), confidence=0.9) for at in range(5, 10)]
    told += [replace(verdict(at, "benign_uptick"), confidence=0.7) for at in (12, 13)]
    told += [replace(verdict(36, "normal"), confidence=0.55)]  # an attack is under way
    told += [replace(verdict(at, "attack", "a"), confidence=0.97) for at in (37, 38)]
    told += [replace(verdict(39, "undecided"), confidence=0.3)]
    told += [replace(verdict(58, "attack", "c"), confidence=0.97)]
    played = record([ROLLOUT, FLOOD], labels(FLOOD, "a"), told)
    samples = samples_of(played, train_until=START + 4 * SECOND)
    assert [(kind, right, weight) for kind, _, right, weight in samples] == [
        ("normal", 1.0, 1.0), ("benign_uptick", 1.0, 1.0), ("normal", 0.0, 1.0), ("attack", 1.0, 1.0), ("attack", 0.0, 1.0),
    ]  # fmt: skip
    bins = {(one.kind, one.low): one for one in bins_of(samples)}
    assert bins["attack", 0.95].right == 0.5
    assert bins["attack", 0.95].weight == 2.0
    assert error_of(list(bins.values())) == pytest.approx((0.1 + 0.3 + 0.55 + 2 * 0.47) / 5)
    assert error_of([]) is None


def test_what_is_said_while_learning_or_after_all_are_shut_out_claims_nothing_wrong() -> None:
    told = [verdict(36, "attack", "a"), verdict(38, "normal")]
    played = record([FLOOD], labels(FLOOD, "a"), told, [action("quarantine", "a", 37)])
    assert [right for _, _, right, _ in samples_of(played, train_until=START)] == [1.0, 1.0]
    assert samples_of(played, train_until=START + 40 * SECOND) == []


def test_tuning_and_report_seeds_are_disjoint_from_each_other_and_from_the_library() -> None:
    from thingstorm.evaluation.playing import own_seeds
    from thingstorm.runtime.scenarios import scenario_files

    own = own_seeds(scenario_files([library()]))
    assert not TUNING & REPORT
    assert not REPORT & set(own)
    assert set(DEFAULT) <= REPORT
    assert len(DEFAULT) >= 5
    check_report(DEFAULT, own)
    assert tuned_on((3, 110, 201), own) == [3, 110]
    with pytest.raises(ConfigError, match="used for tuning"):
        check_report((3, 201), own)
    with pytest.raises(ConfigError, match="are reported"):
        check_tuning((1, 203))


@pytest.mark.parametrize(
    ("text", "seeds"), [("1,2,3", (1, 2, 3)), ("201-203", (201, 202, 203)), ("4, 4", (4,))]
)
def test_seeds_are_read(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,,2", "5-1", "1-"])
def test_what_is_no_list_of_seeds_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        parse_seeds(text)


def test_the_table_has_a_line_for_every_method_and_the_json_the_keys_of_the_interface() -> None:
    runs = [_run("s", CALM, HIT), _run("t", CALM, MISS)]
    what = Evaluated(
        "knn", (201,), (), {"model": runs, "static": runs, "max_z": runs}, [("attack", 0.9, 1.0, 1.0)]
    )
    lines = rows(what)
    assert {len(line) for line in lines} == {len(COLUMNS)}
    assert [line[0] for line in lines[:6]] == [
        "benign.y",
        "  static 5 min",
        "  max |z|",
        "attack.x",
        "  static 5 min",
        "  max |z|",
    ]
    assert lines[-3][0] == "overall"
    assert reliability_rows(what) == [("attack", "0.80-0.90", "1.0", "0.900", "1.000")]
    told = what.as_json()
    assert set(told["kinds"]) == {"benign.y", "attack.x"}
    assert all(tuple(one) == KEYS for one in (*told["kinds"].values(), told["overall"]))
    assert told["kinds"]["benign.y"]["verdict_recall"] is None
    assert set(told["baselines"]) == {"static", "max_z"}
    assert told["intervals"]["kinds"]["attack.x"]["verdict_recall"][0] == 0.0

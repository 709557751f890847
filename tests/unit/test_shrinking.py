"""Shrinking against plays that are only imagined: what is tried, what is kept, and when it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from contracts.errors import BadScenario, ConfigError, NotReady
from contracts.messages import SECOND
from simulator.scenario import Scenario, load
from thingstorm.runtime.shrinking import Play, Smallest, Try, Values, resolved, shrink, size_of
from thingstorm.runtime.signals import Interrupted

TEXT = """\
scenario: v1
name: big
vars: {many: 40}
duration: 100s
fleet:
  - {group: meter, count: $many, topic: "dt/meter/{device}/t", every: 1s, payload: {a: {const: 1}, b: {const: "$$x"}}}
  - {group: pump, count: 10, topic: "dt/pump/{device}/t", every: 1s}
train: {until: 30s}
timeline:
  - {id: storm, at: 40s, for: 10s, kind: benign.reconnect_storm, targets: {group: pump, count: 4}}
  - {id: flood, at: 60s, for: 20s, kind: attack.publish_flood, targets: {group: meter, count: 8}}
expect:
  phases:
    storm: {alerts: 0}
    flood: {verdict: attack}
  sql:
    - {name: cost, query: "SELECT 1 AS n WHERE '$a' = '$a'", rows: [{n: 1}]}
"""


@pytest.fixture
def big(tmp_path: Path) -> Values:
    (tmp_path / "big.yaml").write_text(TEXT)
    return resolved(tmp_path / "big.yaml")


def fails_while(holds: Callable[[Scenario], bool]) -> Play:
    return lambda scenario: ("flood.verdict",) if holds(scenario) else ()


def smallest(values: Values, play: Play, *, tries: int = 200) -> tuple[Smallest, list[Try]]:
    told: list[Try] = []
    return shrink(values, play, tries=tries, tell=told.append), told


def has(scenario: Scenario, phase: str) -> bool:
    return any(one.id == phase for one in scenario.timeline)


def test_what_the_failure_does_not_need_is_left_out(big: Values, tmp_path: Path) -> None:
    found, _ = smallest(big, fails_while(lambda scenario: has(scenario, "flood")))
    (tmp_path / "small.yaml").write_text(found.text())
    small = load(tmp_path / "small.yaml")
    assert [(group.group, group.count, dict(group.payload)) for group in small.fleet] == [("meter", 1, {})]
    assert [phase.id for phase in small.timeline] == ["flood"]
    assert small.timeline[0].targets is not None
    assert small.timeline[0].targets.count == 1
    assert set(small.expect.phases) == {"flood"}
    assert small.duration <= 5 * SECOND
    assert small.timeline[0].length == SECOND


def test_what_it_needs_stays(big: Values) -> None:
    def needed(scenario: Scenario) -> bool:
        meters = next((group for group in scenario.fleet if group.group == "meter"), None)
        enough = meters is not None and meters.count >= 5 and "b" in meters.payload
        return (
            enough
            and has(scenario, "storm")
            and has(scenario, "flood")
            and scenario.train_until >= 10 * SECOND
        )

    found, told = smallest(big, fails_while(needed))
    assert [group["count"] for group in found.values["fleet"]] == [5, 1]
    assert found.values["fleet"][0]["payload"] == {"b": {"const": "$x"}}
    assert float(found.values["train"]["until"].removesuffix("s")) >= 10
    assert {one.kept for one in told} == {True, False}


def test_the_written_file_means_what_the_values_mean(big: Values, tmp_path: Path) -> None:
    (tmp_path / "again.yaml").write_text(Smallest(big, "x", 1).text())
    assert resolved(tmp_path / "again.yaml") == big
    (tmp_path / "big.yaml").write_text(TEXT)
    whole, again = load(tmp_path / "big.yaml"), load(tmp_path / "again.yaml")
    assert again == whole.model_copy(update={"vars": {}})


def test_another_failure_is_not_the_same_failure(big: Values) -> None:
    def play(scenario: Scenario) -> tuple[str, ...]:
        return ("flood.verdict",) if scenario.device_count == 50 else ("storm.alerts", "overall.lost")

    found, told = smallest(big, play)
    assert sum(group["count"] for group in found.values["fleet"]) == 50
    assert found.failure == "flood.verdict"
    assert not any(one.kept for one in told if "group" in one.change and "payload" not in one.change)


def test_nothing_is_played_twice_and_no_more_than_allowed(big: Values) -> None:
    played: list[str] = []

    def play(scenario: Scenario) -> tuple[str, ...]:
        played.append(scenario.model_dump_json())
        return ("flood.verdict",) if has(scenario, "flood") else ()

    found, _ = smallest(big, play)
    assert len(set(played)) == len(played) == found.tries
    played.clear()
    bounded, told = smallest(big, play, tries=7)
    assert len(played) == bounded.tries == 7
    assert [one.number for one in told] == list(range(2, 8))


def test_what_cannot_be_played_is_not_kept(big: Values) -> None:
    def play(scenario: Scenario) -> tuple[str, ...]:
        if scenario.device_count < 20:
            raise NotReady("too few", fix="more")
        return ("flood.verdict",)

    found, _ = smallest(big, play)
    assert sum(group["count"] for group in found.values["fleet"]) == 20


def test_ctrl_c_ends_it_with_the_smallest_so_far(big: Values) -> None:
    def play(scenario: Scenario) -> tuple[str, ...]:
        if scenario.device_count < 50:
            raise Interrupted
        return ("flood.verdict",)

    found, told = smallest(big, play)
    assert [one.change for one in told if one.kept] == ["without phase storm", "without phase flood"]
    assert found.values["timeline"] == []


def test_a_scenario_that_passes_is_refused(big: Values) -> None:
    with pytest.raises(ConfigError, match="big fails nothing") as caught:
        smallest(big, lambda _scenario: ())
    assert "thingstorm run" in caught.value.fix


def test_a_file_with_a_mistake_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(TEXT.replace("count: 10", "count: none"))
    with pytest.raises(BadScenario, match=r"bad\.yaml:7"):
        resolved(tmp_path / "bad.yaml")


def test_sizes_are_told_in_words(big: Values) -> None:
    assert size_of(big) == "50 devices, 2 phases, 100s"
    assert yaml.safe_load(Smallest(big, "x", 1).text())["duration"] == "100s"
